"""Bounds of a trained autoencoder on held-out data, as figures and as rows for a person."""

import numpy as np
import tensorflow as tf

from tfdiscrete.families import InvertibleGaussian
from tfdiscrete.models import DeepDiscreteVAE, DiscreteVAE
from tfdiscrete.objectives import counted_rate, counted_table
from tfdiscrete.ops import fold_in, seed_of, split_seed
from tfdiscrete.priors.base import IndependentPrior
from tfdiscrete.runs.recipes.base import Row, nats

IMPORTANCE_SAMPLES = 100
RELAXED_SAMPLES = 10


def held_out_bounds(
    model: DiscreteVAE | DeepDiscreteVAE,
    x: np.ndarray,
    *,
    temperature=None,
    seed: int = 0,
    batch_size: int = 50,
) -> dict:
    """Bounds in nats per example.

    Args:
        model: trained.
        x: `[n, *data]`.
        temperature: of the relaxed samples, of a `DiscreteVAE` that has such; by default they are left out.
        seed: of the samples.
        batch_size: examples at a time, each with 100 samples.

    Returns:
        A dictionary of plain numbers. `discrete_elbo` = -(rate + distortion), from 100 hard samples an example, and
        `iwae_100`, with its standard error over examples, are bounds on log p(x). `relaxed_elbo`, the mean of relaxed
        samples beside the categorical KL, is not; it is None without a temperature.
    """
    bounds = tf.function(
        lambda batch, seed: _bounds(model, batch, seed, temperature), jit_compile=True, autograph=False
    )
    base = seed_of(seed, "report")
    columns: dict[str, list[np.ndarray]] = {}
    for number, start in enumerate(range(0, len(x), batch_size)):
        batch = tf.constant(x[start : start + batch_size])
        for name, values in bounds(batch, fold_in(base, number)).items():
            columns.setdefault(name, []).append(values.numpy())
    means = {name: float(np.concatenate(values).mean()) for name, values in columns.items()}
    importance = np.concatenate(columns["iwae_100"])
    return {
        "discrete_elbo": means["discrete_elbo"],
        "relaxed_elbo": means.get("relaxed_elbo"),
        "iwae_100": means["iwae_100"],
        "iwae_100_stderr": float(importance.std(ddof=1) / np.sqrt(len(importance))) if len(importance) > 1 else None,
        "rate": means["rate"],
        "distortion": means["distortion"],
    }


def counted_bound(model: DiscreteVAE, x: np.ndarray, distortion: float, *, seed: int = 0, batch_size: int = 50) -> dict:
    """The bound of hard samples behind a flow, whose rate in `held_out_bounds` is the Gaussians', which is more.

    Args:
        model: trained.
        x: `[n, *data]`.
        distortion: that of `held_out_bounds`.
        seed: of the counted samples.
        batch_size: examples at a time, each with 1,000 samples.

    Returns:
        `counted_rate` and `counted_elbo` in nats per example; empty for other families and dependent priors.
    """
    family = model.family
    if (
        not isinstance(family, InvertibleGaussian)
        or family.flow == "none"
        or not isinstance(model.prior, IndependentPrior)
    ):
        return {}
    base = seed_of(seed, "counted")
    table = counted_table(model.prior.distribution(), seed=seed_of(seed, "counted prior"))
    rates = tf.function(
        lambda batch, seed: counted_rate(model.posterior(batch), table, seed=seed), jit_compile=True, autograph=False
    )
    parts = [
        rates(tf.constant(x[start : start + batch_size]), fold_in(base, number)).numpy()
        for number, start in enumerate(range(0, len(x), batch_size))
    ]
    rate = float(np.concatenate(parts).mean())
    return {"counted_rate": rate, "counted_elbo": -(distortion + rate)}


def _bounds(model, x: tf.Tensor, seed: tf.Tensor, temperature) -> dict[str, tf.Tensor]:
    hard_seed, relaxed_seed = split_seed(seed, 2)
    bounds = model.bounds(x, seed=hard_seed, num_samples=IMPORTANCE_SAMPLES)
    figures = {
        "discrete_elbo": bounds.elbo,
        "iwae_100": bounds.importance_weighted,
        "rate": bounds.rate,
        "distortion": bounds.distortion,
    }
    if temperature is not None:
        figures["relaxed_elbo"] = model.relaxed_elbo(
            x, seed=relaxed_seed, num_samples=RELAXED_SAMPLES, temperature=temperature
        )
    return figures


def rows_of_bounds(metrics: dict) -> list[Row]:
    """What `held_out_bounds` gives, for a person."""
    relaxed, stderr = metrics["relaxed_elbo"], metrics["iwae_100_stderr"]
    counted = metrics.get("counted_elbo")
    return [
        ("discrete ELBO", nats(metrics["discrete_elbo"]), "hard samples: a bound on log p(x)"),
        *(
            []
            if counted is None
            else [("counted ELBO", nats(counted), "the same, with the KL of counted hard samples")]
        ),
        ("relaxed ELBO", "-" if relaxed is None else nats(relaxed), "relaxed samples: not a bound"),
        (
            "IWAE-100",
            nats(metrics["iwae_100"]) + ("" if stderr is None else f" ± {stderr:.2f}"),
            "the tightest bound on log p(x) here, ± its standard error",
        ),
        ("rate", nats(metrics["rate"]), "KL(q(z|x) || p(z))"),
        ("distortion", nats(metrics["distortion"]), "-E log p(x|z)"),
    ]
