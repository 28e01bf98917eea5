"""The importance-weighted bound as a training objective.

    L_S = E log (1/S) sum_s p(x, z_s) / q(z_s|x),    ELBO = L_1 <= L_S <= log p(x)

log q(z) stands inside of the cost with live parameters, and the costs are reduced by -log mean_s exp(-cost).

Yuri Burda, Roger Grosse, Ruslan Salakhutdinov (2016), "Importance Weighted Autoencoders", arXiv 1509.00519.
Andriy Mnih, Danilo J. Rezende (2016), "Variational inference for Monte Carlo objectives", arXiv 1602.06725.
"""

import keras
import tensorflow as tf

from tfdiscrete import estimators
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.objectives.base import NegativeElbo, Objective, elbo_bound
from tfdiscrete.objectives.elbo import checked_prior_temperature
from tfdiscrete.ops import log_mean_exp


def negative_log_mean_exp(costs: tf.Tensor) -> tf.Tensor:
    """`[S, ...]` to `[...]`: -log mean_s exp(-cost), a `reduce` of estimators."""
    return -log_mean_exp(-costs, axis=0)


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class ImportanceWeighted(Objective):
    """-L_S, of the estimator's `S` samples; evaluation reports it at hard ones.

    It takes estimators that reduce samples otherwise than by their mean: `VIMCO`, whose gradient is unbiased,
    `Pathwise`, whose gradient is too, and relaxed and straight-through ones. `rate` and `distortion` are those of the
    ELBO, from the same samples, so that `loss` is in the mean less than their sum. An analytic KL inside of a log mean
    of weights would bound nothing, and sticking the landing would bias the gradient: neither is offered.

    Args:
        num_samples: `S`, as the estimator must have it; by default whatever it has.
        prior_temperature: of the relaxed prior, for kl="relaxed": a number; by default that of the estimator.

    Raises:
        InputError: for fewer than one sample; when called, for an estimator of another number of samples, or one that
            takes the mean alone.
    """

    kls = ("relaxed", "sampled")

    def __init__(self, num_samples: int | None = None, prior_temperature: float | None = None):
        self.num_samples = None if num_samples is None else check_count("num_samples", num_samples)
        self.prior_temperature = checked_prior_temperature(prior_temperature)

    def _train(self, setting):
        log_ratio = setting.log_ratio(prior_temperature=self.prior_temperature)
        parts = []

        def cost(z):
            ratio = log_ratio(z)
            log_p = tf.cast(setting.log_likelihood(z), ratio.dtype)
            parts.append((ratio, log_p))
            return ratio - log_p

        estimate = setting.expectation(cost, reduce=negative_log_mean_exp)
        rate, negative_distortion = (tf.stop_gradient(tf.reduce_mean(part, axis=0)) for part in parts[0])
        return NegativeElbo(estimate.value, rate, -negative_distortion, estimate)

    def _evaluate(self, setting):
        return self._train(setting)

    def _evaluation_kl(self, kl, prior):
        return "sampled"

    def evaluated(self, bounds):
        return bounds.importance_weighted

    def _training_bound(self, estimator, kl):
        kind = elbo_bound(estimator, kl)
        return None if kind is None else _of_samples(kind, estimator)

    def _evaluated_bound(self, estimator):
        return _of_samples(super()._evaluated_bound(estimator), estimator)

    def _check_estimator(self, estimator):
        name = type(estimator).__name__
        if not estimator.any_reduce:
            known = ", ".join(repr(key) for key, cls in estimators.REGISTRY.items() if cls.any_reduce)
            raise InputError(
                "ImportanceWeighted needs an estimator that takes a log mean of weights in place of the mean: "
                f"{known}. Received: {name}."
            )
        if self.num_samples not in (None, estimator.num_samples):
            raise InputError(
                f"ImportanceWeighted(num_samples={self.num_samples}) weighs the samples of its estimator: make it with "
                f"num_samples={self.num_samples}. Received: {name} with num_samples={estimator.num_samples}."
            )

    def get_config(self):
        return {
            **super().get_config(),
            "num_samples": self.num_samples,
            "prior_temperature": self.prior_temperature,
        }


def _of_samples(kind: str, estimator) -> str:
    iwae = f"iwae-{estimator.num_samples}"
    return iwae if kind == "discrete" else f"{kind}-{iwae}"
