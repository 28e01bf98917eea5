"""The figures that a trained posterior is judged by: discrete bounds, and the relaxed one for comparison.

    L_S = E log (1/S) sum_s p(x, z_s) / q(z_s|x),    L_1 = ELBO <= L_S <= L_{S+1} <= log p(x)

Yuri Burda, Roger Grosse, Ruslan Salakhutdinov (2016), "Importance Weighted Autoencoders", arXiv 1509.00519.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.ops import log_mean_exp


class Bounds(NamedTuple):
    """What `discrete_bounds` returns; each `[B]`, in nats."""

    elbo: tf.Tensor
    """-(distortion + rate), averaged over the samples: a bound on log p(x) (`discrete`)."""
    importance_weighted: tf.Tensor
    """The bound of all samples together (`iwae-S`)."""
    rate: tf.Tensor
    """KL(q || p)."""
    distortion: tf.Tensor
    """-E log p(x|z)."""


def discrete_bounds(
    q, prior, log_likelihood: Callable[[tf.Tensor], tf.Tensor], *, seed: tf.Tensor, num_samples: int, kl: str
) -> Bounds:
    """Evaluates a posterior with hard samples.

    Args:
        q: the posterior, a `tfd.Distribution` with batch `[B]` whose samples are one-hot.
        prior: a `priors.Prior`.
        log_likelihood: z `[S, B, *event]` to log p(x|z), `[S, B]`.
        seed: int32 `[2]`.
        num_samples: `S`.
        kl: "analytic", or "sampled" where the prior has no closed form.

    Returns:
        `Bounds`.
    """
    z = q.sample(num_samples, seed=seed)
    log_p_x = log_likelihood(z)
    log_ratio = q.log_prob(z) - prior.log_prob(z)
    rate = prior.kl_divergence(q) if kl == "analytic" else tf.reduce_mean(log_ratio, axis=0)
    distortion = -tf.reduce_mean(log_p_x, axis=0)
    return Bounds(-(distortion + rate), log_mean_exp(log_p_x - log_ratio, axis=0), rate, distortion)


def relaxed_elbo(
    q,
    prior,
    log_likelihood: Callable[[tf.Tensor], tf.Tensor],
    *,
    seed: tf.Tensor,
    num_samples: int,
    temperature,
    kl: str,
) -> tf.Tensor:
    """What relaxation methods train: the ELBO at relaxed samples (`relaxed`). It is not a bound on log p(x).

    Args:
        q: the posterior, a `Family` with batch `[B]`.
        prior: a `priors.Prior`.
        log_likelihood: as for `discrete_bounds`, at points of the simplex.
        seed: int32 `[2]`.
        num_samples: `S`.
        temperature: of the relaxation.
        kl: as for `discrete_bounds`; "sampled" evaluates the log probabilities at relaxed points.

    Returns:
        `[B]`, in nats.
    """
    y = tf.exp(q.relax(seed, num_samples, temperature))
    rate = prior.kl_divergence(q) if kl == "analytic" else tf.reduce_mean(q.log_prob(y) - prior.log_prob(y), axis=0)
    return tf.reduce_mean(log_likelihood(q.decode(y)), axis=0) - rate
