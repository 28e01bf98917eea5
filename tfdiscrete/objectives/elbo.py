"""The evidence lower bound.

    log p(x) >= E_q[log p(x|z)] - KL(q(z|x) || p(z)) = -(distortion + rate)

It is a bound on log p(x) when z is a hard sample (`discrete`). With a relaxed z beside the categorical KL it is not
a bound of any model's evidence; it is what relaxation methods train and often what they report. Beside the KL of the
relaxed densities it is a bound of the relaxed model's (`relaxed`).
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from tfdiscrete.errors import check_bool
from tfdiscrete.estimators import Estimator
from tfdiscrete.objectives.base import KL_CHOICES, NegativeElbo, Objective, elbo_bound, elbo_terms
from tfdiscrete.objectives.relaxed_rate import relaxes
from tfdiscrete.ops.temperature import check_temperature

__all__ = ["ELBO", "KL_CHOICES", "NegativeElbo", "negative_elbo"]


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class ELBO(Objective):
    """Distortion plus rate, with the estimator's gradient.

    Example:

        objective = ELBO(sticking_the_landing=True)
        terms = objective(q, prior, log_likelihood, estimator, seed=[0, 1], kl="sampled")
        tf.reduce_mean(terms.loss)

    Args:
        sticking_the_landing: for a KL inside of the estimator's cost, whether the gradient of log q passes through the
            samples alone (see `sticking_the_landing`): the same in the mean, less noisy near the optimum.
        prior_temperature: of the relaxed prior, for kl="relaxed": a number; by default that of the estimator.

    Raises:
        InputError: for a temperature that is not positive.
    """

    def __init__(self, sticking_the_landing: bool = False, prior_temperature: float | None = None):
        self.sticking_the_landing = check_bool("sticking_the_landing", sticking_the_landing)
        self.prior_temperature = checked_prior_temperature(prior_temperature)
        if sticking_the_landing:
            self.kls = ("relaxed", "sampled")

    def _train(self, setting):
        return elbo_terms(
            setting,
            weight=self.weight(setting.estimator.step.value),
            sticking_the_landing=self.sticking_the_landing,
            prior_temperature=self.prior_temperature,
        )

    def weight(self, step) -> tf.Tensor | None:
        """What training multiplies the rate by at a step of the estimator, `[]`; None for 1."""
        return None

    def _training_bound(self, estimator, kl):
        return elbo_bound(estimator, kl)

    def _obstacle(self, kl, prior, estimator):
        if self.sticking_the_landing and kl == "sampled" and relaxes(estimator):
            return (
                "sticking the landing needs the density of the sample, and at relaxed samples kl='sampled' extends "
                "probabilities linearly."
            )
        return super()._obstacle(kl, prior, estimator)

    def _wants(self):
        reason = " with sticking_the_landing, since it stops the log q inside of the estimator's cost"
        return super()._wants()[:-1] + (f"{reason}." if self.sticking_the_landing else ".")

    def get_config(self):
        return {
            **super().get_config(),
            "sticking_the_landing": self.sticking_the_landing,
            "prior_temperature": self.prior_temperature,
        }


def checked_prior_temperature(temperature):
    """A positive number or None, as it is."""
    return None if temperature is None else check_temperature(temperature, "prior_temperature")


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
    """Distortion plus rate, with the estimator's gradient: a call of `ELBO()`, whose arguments these are."""
    return ELBO()(q, prior, log_likelihood, estimator, seed=seed, kl=kl, context=context, training=training)
