"""Sums and means of exponentials, stable in log space, and the logarithm of what cannot occur."""

import tensorflow as tf

IMPOSSIBLE = -1e9
"""The finite log probability of an outcome that cannot occur: its exponential is 0 in every dtype."""


def log_mean_exp(values: tf.Tensor, axis: int = 0) -> tf.Tensor:
    """`log mean_i exp(values_i)` along `axis`; -inf entries count as zeros.

    Example:

        log_mean_exp(tf.constant([[0.0], [-float('inf')]]))     # [log 1/2]
    """
    count = tf.cast(tf.shape(values)[axis], values.dtype)
    return tf.reduce_logsumexp(values, axis=axis) - tf.math.log(count)


def finite_logits(logits: tf.Tensor) -> tf.Tensor:
    """Logits of which those of -inf, of categories that cannot occur, are finite, and so low that they do not occur.

    Products with 0 are then 0 and differences 0, not NaN; the probability is exactly 0, and so is its gradient.

    Example:

        tf.nn.softmax(finite_logits(tf.constant([0.0, 0.0, -float('inf')])))        # [1/2, 1/2, 0]

    Args:
        logits: `[..., K]`; all other values stay as they are, NaN too, and rows of -inf alone, which are no law.

    Returns:
        `[..., K]`, in the dtype of `logits`.
    """
    masked = tf.equal(logits, tf.constant(-float("inf"), logits.dtype))
    masked = tf.logical_and(masked, ~tf.reduce_all(masked, axis=-1, keepdims=True))
    gap = min(-IMPOSSIBLE, float(logits.dtype.max) / 4.0)
    largest = tf.reduce_max(tf.abs(tf.where(masked, tf.zeros_like(logits), logits)), axis=-1, keepdims=True)
    return tf.where(masked, tf.stop_gradient(-2.0 * largest - tf.constant(gap, logits.dtype)), logits)


def finite_log_odds(log_odds: tf.Tensor) -> tf.Tensor:
    """Log odds of which infinite ones, of what is certain, are finite, and so large that it stays so: `[...]`."""
    limit = min(-IMPOSSIBLE, float(log_odds.dtype.max) / 4.0)
    certain = tf.math.is_inf(log_odds)
    return tf.where(certain, tf.sign(log_odds) * tf.constant(limit, log_odds.dtype), log_odds)
