"""The outcomes that a truncated law keeps: a range of integers, or an enumerated set of vectors.

The ends are given, or chosen from a tolerance: the narrowest low..high for which P(X < low) takes at most half of it
and P(X > high) the rest, or one of them what the other, given, leaves. Moving the mass beyond the ends onto them
changes the law by exactly that much in total variation.
"""

import itertools
import math
import numbers
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.closed_tails import count_law
from tfdiscrete.distributions.count_law import CountLaw, static_count
from tfdiscrete.errors import InputError

tfd = tfp.distributions

_FARTHEST = 2**40
_ENUMERATED = (tfd.Multinomial, tfd.DirichletMultinomial)


def choose_outcomes(distribution, low, high, tolerance, reference, max_support: int) -> np.ndarray:
    """The outcomes of `Truncated`, whose docstring states the arguments; `[K]` or `[K, D]`, float64.

    Raises:
        InputError: for ends that are not integers in order within the support, no way to know an end, a tolerance that
            cannot be met, or more than `max_support` outcomes.
    """
    if distribution.event_shape.rank == 0:
        low, high = _ends(distribution, low, high, tolerance, reference)
        _check_size(high - low + 1, max_support, f"{low}..{high}", "Cut closer ends or raise the tolerance.")
        return np.arange(low, high + 1, dtype=np.float64)
    if not isinstance(distribution, _ENUMERATED):
        raise InputError(
            "the law must be one of counts, or tfd.Multinomial or tfd.DirichletMultinomial. Received: "
            f"{type(distribution).__name__} with event shape {distribution.event_shape}."
        )
    if any(option is not None for option in (low, high, tolerance, reference)):
        raise InputError(
            f"{type(distribution).__name__} is enumerated, not cut: leave low, high, tolerance and reference out. "
            f"Received: low={low!r}, high={high!r}, tolerance={tolerance!r}, reference={reference!r}."
        )
    total, parts = static_count(distribution), distribution.event_shape[-1]
    size = math.comb(total + parts - 1, parts - 1)
    _check_size(size, max_support, f"{total} draws among {parts} categories", "Draw fewer, or among fewer.")
    return np.array(list(_compositions(total, parts)), dtype=np.float64)


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """All ways to write `total` as an ordered sum of `parts` integers from 0; (total, 0, ...) comes first."""
    for bars in itertools.combinations(range(total + parts - 1), parts - 1):
        edges = (-1, *bars, total + parts - 1)
        yield tuple(right - left - 1 for left, right in itertools.pairwise(edges))[::-1]


def _check_size(size: int, max_support: int, what: str, instead: str) -> None:
    if size > max_support:
        raise InputError(
            f"{what} has {size} outcomes, more than max_support={max_support}. {instead} Or pass a larger max_support: "
            "time and memory grow in proportion."
        )


def _ends(distribution, low, high, tolerance, reference) -> tuple[int, int]:
    law = count_law(distribution)
    for name, end in (("low", low), ("high", high)):
        if end is not None and (isinstance(end, bool) or not isinstance(end, numbers.Integral)):
            raise InputError(f"{name} must be an integer, since the support must be static. Received: {name}={end!r}.")
    if tolerance is None and reference is not None:
        raise InputError("reference says where a tolerance is measured: pass tolerance too, such as tolerance=1e-6.")
    if tolerance is not None:
        low, high = _within_tolerance(distribution, low, high, tolerance, reference)
    low, high = (law.start if low is None else low), (law.end if high is None else high)
    name = type(distribution).__name__
    if low is None or high is None:
        side = "low" if low is None else "high"
        raise InputError(f"{name} has no known {side} end: pass {side}, or a tolerance for a law with a known start.")
    start, end = (-math.inf if law.start is None else law.start), (math.inf if law.end is None else law.end)
    if not start <= low <= high <= end:
        raise InputError(
            f"the ends must be in order and within the support of {name}, {start}..{end}. Received: low={low}, "
            f"high={high}."
        )
    return int(low), int(high)


def _within_tolerance(distribution, low, high, tolerance, reference) -> tuple[int, int]:
    """The given ends, and for those not given the narrowest that keep the mass beyond both within `tolerance`."""
    if isinstance(tolerance, bool) or not isinstance(tolerance, numbers.Real) or not 0.0 < float(tolerance) < 1.0:
        raise InputError(f"tolerance must be a number in (0, 1), such as 1e-6. Received: tolerance={tolerance!r}.")
    given = [distribution] if reference is None else reference if isinstance(reference, list | tuple) else [reference]
    mass = float(tolerance)
    with tf.init_scope():
        tails = _Tails(given, type(distribution))
        if low is None:
            share = mass / 2.0 if high is None else mass - tails.above(high)
            low = _last(lambda k: tails.below(k) <= share, tails.start)
        budget = mass - tails.below(low)
        if high is None and budget >= 0.0:
            high = low if tails.above(low) <= budget else _last(lambda k: tails.above(k) > budget, low) + 1
        beyond = tails.below(low) + (0.0 if high is None else tails.above(high))
        if high is None or beyond > mass:
            raise InputError(
                f"low={low}, high={high} leave a mass of {beyond:.3g} beyond them, more than tolerance={tolerance!r}. "
                "Leave out an end, and it is chosen."
            )
    return low, high


class _Tails:
    """The mass beyond an end, the largest over several laws of one kind and their batches."""

    def __init__(self, distributions, kind: type):
        for distribution in distributions:
            if not isinstance(distribution, kind):
                raise InputError(f"reference must be a {kind.__name__} or a list of them. Received: {distribution!r}.")
        laws = [_concrete(lambda law=law: count_law(law)) for law in distributions]
        self._laws = laws
        self.start = laws[0].start
        self._end = None if laws[0].end is None else max(law.end for law in laws)
        if self.start is None:
            raise InputError(
                f"{kind.__name__} has no known start, so that a tolerance does not place its ends: pass low and high."
            )

    def below(self, k: int) -> float:
        """P(X < k)."""
        if k <= self.start:
            return 0.0
        return 1.0 if self._end is not None and k > self._end else self._largest(lambda law: law.log_lower(k - 1))

    def above(self, k: int) -> float:
        """P(X > k)."""
        return 0.0 if self._end is not None and k >= self._end else self._largest(lambda law: law.log_upper(k + 1))

    def _largest(self, log_mass: Callable[[CountLaw], tf.Tensor]) -> float:
        largest = max(_concrete(lambda law=law: float(np.max(np.exp(log_mass(law))))) for law in self._laws)
        if math.isnan(largest):
            raise InputError("a tolerance needs finite parameters. Received: a law whose tails are NaN.")
        return largest


def _concrete(compute):
    """The result of what runs eagerly; a clear error where a tensor of a traced program is in it."""
    try:
        return compute()
    except InputError:
        raise
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise InputError(
            "a tolerance needs concrete parameters, since the support must be static. Received: tensors whose value is "
            "unknown while tracing. Pass reference, such as the prior, or low and high."
        ) from error


def _last(holds: Callable[[int], bool], first: int) -> int:
    """The last integer from `first` for which a condition holds that holds at `first` and not for ever."""
    step = 1
    while holds(first + step):
        if step > _FARTHEST:
            raise InputError("the tolerance is not reached for outcomes up to 1e12: the law's tail is too heavy.")
        step *= 2
    good, bad = first + step // 2, first + step
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good
