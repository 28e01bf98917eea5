"""The precision to compute in: half types hold neither noise nor logits divided by a low temperature."""

import tensorflow as tf

# All but the last 13 bits of a float32's mantissa, which the products of a GPU drop.
_LEADING_BITS = -(2**13)


def wide_dtype(dtype) -> tf.DType:
    """float64 for float64, float32 otherwise."""
    return tf.float64 if tf.as_dtype(dtype) == tf.float64 else tf.float32


def widen(tensor: tf.Tensor) -> tf.Tensor:
    """`tensor` in the precision to compute in: float64 stays, all else becomes float32."""
    return tf.cast(tensor, wide_dtype(tensor.dtype))


def precise_products(rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """`rows @ columns^T`, `[R, D]` and `[M, D]` to `[R, M]`: for one-hot rows on a GPU too.

    A GPU rounds the factors of a product to ten bits: it is given the columns in two parts, of ten and of ten more.
    """
    if columns.dtype != tf.float32:
        return tf.matmul(rows, columns, transpose_b=True)
    leading = tf.bitcast(tf.bitwise.bitwise_and(tf.bitcast(columns, tf.int32), _LEADING_BITS), tf.float32)
    leading = tf.stop_gradient(leading)
    return sum(tf.matmul(rows, part, transpose_b=True) for part in (leading, columns - leading))
