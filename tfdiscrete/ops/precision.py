"""The precision to compute in: half types hold neither noise nor logits divided by a low temperature."""

import tensorflow as tf


def wide_dtype(dtype) -> tf.DType:
    """float64 for float64, float32 otherwise."""
    return tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32


def widen(tensor: tf.Tensor) -> tf.Tensor:
    """`tensor` in the precision to compute in: float64 stays, all else becomes float32."""
    return tf.cast(tensor, wide_dtype(tensor.dtype))
