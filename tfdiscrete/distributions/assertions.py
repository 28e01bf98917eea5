"""What a distribution checks of its parameters: their shape when made, their values when run with `validate_args`."""

import tensorflow as tf

from tfdiscrete.errors import InputError


def check_categories(logits: tf.Tensor) -> None:
    """Raises `InputError` for logits that are not `[*batch, K]` with a static `K` of at least 1."""
    if not logits.shape.rank or not logits.shape[-1]:
        raise InputError(f"logits must have shape [*batch, K] with K >= 1 static. Received: shape {logits.shape}.")


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
