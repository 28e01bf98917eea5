"""Values of one tensor with the gradient of another.

    straight_through(hard, soft) = hard + (soft - stop_gradient(soft))

Yoshua Bengio, Nicholas Leonard, Aaron Courville (2013), "Estimating or Propagating Gradients Through Stochastic
Neurons", arXiv 1308.3432.
"""

import tensorflow as tf


def with_gradient_of(tensor: tf.Tensor) -> tf.Tensor:
    """Zeros whose gradient is that of `tensor`: the carrier of a surrogate gradient. `tensor` must be finite."""
    return tensor - tf.stop_gradient(tensor)


def straight_through(hard: tf.Tensor, soft: tf.Tensor) -> tf.Tensor:
    """`hard` forward, exactly, and the gradient of `soft` backward.

    The order of the terms matters: `soft + stop_gradient(hard - soft)` is exact for `soft` in [0, 1] alone, and
    `hard + soft - stop_gradient(soft)` not even there.

    Args:
        hard: `[...]`, the value.
        soft: `[...]`, finite, of the same shape and dtype.

    Returns:
        `[...]`.
    """
    return tf.stop_gradient(hard) + with_gradient_of(soft)
