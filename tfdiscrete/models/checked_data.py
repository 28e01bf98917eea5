"""The check of data that `fit` and `evaluate` are given: of arrays at once, of batches as they come.

A second iterator over a data set could take from it what is not there again, as from a generator. So the check is a
part of the data set that is passed on, and sees batches 1, 2, 4, 8 and so on of each pass: what is wrong everywhere is
found before the first step, what is wrong late in a sorted data set in its last half, and a long pass costs no more.
"""

import contextlib
import types
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.ops.shares import WorkerBatch, WorkerDataset

Check = Callable[[np.ndarray, Any], None]


@contextlib.contextmanager
def checking(check: Check) -> "Iterator[CheckedData]":
    """Within it, data that a `CheckedData` has passed on raise what `check` does, not an error of the data set's graph.

    Example:

        with checking(check) as checked:
            super().fit(checked(dataset))
    """
    checked = CheckedData(check)
    try:
        yield checked
    except tf.errors.OpError:
        if checked.error is None:
            raise
        raise checked.error from None


class CheckedData:
    """Data as `fit` takes them, with a check inside.

    Args:
        check: raises `InputError` for x, and y or None, as arrays.
    """

    def __init__(self, check: Check):
        self._check = check
        self.error: InputError | None = None
        """The first one of a batch."""

    def __call__(self, x, y=None):
        """Returns x, checked, or as one that is checked while it is read: a data set of batches, or a generator.

        Raises:
            InputError: for arrays that the check refuses.
        """
        if isinstance(x, np.ndarray | tf.Tensor):
            self._check(np.asarray(x), y)
        elif isinstance(x, tf.data.Dataset):
            return self._dataset(x)
        elif isinstance(x, types.GeneratorType):
            return self._generator(x)
        return x

    def validation(self, data):
        """The same of what `validation_data` may be: x, or a tuple that begins with x and y."""
        if isinstance(data, tuple | list) and data:
            return (self(*data[:2]), *data[1:])
        return self(data)

    def _dataset(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        def passed(number, *parts):
            # `map` has taken a tuple apart, and of a pair left this one whole.
            batch = parts[0]
            tensors = _x_and_y(batch.rows if isinstance(batch, WorkerBatch) else batch)
            if tensors:
                tf.cond(
                    _is_due(number), lambda: tf.numpy_function(self._checked, [number, *tensors], tf.bool), lambda: True
                )
            return batch

        passing = batches.enumerate().map(passed)
        return WorkerDataset(passing) if isinstance(batches, WorkerDataset) else passing

    def _generator(self, batches):
        for number, batch in enumerate(batches):
            tensors = _x_and_y(batch)
            if tensors and _is_due(number):
                self._checked(number, *map(np.asarray, tensors))
            yield batch

    def _checked(self, number, x, y=None) -> bool:
        try:
            self._check(x, y)
        except InputError as error:
            # The first one: a data set that is read ahead goes on to the next batch.
            self.error = self.error or InputError(f"{error} In batch {number + 1} of the data set.")
            raise self.error from None
        return True


def _is_due(number):
    """Whether the batch of that number, from 0, is one of 1, 2, 4, 8, ..."""
    return number & (number + 1) == 0


def _x_and_y(batch) -> list:
    """The x of a batch, and y where there is one; nothing where x is no single dense array."""
    x, y, _ = keras.utils.unpack_x_y_sample_weight(batch)
    dense = [part for part in (x, y) if isinstance(part, np.ndarray | tf.Tensor)]
    return dense if dense and dense[0] is x else []
