"""The evidence lower bound.

    log p(x) >= E_q[log p(x|z)] - KL(q(z|x) || p(z)) = -(distortion + rate)

It is a bound on log p(x) when z is a hard sample (`discrete`). With a relaxed z beside the categorical KL it is not
a bound of any model's evidence (`relaxed`); it is what relaxation methods train and often what they report.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.errors import check_name
from tfdiscrete.estimators import Estimate, Estimator

KL_CHOICES = ("analytic", "sampled")


class NegativeElbo(NamedTuple):
    """What `negative_elbo` returns."""

    loss: tf.Tensor
    """`[B]`, nats: its gradient is the estimator's."""
    rate: tf.Tensor
    """`[B]`, nats: KL(q || p), or its estimate; no gradient."""
    distortion: tf.Tensor
    """`[B]`, nats: -E log p(x|z); no gradient."""
    estimate: Estimate
    """What the estimator returned."""


def negative_elbo(
    q,
    prior,
    log_likelihood: Callable[[tf.Tensor], tf.Tensor],
    estimator: Estimator,
    *,
    seed: tf.Tensor,
    kl: str = "analytic",
    context: tf.Tensor | None = None,
    training: bool = True,
) -> NegativeElbo:
    """Distortion plus rate, with the estimator's gradient.

    Args:
        q: the posterior, a `Family` with batch `[B]`.
        prior: a `priors.Prior`.
        log_likelihood: z `[S, B, *event]` to log p(x|z), `[S, B]`. It may have an attribute `neighbours`, z to
            `[S, B, N, K]`, which an estimator uses that scores all codes that differ from z in one variable.
        estimator: how the gradient passes through z.
        seed: int32 `[2]`.
        kl: "analytic", in closed form outside of the estimator; or "sampled", inside its cost, for a prior that has
            no closed form.
        context: passed on to the estimator.
        training: passed on to the estimator; False gives the discrete bound.

    Returns:
        A `NegativeElbo`.
    """

    check_name("kl", kl, KL_CHOICES)

    def expectation(cost) -> Estimate:
        return estimator.estimate(q, cost, seed=seed, context=context, training=training)

    if kl == "analytic":
        estimate = expectation(_negated(log_likelihood))
        rate = tf.cast(prior.kl_divergence(q), estimate.value.dtype)
        return NegativeElbo(estimate.value + rate, tf.stop_gradient(rate), tf.stop_gradient(estimate.value), estimate)

    def log_ratio(z):
        return q.log_prob(z) - prior.log_prob(z)

    estimate = expectation(lambda z: log_ratio(z) - log_likelihood(z))
    # The same seed draws the same z, so the rate is that of the samples in the loss.
    rate = tf.stop_gradient(expectation(log_ratio).value)
    return NegativeElbo(estimate.value, rate, tf.stop_gradient(estimate.value) - rate, estimate)


def _negated(log_likelihood):
    def cost(z):
        return -log_likelihood(z)

    if hasattr(log_likelihood, "neighbours"):
        cost.neighbours = lambda z: -log_likelihood.neighbours(z)  # type: ignore[attr-defined]
    return cost
