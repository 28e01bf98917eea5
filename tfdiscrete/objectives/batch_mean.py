"""The mean over the examples of a batch, wherever its replicas hold them."""

import tensorflow as tf

from tfdiscrete.ops.global_batch import sum_over_replicas


def batch_mean(tensor: tf.Tensor) -> tf.Tensor:
    """The mean of `[B, ...]` over the examples of all replicas, `[...]`, without a gradient; 0 of none."""
    count = sum_over_replicas(tf.cast(tf.shape(tensor)[0], tensor.dtype))
    return tf.math.divide_no_nan(sum_over_replicas(tf.stop_gradient(tf.reduce_sum(tensor, axis=0))), count)
