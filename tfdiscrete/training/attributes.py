"""Binary attributes of digits, for models with several labels."""

import numpy as np

from tfdiscrete.errors import InputError
from tfdiscrete.training.data import Split

ATTRIBUTES = ("even", "at least five", "inverted")


def digit_attributes(split: Split, *, seed: int) -> Split:
    """Digits of which each one, with probability 1/2, is inverted, x to 1 - x.

    Args:
        split: images `[n, ...]` in [0, 1] with classes 0 to 9.
        seed: of what is inverted.

    Returns:
        The images, and for each whether it is even, at least five, and inverted: integers `[n, 3]`.

    Raises:
        InputError: for classes that are no digits.
    """
    if split.y is None or not np.isin(split.y, np.arange(10)).all():
        raise InputError("the attributes are those of the digits 0 to 9, with their classes: use 'digits' or 'mnist'.")
    inverted = np.random.default_rng(seed).integers(2, size=len(split.y))
    x = np.where(inverted.reshape(-1, *[1] * (split.x.ndim - 1)) == 1, 1.0 - split.x, split.x).astype(split.x.dtype)
    return Split(x, np.stack([split.y % 2 == 0, split.y >= 5, inverted], axis=-1).astype(np.int64))
