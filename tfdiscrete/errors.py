"""The error that a user can mend, and the checks that raise it.

Every check states what was expected and what was received; where a name is wrong, the nearest existing one.
"""

import difflib
import math
import numbers
from collections.abc import Iterable

import numpy as np


class InputError(ValueError):
    """Raised for input that the caller can correct; the command line prints it on one line and exits with 2."""

    # Without it AutoGraph raises an error of its own type for one that code under `tf.function` raised.
    ag_pass_through = True


def unknown_name(kind: str, received: object, known: Iterable[str]) -> InputError:
    """Returns the error for a name that is not among `known`: it lists them all and the nearest match."""
    names = sorted(known)
    nearest = difflib.get_close_matches(str(received), names, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return InputError(f"unknown {kind} {received!r}.{hint} Known: {', '.join(names)}.")


def check_name(kind: str, received: str, known: Iterable[str]) -> str:
    """Returns `received` if it is among `known`; raises `InputError` that lists the choices otherwise."""
    known = list(known)
    if received not in known:
        raise unknown_name(kind, received, known)
    return received


def check_positive(name: str, value: float) -> float:
    """Returns `value`, a Python number, if it is positive and finite; raises `InputError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 < value < math.inf:
        raise InputError(f"{name} must be a positive finite number. Received: {name}={value!r}.")
    return value if isinstance(value, int) else float(value)


def check_non_negative(name: str, value: float) -> float:
    """Returns `value`, a Python number, if it is at least 0 and finite; raises `InputError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < math.inf:
        raise InputError(f"{name} must be a finite number of at least 0. Received: {name}={value!r}.")
    return value if isinstance(value, int) else float(value)


def check_bool(name: str, value: bool) -> bool:
    """Returns `value` if it is True or False; raises `InputError` otherwise, of texts and numbers too."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False. Received: {name}={value!r}.")
    return value


def check_count(name: str, value: int, minimum: int = 1, maximum: int = 2**31 - 1) -> int:
    """Returns `value`, a Python integer, if it is from `minimum` to `maximum`; raises `InputError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not minimum <= value <= maximum:
        limit = f" and at most {maximum}" if value is not True and isinstance(value, int) and value > maximum else ""
        raise InputError(f"{name} must be an integer of at least {minimum}{limit}. Received: {name}={value!r}.")
    return int(value)


def check_seed(seed: int) -> int:
    """Returns `seed`, a Python integer, if it is from 0 to 2^62 - 1; raises `InputError` otherwise."""
    return check_count("seed", seed, 0, 2**62 - 1)


def check_finite(x: np.ndarray) -> None:
    """Raises `InputError` with the place of the first NaN or infinite value of `x`, if there is one."""
    bad = ~np.isfinite(x)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(f"the data must be finite. Received: {x[place]} at index {place}, {bad.sum()} such values.")
