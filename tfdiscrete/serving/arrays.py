"""Decoded JSON as checked arrays: nothing is rounded to an integer, wrapped around or made infinite on the way.

Nested lists are flattened level by level, and the types of their leaves looked at before NumPy sees them: `np.asarray`
would pad every number of a list to the length of its longest text, and so fill the memory.
"""

from itertools import chain

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError

_DEEPEST = 32
_KINDS = {"f": "fiu", "i": "iu", "b": "b"}
_LEAVES: dict[str, set[type]] = {"f": {float, int}, "i": {int}, "b": {bool}}


def kind(dtype: tf.DType) -> str:
    """One letter: "f" for real numbers, "i" for integers, "b" for booleans, "" for what is not served."""
    return "f" if dtype.is_floating else "i" if dtype.is_integer else "b" if dtype.is_bool else ""


def describe(specs: dict[str, tf.TensorSpec]) -> str:
    """Inputs as a person reads them: `x: float32 [None, 8, 8]`."""
    shapes = {name: "[...]" if s.shape.rank is None else s.shape.as_list() for name, s in specs.items()}
    return ", ".join(f"{name}: {specs[name].dtype.name} {shape}" for name, shape in shapes.items())


def from_lists(name: str, value, spec: tf.TensorSpec, *, shape: list[int] | None = None) -> np.ndarray:
    """The array of nested lists of numbers.

    Args:
        name: of the input, for the message.
        value: a number, or lists of equal lengths, down to numbers.
        spec: what the array must be.
        shape: if given, the lists may be flat too, in row-major order.

    Raises:
        InputError: for another shape or type, an empty array, NaN, infinity, or a number beyond the type's range.
    """
    received, leaves = _flatten(value)
    if received is None:
        raise _refusal(name, spec, "nested lists of unequal lengths, or too deep")
    if shape is not None and received != shape:
        if received != [np.prod(shape, dtype=object)]:
            raise InputError(f"{name} of shape {shape!s:.100} cannot have data of shape {received!s:.100}.")
        received = shape
    _check_shape(name, spec, received)
    if not set(map(type, leaves)) <= _LEAVES[kind(spec.dtype)]:
        raise _refusal(name, spec, "values of another type")
    try:
        with np.errstate(over="ignore"):
            array = np.array(leaves, spec.dtype.as_numpy_dtype).reshape(received)
    except OverflowError as error:
        raise _beyond(name, spec) from error
    return _finite(name, array, spec)


def from_array(name: str, array: np.ndarray, spec: tf.TensorSpec) -> np.ndarray:
    """The array itself, or a cast copy; raises `InputError` as `from_lists` does."""
    _check_shape(name, spec, list(array.shape))
    if array.dtype.kind not in _KINDS[kind(spec.dtype)]:
        raise _refusal(name, spec, "values of another type")
    with np.errstate(over="ignore"):
        cast = array.astype(spec.dtype.as_numpy_dtype, copy=False)
    if kind(spec.dtype) == "i" and not np.array_equal(cast, array):
        raise _beyond(name, spec)
    return _finite(name, cast, spec)


def _flatten(value) -> tuple[list[int] | None, list]:
    """The shape of nested lists and their leaves in row-major order; no shape for lists of unequal lengths."""
    shape: list[int] = []
    level = [value]
    while list in (types := set(map(type, level))):
        lengths = set(map(len, level)) if len(types) == 1 else set()
        if len(lengths) != 1 or len(shape) == _DEEPEST:
            return None, []
        shape += lengths
        level = list(chain.from_iterable(level))
    return shape, level


def _check_shape(name, spec, shape):
    if not all(shape) or not spec.shape.is_compatible_with(shape):
        raise _refusal(name, spec, f"shape {shape}{'' if all(shape) else ', which is empty'}")


def _finite(name, array, spec):
    if kind(spec.dtype) == "f" and not np.isfinite(array).all():
        raise _beyond(name, spec)
    return array


def _refusal(name, spec, received):
    return InputError(f"expected {describe({name: spec})}. Received: {received}.")


def _beyond(name, spec):
    return _refusal(name, spec, "NaN, infinity, or a number beyond the type's range")
