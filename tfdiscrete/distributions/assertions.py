"""What `validate_args=True` checks when a distribution runs."""

import tensorflow as tf


def parameter_assertions(*, logits: tf.Tensor | None = None, temperature: tf.Tensor | None = None) -> list:
    """Operations that raise `tf.errors.InvalidArgumentError` for a parameter out of its range; XLA leaves them out.

    Args:
        logits: any shape, must be finite.
        temperature: any shape, must be positive.

    Returns:
        For `_parameter_control_dependencies` of a `tfd.Distribution`.
    """
    assertions = []
    if logits is not None:
        finite = tf.reduce_all(tf.math.is_finite(logits))
        assertions.append(tf.debugging.Assert(finite, ["logits must be finite. Received:", logits]))
    if temperature is not None:
        positive = tf.reduce_all(temperature > 0.0)
        assertions.append(tf.debugging.Assert(positive, ["temperature must be positive. Received:", temperature]))
    return assertions
