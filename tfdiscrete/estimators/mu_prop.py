"""MuProp: REINFORCE with the cost's first-order Taylor expansion at the mean field as control variate.

    grad E_q[f(z)] = E_q[(f(z) - h(z)) grad log q(z)] + f'(pi) . grad pi + E_q[grad f(z)]
    h(z) = f(pi) + f'(pi) . (z - pi),    pi = softmax(logits) = E_q[z]

since E_q[h(z) grad log q(z)] = f'(pi) . grad pi.

Shixiang Gu, Sergey Levine, Ilya Sutskever, Andriy Mnih (2016), "MuProp: Unbiased Backpropagation for Stochastic Neural
Networks", arXiv 1511.05176.
"""

import keras
import tensorflow as tf

from tfdiscrete.estimators.base import Estimate, Estimator, log_mass
from tfdiscrete.ops import with_gradient_of
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class MuProp(Estimator):
    """Subtracts from the cost its linear expansion at the probabilities, and adds its exact gradient back.

    Approximates: grad E_q[f(z)].
    With: (f(z_s) - h(z_s)) grad log q(z_s), averaged over samples, and the pathwise gradient f'(pi) . grad pi.
    Requires: f at hard z, and its value and gradient at the probabilities, a point of the simplex.
    Returns: as `sample`, one-hot z, decoded.

    Bias: none. Variance: none for a linear f; the closer f is to linear, the smaller.
    Evaluations of f: `S`, and one with gradient.
    Source: Gu, Levine, Sutskever, Mnih (2016), arXiv 1511.05176.

    Args:
        num_samples: samples for each example; they share the expansion.

    Raises:
        InputError: from `estimate`, for a cost that has no gradient at the probabilities.
    """

    unbiased = True
    needs = frozenset({"hard", "relaxed", "gradient"})

    def _estimate(self, q, cost, seed, reduce, context):
        y = q.sample_one_hot(seed, self.num_samples)
        costs = cost(y)
        log_pi = tf.nn.log_softmax(widen(q.logits), axis=-1)
        pi = tf.exp(log_pi)
        at_mean, slope = self._expand(cost, pi)
        expansion = at_mean + _inner(slope, tf.cast(y, pi.dtype) - tf.stop_gradient(pi), costs.dtype)
        signal = tf.stop_gradient(costs - expansion)
        log_q = tf.cast(log_mass(log_pi, y), costs.dtype)
        value = (
            reduce(costs) + reduce(signal * with_gradient_of(log_q)) + _inner(slope, with_gradient_of(pi), costs.dtype)
        )
        return Estimate(value, cost.decode(y), tf.zeros([], value.dtype))

    def _expand(self, cost, pi: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """f(pi), `[*batch]`, and f'(pi), `[*batch, N, K]`, which send no gradient to what the cost closes over."""
        point = tf.stop_gradient(pi)[tf.newaxis]
        at_mean, slope = cost.value_and_slope(point)
        return tf.stop_gradient(at_mean)[0], tf.stop_gradient(slope)[0]


def _inner(slope: tf.Tensor, direction: tf.Tensor, dtype) -> tf.Tensor:
    """Of `[*batch, N, K]` and `[..., *batch, N, K]`: `[..., *batch]`."""
    return tf.cast(tf.reduce_sum(slope * direction, axis=[-2, -1]), dtype)
