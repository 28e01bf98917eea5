"""Maps onto the simplex and below it, in log space.

softmax++ takes y in R^(K-1) to the open K-simplex: with s = sum_j exp(y_j / tau) + delta,

    g_k = exp(y_k / tau) / s  (k < K),    g_K = delta / s,    so that g = softmax([y / tau, log delta])

Stick breaking takes y in R^D to D positive weights whose sum is below 1:

    v = sigmoid(y),    w_k = v_k prod_{j<k} (1 - v_j)

Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588.
"""

import tensorflow as tf

from tfdiscrete.ops.gumbel import gumbel_max


def log_softmax_plus_plus(y: tf.Tensor, temperature=1.0, delta=1.0) -> tf.Tensor:
    """The logarithm of softmax++, finite for every finite `y / temperature`.

    Example:

        tf.exp(log_softmax_plus_plus(tf.zeros([1]), 0.5, 3.0))      # [0.25, 0.75]

    Args:
        y: `[..., K-1]`.
        temperature: positive; broadcasts with `[..., 1]`.
        delta: positive, the weight of the last category; broadcasts likewise.

    Returns:
        `[..., K]`.
    """
    scaled = y / _cast(temperature, y.dtype)
    log_delta = tf.math.log(_cast(delta, y.dtype))
    shape = tf.concat([tf.broadcast_dynamic_shape(tf.shape(scaled), tf.shape(log_delta))[:-1], [1]], axis=0)
    batch = tf.broadcast_static_shape(scaled.shape[:-1], log_delta.shape[:-1])
    last = tf.ensure_shape(tf.broadcast_to(log_delta, shape), [*batch, 1])
    scaled = tf.broadcast_to(scaled, tf.concat([shape[:-1], tf.shape(scaled)[-1:]], axis=0))
    return tf.nn.log_softmax(tf.concat([scaled, last], axis=-1), axis=-1)


def inverse_log_softmax_plus_plus(log_x: tf.Tensor, temperature=1.0, delta=1.0) -> tf.Tensor:
    """The inverse of `log_softmax_plus_plus`: `tau (log g_k - log g_K + log delta)`, `[..., K]` to `[..., K-1]`.

    Example:

        inverse_log_softmax_plus_plus(tf.math.log([0.25, 0.75]), 0.5, 3.0)      # [0.0]
    """
    log_delta = tf.math.log(_cast(delta, log_x.dtype))
    return _cast(temperature, log_x.dtype) * (log_x[..., :-1] - log_x[..., -1:] + log_delta)


def _cast(value, dtype):
    """`tf.cast`, which alone would round a Python number to float32 on the way to float64."""
    return tf.cast(tf.convert_to_tensor(value, dtype_hint=dtype), dtype)


def softmax_plus_plus_limit(y: tf.Tensor) -> tf.Tensor:
    """The limit of softmax++ as the temperature goes to 0: one-hot `argmax([y, 0])`, without a gradient.

    Example:

        softmax_plus_plus_limit(tf.constant([[2.0, 1.0], [-1.0, -2.0]]))        # [[1, 0, 0], [0, 0, 1]]

    Args:
        y: `[..., K-1]`, `K` static.

    Returns:
        `[..., K]`.
    """
    return gumbel_max(tf.concat([y, tf.zeros_like(y[..., :1])], axis=-1))


def log_stick_breaking(y: tf.Tensor) -> tf.Tensor:
    """The logarithms of the stick weights.

    Example:

        tf.exp(log_stick_breaking(tf.zeros([3])))       # [0.5, 0.25, 0.125]

    Args:
        y: `[..., D]`, the logits of the share that each piece takes of what is left.

    Returns:
        `[..., D]`; the exponentials sum to less than 1.
    """
    left = tf.math.cumsum(tf.math.log_sigmoid(-y), axis=-1, exclusive=True)
    return tf.math.log_sigmoid(y) + left


def inverse_stick_breaking(weights: tf.Tensor) -> tf.Tensor:
    """The inverse of stick breaking, `y_k = log w_k - log(1 - sum_{j<=k} w_j)`, `[..., D]` to `[..., D]`.

    What is left of the stick is a difference: once it is below the spacing of numbers near 1, it is lost. Weights
    outside of the image give NaN.

    Example:

        inverse_stick_breaking(tf.constant([0.5, 0.25]))        # [0.0, 0.0]
    """
    return tf.math.log(weights) - tf.math.log1p(-tf.math.cumsum(weights, axis=-1))
