"""The exact expectation, by summing over all codes: the oracle of every test.

E_q[f(z)] = sum_z q(z) f(z)
"""

import itertools
import math

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.estimators.base import Estimate, Estimator


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class Enumeration(Estimator):
    """Sums over all `K^N` codes.

    Approximates: nothing; value and gradient are exact.
    With: the automatic gradient of sum_z q(z) f(z).
    Requires: f at hard z; `K^N <= max_terms`.
    Returns: as `sample`, all codes, `[K^N, *batch, *event]`.

    Bias: none. Variance: none. Evaluations of f: `K^N`.

    Args:
        max_terms: the largest number of codes that is enumerated; beyond it the call is refused.
    """

    unbiased = True
    needs = frozenset({"hard"})

    def __init__(self, max_terms: int = 4096, **kwargs):
        if "num_samples" in kwargs:
            raise InputError("Enumeration draws no samples: leave num_samples out.")
        super().__init__(**kwargs)
        self.max_terms = check_count("max_terms", max_terms)

    def build(self, logits_shape=None):
        if logits_shape is not None:
            self._checked_terms(*logits_shape[-2:])
        super().build(logits_shape)

    def _checked_terms(self, latents: int, categories: int) -> int:
        terms = categories**latents
        if terms > self.max_terms:
            raise InputError(
                f"enumeration of {latents} latent variables of {categories} categories has "
                f"{categories}^{latents} = 10^{latents * math.log10(categories):.1f} terms, more than "
                f"max_terms={self.max_terms}. Use a sampling estimator such as 'score_function', or fewer latents."
            )
        return terms

    def _estimate(self, q, cost, seed, reduce, context):
        codes = self._all_codes(q)
        return self._expectation(q, cost, codes, self._probabilities(q, codes))

    def _evaluate(self, q, cost, seed, reduce):
        codes = self._all_codes(q)
        return self._expectation(q, cost, codes, tf.stop_gradient(self._probabilities(q, codes)))

    def _probabilities(self, q, codes) -> tf.Tensor:
        """q(z) of all codes, `[K^N, *batch]`."""
        return tf.exp(tf.reduce_sum(codes * tf.nn.log_softmax(q.logits, axis=-1), axis=[-2, -1]))

    def _expectation(self, q, cost, codes, probabilities) -> Estimate:
        sample = q.decode(codes)
        value = tf.reduce_sum(probabilities * cost(sample), axis=0)
        return Estimate(value, sample, tf.zeros([], value.dtype))

    def _all_codes(self, q) -> tf.Tensor:
        """All one-hot codes, `[K^N, *batch, N, K]`."""
        latents, categories = q.logits.shape[-2:]
        terms = self._checked_terms(latents, categories)
        indices = np.array(list(itertools.product(range(categories), repeat=latents)))
        codes = tf.one_hot(indices, categories, dtype=q.logits.dtype)
        batch_rank = q.logits.shape.rank - 2
        codes = tf.reshape(codes, [terms, *[1] * batch_rank, latents, categories])
        return tf.broadcast_to(codes, tf.concat([[terms], tf.shape(q.logits)], axis=0))

    def get_config(self):
        config = super().get_config()
        del config["num_samples"]
        return {**config, "max_terms": self.max_terms}
