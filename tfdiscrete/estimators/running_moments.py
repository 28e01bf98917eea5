"""The running mean and variance of the cost, for baselines: equal on all replicas, and those of the global batch.

    m <- w m + (1 - w) mean(f),    v <- w (v + ...) + (1 - w) mean((f - m_batch)^2)

with the weight w of past batches after t steps, (d - d^t) / (1 - d^t) for a decay d: the first step's moments are those
of its batch. Costs that are not finite are left out, and a batch without any changes nothing.
"""

import numbers

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.ops.global_batch import sum_over_replicas


def check_decay(decay: float) -> float:
    """Returns a decay in [0, 1); raises `InputError` for another."""
    if isinstance(decay, bool) or not isinstance(decay, numbers.Real) or not 0.0 <= decay < 1.0:
        raise InputError(f"decay must be in [0, 1). Received: decay={decay!r}.")
    return decay


class RunningMoments:
    """Moments held in two float32 weights of a layer, `running_cost` and `running_variance`.

    Args:
        layer: whose weights they are.
        decay: of the past, in [0, 1).
    """

    def __init__(self, layer: keras.layers.Layer, decay: float):
        self.decay = decay
        self._mean, self._variance = (
            layer.add_weight(
                name=name,
                shape=(),
                initializer="zeros",
                trainable=False,
                dtype="float32",
                autocast=False,
                aggregation="mean",
            )
            for name in ("running_cost", "running_variance")
        )
        # As attributes of the layer checkpoints see them.
        layer.running_cost, layer.running_variance = self._mean, self._variance

    @property
    def mean(self) -> tf.Tensor:
        """`[]`; 0 before the first step."""
        return self._mean.value

    @property
    def deviation(self) -> tf.Tensor:
        """`[]`; 1 before the first step.

        A deviation that is rounding error, of a constant cost, is 1 too: what it would multiply is 0.
        """
        mean, variance = self._mean.value, self._variance.value
        varies = variance > tf.square(1e-6 * mean)
        return tf.where(varies, tf.sqrt(tf.where(varies, variance, 1.0)), 1.0)

    def update(self, costs: tf.Tensor, step: tf.Tensor) -> None:
        """Takes in a batch of costs, `[*batch]` of this replica, as the `step`-th, from 1."""
        costs = tf.cast(tf.stop_gradient(costs), tf.float32)
        finite = tf.math.is_finite(costs)
        count = sum_over_replicas(tf.reduce_sum(tf.cast(finite, tf.float32)))
        batch_mean = tf.math.divide_no_nan(sum_over_replicas(tf.reduce_sum(tf.where(finite, costs, 0.0))), count)
        # Squares of deviations alone: a mean of squared costs would lose the deviation of costs far from zero.
        squares = tf.where(finite, tf.square(costs - batch_mean), 0.0)
        batch_variance = tf.math.divide_no_nan(sum_over_replicas(tf.reduce_sum(squares)), count)
        decayed = self.decay ** tf.cast(step, tf.float32)
        kept = tf.where(count > 0.0, (self.decay - decayed) / (1.0 - decayed), 1.0)
        before, variance = tf.identity(self._mean.value), tf.identity(self._variance.value)
        shift = (1.0 - kept) * (batch_mean - before)
        self._mean.assign(before + shift)
        self._variance.assign(kept * (variance + shift * (batch_mean - before)) + (1.0 - kept) * batch_variance)
