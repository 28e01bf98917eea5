"""VIMCO: for objectives of several samples, each sample's baseline from the others.

    grad E[r(f(z_1), ..., f(z_S))] = E[sum_s (r - r_{-s}) grad log q(z_s)] + E[grad r]

where r_{-s} is the objective with f(z_s) replaced by the mean of the other costs. For the importance-weighted bound,
r = -log mean_s exp(-f(z_s)), that is the geometric mean of the other weights exp(-f).

Andriy Mnih, Danilo J. Rezende (2016), "Variational inference for Monte Carlo objectives", arXiv 1602.06725.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import check_count
from tfdiscrete.estimators.base import Estimate, Estimator, log_mass
from tfdiscrete.ops import with_gradient_of
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class VIMCO(Estimator):
    """Scores each sample by what it adds to the objective of all of them.

    Approximates: grad E[reduce(f(z_1), ..., f(z_S))]; with the mean, grad E_q[f(z)].
    With: (reduce(costs) - reduce(costs with that of s replaced by the others' mean)) grad log q(z_s), summed over s.
    Requires: f at hard z; nothing of its gradient with respect to z. A `reduce` over the first axis, whatever the
        others are: it is given `[S, S, *batch]`, too.
    Returns: as `sample`, one-hot z, decoded.

    Bias: none, for any `reduce`, since a sample's baseline does not depend on it. With the mean it is the score
    function with the leave-one-out baseline.
    Evaluations of f: `S`.
    Source: Mnih, Rezende (2016), arXiv 1602.06725.

    Args:
        num_samples: samples for each example, at least 2.

    Raises:
        InputError: for fewer than two samples.
    """

    unbiased = True
    needs = frozenset({"hard"})
    any_reduce = True

    def __init__(self, num_samples: int = 5, **kwargs):
        super().__init__(num_samples=check_count("num_samples", num_samples, minimum=2), **kwargs)

    def _estimate(self, q, cost, seed, reduce, context):
        y = q.sample_one_hot(seed, self.num_samples)
        costs = cost(y)
        log_q = log_mass(tf.nn.log_softmax(widen(q.logits), axis=-1), y)
        value = reduce(costs)
        signal = tf.stop_gradient(value - reduce(self._without_each(costs)))
        value += tf.reduce_sum(signal * with_gradient_of(tf.cast(log_q, costs.dtype)), axis=0)
        return Estimate(value, cost.decode(y), tf.zeros([], value.dtype))

    def _without_each(self, costs: tf.Tensor) -> tf.Tensor:
        """`[S, *batch]` to `[S, S, *batch]`: in column s the cost of s is replaced by the mean of the others."""
        others = (tf.reduce_sum(costs, axis=0) - costs) / (self.num_samples - 1)
        diagonal = tf.eye(self.num_samples, dtype=tf.bool)
        diagonal = tf.reshape(diagonal, [self.num_samples] * 2 + [1] * (costs.shape.rank - 1))
        return tf.where(diagonal, others[tf.newaxis], costs[:, tf.newaxis])
