"""A temperature that is a number, or a schedule of the training step that lives in the graph.

Schedules are Keras's own (`keras.optimizers.schedules.LearningRateSchedule`): callables of the step that serialize.
"""

import numbers
from typing import TypeAlias

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_positive

Schedule = keras.optimizers.schedules.LearningRateSchedule
Temperature: TypeAlias = float | keras.optimizers.schedules.LearningRateSchedule

LOWEST, HIGHEST = 1e-6, 1e6


def check_temperature(temperature: Temperature, name: str = "temperature") -> Temperature:
    """Returns a positive number, or a schedule, as it is; raises `InputError` for anything else.

    Args:
        temperature: what was received.
        name: of the argument, where it is another thing that is annealed in the same way.
    """
    if isinstance(temperature, Schedule):
        return temperature
    if isinstance(temperature, numbers.Real):
        check_positive(name, temperature)  # type: ignore[arg-type]
        return check_limits(name, temperature)  # type: ignore[arg-type]
    raise InputError(
        f"{name} must be a positive number or a keras.optimizers.schedules.LearningRateSchedule of the step. "
        f"Received: {name}={temperature!r}."
    )


def check_limits(name: str, temperature: float) -> float:
    """Returns a positive number from `LOWEST` to `HIGHEST`; raises `InputError` for another."""
    if not LOWEST <= float(temperature) <= HIGHEST:
        raise InputError(
            f"{name} must be from {LOWEST:g} to {HIGHEST:g}, where float32 keeps logits apart. "
            f"Received: {name}={temperature!r}."
        )
    return temperature


def temperature_at(temperature: Temperature, step) -> tf.Tensor:
    """The temperature at `step`, float32 `[]`; a schedule's values are kept within the same limits as numbers."""
    if isinstance(temperature, Schedule):
        return tf.clip_by_value(tf.cast(temperature(step), tf.float32), LOWEST, HIGHEST)
    return tf.constant(temperature, tf.float32)


def serialize_temperature(temperature: Temperature):
    """The entry of a Keras config for a temperature."""
    if isinstance(temperature, Schedule):
        return keras.saving.serialize_keras_object(temperature)
    return temperature


def deserialize_temperature(entry) -> Temperature:
    """The inverse of `serialize_temperature`; takes a temperature as it is."""
    return keras.saving.deserialize_keras_object(entry) if isinstance(entry, dict) else entry
