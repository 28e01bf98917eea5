"""Gaussian parameters from a network's unconstrained outputs."""

import tensorflow as tf

from tfdiscrete.ops.precision import widen

# exp(+-20) is beyond what any temperature or data tell apart, and far from overflow.
_MAX_LOG_SCALE = 20.0


def loc_and_scale(parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Means and log scales `[..., 2 D]` to means and scales, each `[..., D]`, float32 at least."""
    loc, log_scale = tf.split(widen(parameters), 2, axis=-1)
    return loc, tf.exp(tf.clip_by_value(log_scale, -_MAX_LOG_SCALE, _MAX_LOG_SCALE))
