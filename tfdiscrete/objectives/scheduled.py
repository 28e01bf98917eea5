"""A weight that is a number, or a schedule of the training step that lives in the graph; it may be 0.

A warm-up from 0 to 1 is

keras.optimizers.schedules.PolynomialDecay(0.0, decay_steps=10_000, end_learning_rate=1.0)      # from 0 up to 1
"""

from typing import TypeAlias

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_non_negative
from tfdiscrete.ops.temperature import Schedule

Scheduled: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule


def check_scheduled(name: str, value: Scheduled) -> Scheduled:
    """Returns a number of at least 0, or a schedule, as it is; raises `InputError` for anything else."""
    if isinstance(value, Schedule):
        return value
    try:
        return check_non_negative(name, value)
    except InputError:
        raise InputError(
            f"{name} must be a finite number of at least 0, or a keras.optimizers.schedules.LearningRateSchedule of "
            f"the step. Received: {name}={value!r}."
        ) from None


def scheduled_at(value: Scheduled, step) -> tf.Tensor:
    """The value at `step`, float32 `[]`; what a schedule has below 0 counts as 0."""
    if isinstance(value, Schedule):
        return tf.maximum(tf.cast(value(step), tf.float32), 0.0)
    return tf.constant(value, tf.float32)
