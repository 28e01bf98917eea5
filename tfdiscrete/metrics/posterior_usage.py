"""How a posterior over a data set uses its latent variables: the counts that a run reports."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tfdiscrete.metrics.usage import active_latents, active_units, codes_used, distinct_codes


class PosteriorUsage(NamedTuple):
    """What `posterior_usage` returns; None of what continuous variables do not have."""

    active_units: int
    """Latent variables that depend on x."""
    num_latents: int
    """`N`, of both kinds."""
    codes_used: int | None
    """Categories of active discrete variables that are some example's likeliest."""
    num_codes: int | None
    """`N K` of the discrete ones."""
    distinct_codes: int | None
    """Different whole codes of the active discrete variables."""


def posterior_usage(outputs: Mapping[str, np.ndarray]) -> PosteriorUsage:
    """Counts of what `predict` gave for a data set.

    Args:
        outputs: of discrete variables `probabilities` `[B, N, K]` and `index` `[B, N]`; of continuous ones `mean`
            `[B, M]`; of both, all three.
    """
    mean = np.asarray(outputs.get("mean", np.empty((1, 0))))
    active_means = active_units(mean[..., np.newaxis]) if mean.size else 0
    if "probabilities" not in outputs:
        return PosteriorUsage(active_means, mean.shape[1], None, None, None)
    probabilities = outputs["probabilities"]
    latents, categories = probabilities.shape[1:]
    active = active_latents(probabilities)
    index = np.asarray(outputs["index"])[:, active]
    return PosteriorUsage(
        int(active.sum()) + active_means,
        latents + mean.shape[1],
        codes_used(index, categories),
        latents * categories,
        distinct_codes(index),
    )
