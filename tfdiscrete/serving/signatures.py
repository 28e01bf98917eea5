"""A signature of a SavedModel, from NumPy arrays to NumPy arrays."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.serving.arrays import describe, kind
from tfdiscrete.serving.examples import examples
from tfdiscrete.serving.received import names

# What a model says of inputs it cannot take; its other errors are its own.
_REFUSALS = (
    tf.errors.InvalidArgumentError,
    tf.errors.OutOfRangeError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnimplementedError,
)

_TRIED = 4
"""Random rows by which rows are seen to keep apart."""
_ROUNDING = 1e-3


class Signature:
    """A function of the SavedModel by the name it is asked for; safe to call from several threads.

    Args:
        name: in requests.
        function: as the loaded SavedModel's `signatures` give it; the SavedModel must be kept alive beside it.
    """

    def __init__(self, name: str, function):
        self.name = name
        self.inputs: dict[str, tf.TensorSpec] = dict(sorted(function.structured_input_signature[1].items()))
        self.outputs: dict[str, tf.TensorSpec] = dict(sorted(function.structured_outputs.items()))
        self._function = function
        self._batches = [name for name, spec in self.inputs.items() if spec.shape.rank is None or _is_batch(spec)]
        number = self.inputs.get("n")
        self._asks_for_n = number is not None and number.shape.rank == 0 and number.dtype.is_integer

    @property
    def has_rows(self) -> bool:
        """Whether all inputs have a batch as first dimension, so that a request may send rows."""
        return len(self._batches) == len(self.inputs)

    @functools.cached_property
    def takes_batches(self) -> bool:
        """Whether rows of several requests may be stacked.

        Inputs and outputs all have a batch, then fixed sizes, and each of a few random rows, which the first look at
        this property computes, has the same answer alone and among the others. Where the model refuses them, it is not
        known to.
        """
        specs = [*self.inputs.values(), *self.outputs.values()]
        have_batches = all(_is_batch(spec) and spec.shape[1:].is_fully_defined() for spec in specs)
        return bool(self.inputs) and have_batches and self._keeps_rows_apart()

    def _keeps_rows_apart(self):
        rng = np.random.default_rng(0)
        rows = examples(self.inputs, batch=_TRIED, rng=rng)
        try:
            together = self(rows)
            alone = [self({name: value[i : i + 1] for name, value in rows.items()}) for i in range(_TRIED)]
        except (InputError, tf.errors.OpError):
            return False
        return all(_agree(value, [answer[name] for answer in alone]) for name, value in together.items())

    def has_even_rows(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether all inputs of a request have equally many rows."""
        return len({arrays[name].shape[:1] for name in self._batches}) <= 1

    def rows(self, arrays: Mapping[str, np.ndarray]) -> int:
        """The rows that a request asks for: of its longest batch, or its `n`, an integer of shape `[]`."""
        asked = [int(arrays["n"])] if self._asks_for_n else []
        return max([1, *asked, *(rows for name in self._batches for rows in arrays[name].shape[:1])])

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, in the order of their names; bfloat16 as float32.

        Raises:
            InputError: for values that the model refuses.
        """
        try:
            outputs = self._function(**{name: tf.constant(arrays[name]) for name in self.inputs})
            return {name: _widened(outputs[name].numpy()) for name in self.outputs}
        except _REFUSALS as error:
            reason = error.message.split("\n\t [[")[0].rsplit("\n", 1)[-1]
            raise InputError(f"signature {self.name!r} cannot take these values: {reason}.") from error

    def named(self, values: Any) -> dict[str, Any]:
        """The inputs by name; that of a single one may be left out."""
        if not isinstance(values, dict) and len(self.inputs) == 1:
            return {next(iter(self.inputs)): values}
        if not isinstance(values, dict) or values.keys() != self.inputs.keys():
            received = names(values) if isinstance(values, dict) else "values without names"
            raise InputError(
                f"signature {self.name!r} takes {describe(self.inputs) or 'no inputs'}. Received: {received}."
            )
        return values


def signatures_of(saved_model) -> dict[str, Signature]:
    """The signatures of numbers and booleans, by name: others, of texts for example, are not served."""
    found = {name: Signature(name, function) for name, function in saved_model.signatures.items()}
    return {
        name: signature
        for name, signature in found.items()
        if all(kind(spec.dtype) for spec in [*signature.inputs.values(), *signature.outputs.values()])
    }


def _is_batch(spec):
    return bool(spec.shape.rank) and spec.shape[0] is None


def _agree(together, alone):
    """Up to rounding, of which accelerators have more for some numbers of rows; NaN is NaN."""
    if [len(each) for each in alone] != [1] * len(together):
        return False
    alone = np.concatenate(alone)
    if together.dtype.kind != "f":
        return np.array_equal(together, alone)
    finite = together[np.isfinite(together)]
    scale = np.abs(finite).max(initial=0)
    return np.allclose(together, alone, rtol=0, atol=_ROUNDING * scale, equal_nan=True)


def _widened(array):
    return array.astype(np.float32) if array.dtype == tf.bfloat16.as_numpy_dtype else array
