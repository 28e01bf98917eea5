"""The checks of labels that `fit` is given: integers, -1 where one is missing."""

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError


def check_labels(y, label_shape: tuple[int, ...], *, missing: bool = True) -> np.ndarray:
    """Returns labels as int32.

    Args:
        y: an array, `[B]` for `label_shape` `(C,)`, `[B, A]` for `(A, K)`.
        label_shape: of one one-hot label.
        missing: whether -1, for a missing label, is allowed.

    Raises:
        InputError: for none, another shape, floats that are no integers, or integers out of range.
    """
    classes, expected = label_shape[-1], _expected(label_shape)
    if y is None:
        raise InputError(
            f"labels y are needed: integers {expected}, from 0 to {classes - 1}, and -1 where one is missing. A model "
            "without labels is DiscreteVAE. Received: y=None."
        )
    y = np.asarray(y)
    if y.ndim != len(label_shape) or y.shape[1:] != label_shape[:-1]:
        raise InputError(_wrong_shape(y.shape, label_shape))
    if not np.issubdtype(y.dtype, np.integer):
        numbers = np.issubdtype(y.dtype, np.floating)
        if not numbers or not (y == np.round(y)).all():
            example = y[y != np.round(y)][0] if numbers else y.dtype
            raise InputError(f"labels must be integers, -1 where one is missing. Received: {example}.")
    lowest = -1 if missing else 0
    wrong = (y < lowest) | (y >= classes)
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        absent = ", or -1 where one is missing" if missing else ""
        raise InputError(
            f"labels must be integers from 0 to {classes - 1}{absent}. Received: {y[place]} at index {place}."
        )
    return y.astype(np.int32)


def check_learnable(y: np.ndarray) -> None:
    """Raises `InputError` for labels `[B]` or `[B, A]` from which no classifier is learned."""
    if (y < 0).all():
        raise InputError(
            "no label is known, all are -1: label at least one example of each of two classes, or use DiscreteVAE, "
            "which needs none."
        )
    for column, values in enumerate(y.reshape(len(y), -1).T):
        known = np.unique(values[values >= 0])
        if len(known) == 1:
            which = f"attribute {column}" if y.ndim == 2 else "the label"
            raise InputError(
                f"all known values of {which} are {known[0]}, from which nothing can be told apart: label examples of "
                "another class too, as hide_labels does, which picks the same number of each."
            )


def check_tensor(y: tf.Tensor, label_shape: tuple[int, ...]) -> None:
    """Raises `InputError` for a tensor of labels, in a batch of a data set, of another shape or not of integers."""
    if not y.dtype.is_integer:
        raise InputError(
            f"labels of a data set must be of an integer type: map them with tf.cast(y, tf.int32). Received: {y.dtype}."
        )
    if not y.shape.is_compatible_with([None, *label_shape[:-1]]):
        raise InputError(_wrong_shape(tuple(y.shape), label_shape))


def _expected(label_shape) -> str:
    return "[B]" if len(label_shape) == 1 else f"[B, {label_shape[0]}]"


def _wrong_shape(shape, label_shape) -> str:
    one_hot = len(shape) == len(label_shape) + 1 and tuple(shape[1:]) == label_shape
    hint = " One-hot labels become integers by argmax(-1)." if one_hot else ""
    return f"labels must have shape {_expected(label_shape)}. Received: {tuple(shape)}.{hint}"
