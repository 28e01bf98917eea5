"""The figures that a trained posterior is judged by: discrete bounds, and the relaxed one for comparison.

    L_S = E log (1/S) sum_s p(x, z_s) / q(z_s|x),    L_1 = ELBO <= L_S <= L_{S+1} <= log p(x)

Yuri Burda, Roger Grosse, Ruslan Salakhutdinov (2016), "Importance Weighted Autoencoders", arXiv 1509.00519.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.distributions import InvertibleGaussian, ProductMixed
from tfdiscrete.objectives.relaxed_rate import relaxed_log_ratio
from tfdiscrete.ops import log_mean_exp


class Bounds(NamedTuple):
    """What `discrete_bounds` returns; each `[B]`, in nats.

    Examples are independent: the standard error of a mean over a data set, of its choice and of the sampling together,
    is the standard deviation of the `[B]` values over sqrt(B), and of the sampling alone sqrt(sum of squared
    `standard_error`) / B.
    """

    elbo: tf.Tensor
    """-(distortion + rate), averaged over the samples: a bound on log p(x) (`discrete`)."""
    importance_weighted: tf.Tensor
    """The bound of all samples together (`iwae-S`)."""
    rate: tf.Tensor
    """KL(q || p)."""
    distortion: tf.Tensor
    """-E log p(x|z)."""
    standard_error: tf.Tensor
    """That of `importance_weighted`, of the sampling; see `log_mean_exp_error`. NaN for one sample."""


def log_mean_exp_error(log_weights: tf.Tensor) -> tf.Tensor:
    """The standard error of log mean_s w_s, by its slope: sd(w) / (mean(w) sqrt(S)).

    Args:
        log_weights: `[S, ...]`, independent over `S`.

    Returns:
        `[...]`: too small where few weights hold most of the sum; it is then below, and near, 1. NaN for `S = 1`.
    """
    deviations = tf.math.expm1(log_weights - log_mean_exp(log_weights, axis=0))
    count = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
    return tf.sqrt(tf.reduce_mean(tf.square(deviations), axis=0) / (count - 1.0))


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
        kl: "analytic", or "sampled" where the prior has no closed form; anything else is sampled.

    Returns:
        `Bounds`.
    """
    z = q.sample(num_samples, seed=seed)
    log_p_x = log_likelihood(z)
    log_ratio = q.log_prob(z) - prior.log_prob(z)
    rate = prior.kl_divergence(q) if kl == "analytic" else tf.reduce_mean(log_ratio, axis=0)
    distortion = -tf.reduce_mean(log_p_x, axis=0)
    log_weights = log_p_x - log_ratio
    return Bounds(
        -(distortion + rate), log_mean_exp(log_weights, axis=0), rate, distortion, log_mean_exp_error(log_weights)
    )


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
    """What relaxation methods train: the ELBO at relaxed samples.

    It is not a bound on log p(x); with the KL of the relaxed densities it is one on the evidence of the relaxed model.

    Args:
        q: the posterior, a `Family` or a `ProductMixed` with batch `[B]`.
        prior: a `priors.Prior`.
        log_likelihood: as for `discrete_bounds`, at points of the simplex.
        seed: int32 `[2]`.
        num_samples: `S`.
        temperature: of the relaxation.
        kl: "analytic"; "sampled", the log probabilities at relaxed points, for invertible Gaussians the same as
            "relaxed"; or "relaxed", the log densities there.

    Returns:
        `[B]`, in nats.
    """
    family = q.given(q.path(seed, num_samples)) if isinstance(q, ProductMixed) else q
    z = family.decode(tf.exp(family.relax(seed, num_samples, temperature)))
    if kl == "analytic":
        rate = prior.kl_divergence(q)
    elif kl == "relaxed" or isinstance(q, InvertibleGaussian):
        ratio = relaxed_log_ratio(q, prior, seed=seed, num_samples=num_samples, temperature=temperature)
        rate = tf.reduce_mean(ratio, axis=0)
    else:
        rate = tf.reduce_mean(q.log_prob(z) - prior.log_prob(z), axis=0)
    return tf.reduce_mean(log_likelihood(z), axis=0) - rate
