"""The exact expectation, by summing over all codes: the oracle of every test.

E_q[f(z)] = sum_z q(z) f(z)
"""

import math

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.estimators.base import Estimate, Estimator, log_mass
from tfdiscrete.ops.all_codes import all_codes
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class Enumeration(Estimator):
    """Sums over all `K^N` codes.

    Approximates: nothing; value and gradient are exact.
    With: the automatic gradient of sum_z q(z) f(z).
    Requires: f at hard z; `K^N <= max_terms`. A cost with an attribute `shared` is asked for the costs of the codes of
    all examples at once (see `CheckedCost.of_shared`).
    Returns: as `sample`, all codes, `[K^N, *batch, *event]`.

    Bias: none. Variance: none. Evaluations of f: `K^N`.
    Source: the definition of the expectation.

    Args:
        max_terms: the largest number of codes that is enumerated; beyond it the call is refused.

    Raises:
        InputError: for a `num_samples`, a `max_terms` below 1, and, from `estimate`, for more codes than that.
    """

    unbiased = True
    needs = frozenset({"hard"})
    independent = False

    def __init__(self, max_terms: int = 4096, **kwargs):
        if "num_samples" in kwargs:
            raise InputError("Enumeration draws no samples: leave num_samples out.")
        super().__init__(**kwargs)
        self.max_terms = check_count("max_terms", max_terms)

    def build(self, logits_shape=None, context_shape=None):
        if logits_shape is not None:
            self._check_terms(*logits_shape[-2:])
        super().build(logits_shape, context_shape)

    def _check_terms(self, latents: int, categories: int) -> None:
        terms = categories**latents
        if terms > self.max_terms:
            raise InputError(
                f"enumeration of {latents} latent variables of {categories} categories has "
                f"{categories}^{latents} = 10^{latents * math.log10(categories):.1f} terms, more than "
                f"max_terms={self.max_terms}. Use a sampling estimator such as 'score_function', or fewer latents."
            )

    def _estimate(self, q, cost, seed, reduce, context):
        return self._expectation(cost, tf.nn.log_softmax(widen(q.logits), axis=-1))

    def _evaluate(self, q, cost, seed, reduce):
        return self._expectation(cost, tf.stop_gradient(tf.nn.log_softmax(widen(q.logits), axis=-1)))

    def _expectation(self, cost, log_pi) -> Estimate:
        codes = self._all_codes(log_pi)
        costs = cost.of_shared(codes, log_pi)
        each = tf.reshape(codes, [-1, *[1] * (log_pi.shape.rank - 2), *codes.shape[1:]])
        probabilities = tf.exp(log_mass(log_pi, each))
        value = tf.reduce_sum(tf.cast(probabilities, costs.dtype) * costs, axis=0)
        sample = tf.broadcast_to(each, tf.concat([tf.shape(each)[:1], tf.shape(log_pi)], axis=0))
        return Estimate(value, cost.decode(sample), tf.zeros([], value.dtype))

    def _all_codes(self, log_pi) -> tf.Tensor:
        """All one-hot codes, `[K^N, N, K]`."""
        latents, categories = log_pi.shape[-2:]
        self._check_terms(latents, categories)
        return tf.one_hot(all_codes(latents, categories), categories, dtype=log_pi.dtype)

    def get_config(self):
        config = super().get_config()
        del config["num_samples"]
        return {**config, "max_terms": self.max_terms}
