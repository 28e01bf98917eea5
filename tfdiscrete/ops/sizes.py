"""The sizes of a tensor, as far as they are known."""

import tensorflow as tf


def sizes(x: tf.Tensor) -> list:
    """The size of each dimension of `x`, of known rank: an integer where it is static, int32 `[]` where it is not.

    What `tf.reshape` gets them has the static shape, without a `tf.ensure_shape`, which LiteRT has no operator for.
    """
    dynamic = tf.shape(x)
    return [dynamic[i] if size is None else size for i, size in enumerate(x.shape)]
