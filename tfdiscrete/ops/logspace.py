"""Sums and means of exponentials, stable in log space."""

import tensorflow as tf


def log_mean_exp(values: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """`log mean_i exp(values_i)` along `axis`; -inf entries count as zeros.

    Example:

        log_mean_exp(tf.constant([[0.0], [-float('inf')]]))     # [log 1/2]
    """
    count = tf.cast(tf.shape(values)[axis], values.dtype)
    return tf.reduce_logsumexp(values, axis=axis) - tf.math.log(count)
