"""The rotation trick: a code forward, and the rotation that takes the input to its code backward.

    q = (|q| / |x|) R x,    R = I - 2 r r' + 2 v u',    u = x / |x|, v = q / |q|, r = (u + v) / |u + v|

R, the rotation in the plane of x and q, and the rescaling are constants of the backward pass, so that the gradient's
angle to the code becomes its angle to the input.

Christopher Fifty, Ronald G. Junkins, Dennis Duan, Aniketh Iger, Jerry W. Liu, Ehsan Amid, Sebastian Thrun,
Christopher Re (2024), "Restructuring Vector Quantization with the Rotation Trick", arXiv 2410.06424.
"""

import tensorflow as tf

# Below this length of u + v (the vectors are antiparallel to half a milliradian) rounding decides the plane.
_ANTIPARALLEL = 5e-4
_SHORT = 1e-6


def rotation_trick(x: tf.Tensor, code: tf.Tensor) -> tf.Tensor:
    """`code` forward, exactly, and NaN where `x` is not finite; backward the rotation, to `x` alone.

    The gradient of `x` is (|q| / |x|) R' g, where g is the output's.

    Rows where no rotation is defined:

    - antiparallel ones: R is I - 2 u u', the reflection that takes x to its code;
    - `x` a millionth of its code or shorter, zero included: the gradient passes unchanged (straight-through);
    - a code of zeros: the rescaling is by zero, and so is the gradient.

    Example:

        rotation_trick(tf.constant([[1.0, 0.0]]), tf.constant([[0.0, 2.0]]))      # [[0, 2]]

    Args:
        x: `[..., D]`, float.
        code: `[..., D]`, of the same shape and dtype.

    Returns:
        `[..., D]`.
    """

    @tf.custom_gradient
    def rotated(x):
        def backward(upstream):
            return _unrotate(upstream, x, code)

        # Not code + (x - x), where TensorFlow's graph optimizer adds x to a constant code first.
        return tf.where(tf.math.is_finite(x), code, tf.constant(float("nan"), code.dtype)), backward

    code = tf.stop_gradient(code)
    return rotated(x)


def _unrotate(upstream, x, code) -> tf.Tensor:
    """(|q| / |x|) R' g for each row."""
    u, x_length = _direction(x)
    v, code_length = _direction(code)
    r, length = _direction(u + v)
    r = tf.where(length > _ANTIPARALLEL, r, tf.zeros_like(r))
    # R' g = g - 2 r (r . g) + 2 u (v . g)
    turned = upstream - 2.0 * r * _dot(r, upstream) + 2.0 * u * _dot(v, upstream)
    short = x_length <= _SHORT * code_length
    scale = code_length / tf.where(short, tf.ones_like(x_length), x_length)
    return tf.where(short & (code_length > 0.0), upstream, scale * turned)


def _direction(x):
    """Each row's direction, or zeros, and its length; the largest element is divided out, against underflow."""
    largest = tf.reduce_max(tf.abs(x), axis=-1, keepdims=True)
    safe = tf.where(largest > 0.0, largest, tf.ones_like(largest))
    scaled = x / safe
    length = tf.sqrt(_dot(scaled, scaled))
    return scaled / tf.where(length > 0.0, length, tf.ones_like(length)), length * largest


def _dot(a, b):
    return tf.reduce_sum(a * b, axis=-1, keepdims=True)
