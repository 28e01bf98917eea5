"""Where NaN or infinity began in a training: the steps are repeated from the last good weights, and watched.

A step is a function of the weights, the counter and the batch, so that what went wrong goes wrong again. Nothing is
watched, and nothing costs time, before it does.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError


class NonFinite(NamedTuple):
    """What `locate_non_finite` returns."""

    batch: int
    """Its number, from 0."""
    where: str
    """A layer's path, a variable's gradient, the loss, or the data."""


def locate_non_finite(model: keras.Model, batches: Iterable) -> NonFinite | None:
    """Trains a model until a value is not finite, and says which one was the first.

    Example:

        restore_backup(model, "run/backup")
        locate_non_finite(model, batches.dataset)       # NonFinite(batch=57, where="the output of layer ...")

    Args:
        model: built and compiled, at weights from which the loss becomes NaN or infinite. It is of no use afterwards.
        batches: as `fit` gets them, of one epoch.

    Returns:
        `NonFinite`, or None where everything stays finite.
    """
    model.steps_per_execution = 1
    model.train_function = None
    model.optimizer.build(model.trainable_variables)
    for number, batch in enumerate(batches):
        before = [(variable, variable.numpy()) for variable in [*model.variables, *model.optimizer.variables]]
        data = batch if isinstance(batch, tuple) else (batch,)
        logs = model.train_on_batch(*data, return_dict=True)
        if np.isfinite(logs["loss"]) and all(_is_finite(weight.value) for weight in model.trainable_weights):
            continue
        for variable, value in before:
            variable.assign(value)
        return NonFinite(number, _watched_step(model, data))
    return None


def _is_finite(values) -> bool:
    dtype = getattr(values, "dtype", None)
    if dtype is None or not tf.as_dtype(dtype).is_floating:
        return True
    return bool(tf.reduce_all(tf.math.is_finite(values)))


def _watched_step(model, data) -> str:
    if not all(_is_finite(tf.convert_to_tensor(part)) for part in tf.nest.flatten(data)):
        return "the data"
    found: list[str] = []
    model.run_eagerly = True
    model.train_function = None
    model.reset_metrics()
    logs = {"loss": np.nan}
    # Run eagerly, an estimator refuses a cost that is no number.
    with _watched_layers(model, found), _watched_gradients(model.optimizer, found), suppress(InputError):
        logs = model.train_on_batch(*data, return_dict=True)
    if found and (found[0].startswith("the output") or np.isfinite(logs["loss"])):
        return found[0]
    return "the update of the weights" if np.isfinite(logs["loss"]) else "the loss, of layers whose outputs are finite"


@contextmanager
def _watched_layers(model, found: list[str]) -> Iterator[None]:
    """Notes layers in the order in which they give values that are not finite: an inner one before an outer one."""
    layers = {id(layer) for layer in model._flatten_layers(include_self=False)}
    call = keras.layers.Layer.__call__

    def watched(self, *args, **kwargs):
        outputs = call(self, *args, **kwargs)
        if id(self) in layers and not all(map(_is_finite, tf.nest.flatten(outputs))):
            found.append(f"the output of layer {self.path or self.name}")
        return outputs

    keras.layers.Layer.__call__ = watched
    try:
        yield
    finally:
        keras.layers.Layer.__call__ = call


@contextmanager
def _watched_gradients(optimizer, found: list[str]) -> Iterator[None]:
    """Notes the first variable whose gradient is not finite."""
    apply = optimizer.apply

    def watched(gradients, trainable_variables=None):
        for gradient, variable in zip(gradients, trainable_variables or optimizer._trainable_variables, strict=True):
            if gradient is not None and not _is_finite(tf.convert_to_tensor(gradient)):
                found.append(f"the gradient of {variable.path}")
                break
        return apply(gradients, trainable_variables)

    optimizer.apply = watched
    try:
        yield
    finally:
        del optimizer.apply
