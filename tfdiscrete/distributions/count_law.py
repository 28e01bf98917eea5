"""What truncation must know of a count distribution: where its support ends, its pmf and its tails."""

import numbers

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.errors import InputError
from tfdiscrete.ops.logspace import IMPOSSIBLE

tfd = tfp.distributions

_TINY = 1e-300


def in_float64(distribution: tfd.Distribution) -> tfd.Distribution:
    """The law with its parameters in float64: in float32 the terms of Poisson(1e4)'s pmf cancel to two digits."""
    changed = {}
    tensors = _tensor_parameters(distribution)
    for name, value in distribution.parameters.items():
        if isinstance(value, tfd.Distribution):
            changed[name] = in_float64(value)
        elif name == "dtype" and value is not None and tf.as_dtype(value).is_floating:
            changed[name] = tf.float64
        elif _is_tensor_of_floats(value):
            changed[name] = _cast(tf.convert_to_tensor(value))
        elif isinstance(value, float | list | tuple) or (name in tensors and _is_number(value)):
            changed[name] = tf.constant(value, tf.float64)
    return distribution.copy(**changed)


def _tensor_parameters(distribution: tfd.Distribution) -> set[str]:
    try:
        return set(type(distribution).parameter_properties(dtype=tf.float64))
    except NotImplementedError:
        return set()


@tf.custom_gradient
def _cast(value: tf.Tensor):
    """`value` in float64; a gradient that its own dtype does not hold is the largest that it does."""

    def gradient(upstream):
        return tf.cast(tf.clip_by_value(upstream, value.dtype.min, value.dtype.max), value.dtype)

    return tf.cast(value, tf.float64), gradient


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_tensor_of_floats(value) -> bool:
    dtype = getattr(value, "dtype", None)
    return dtype is not None and not isinstance(value, tfd.Distribution) and tf.as_dtype(dtype).is_floating


class CountLaw:
    """Any count distribution: its own pmf, summed to a known end of the support, and otherwise its own cdf.

    Args:
        distribution: a scalar `tfd.Distribution` over integers, batch `[*batch]`.
        start: the least outcome; None where there is none, or none is known.
        end: the largest outcome, likewise.
    """

    def __init__(self, distribution: tfd.Distribution, start: int | None = None, end: int | None = None):
        self.distribution = distribution
        self.start, self.end = start, end

    def log_pmf(self, outcomes: np.ndarray) -> tf.Tensor:
        """log P(X = k) at `[K]` outcomes (or `[K, D]`), `[*batch, K]`."""
        batch_rank = self.distribution.batch_shape.rank
        if batch_rank is None:
            raise InputError(f"the batch of {self.distribution.name} must have a known rank. Received: an unknown one.")
        spread = outcomes.reshape([len(outcomes), *[1] * batch_rank, *outcomes.shape[1:]])
        log_pmf = self.distribution.log_prob(tf.constant(spread, tf.float64))
        return tf.transpose(log_pmf, [*range(1, batch_rank + 1), 0])

    def log_lower(self, k: int) -> tf.Tensor:
        """log P(X <= k), `[*batch]`, for k in the support."""
        return self._edge(k) if k == self.start else self._log_lower(k)

    def log_upper(self, k: int) -> tf.Tensor:
        """log P(X >= k), `[*batch]`, for k in the support."""
        return self._edge(k) if k == self.end else self._log_upper(k)

    def _log_lower(self, k: int) -> tf.Tensor:
        if self.start is not None:
            return self._log_sum(self.start, k)
        return _safe_log(self._own("cdf", k))

    def _log_upper(self, k: int) -> tf.Tensor:
        if self.end is not None:
            return self._log_sum(k, self.end)
        return _safe_log(self._own("survival_function", k - 1))

    def _edge(self, k: int) -> tf.Tensor:
        """log P(X = k), `[*batch]`."""
        return self.log_pmf(np.array([float(k)]))[..., 0]

    def _log_sum(self, first: int, last: int) -> tf.Tensor:
        return tf.reduce_logsumexp(tf.maximum(self.log_pmf(np.arange(first, last + 1.0)), IMPOSSIBLE), axis=-1)

    def _own(self, function: str, k: int) -> tf.Tensor:
        try:
            return getattr(self.distribution, function)(tf.constant(k, tf.float64))
        except NotImplementedError:
            raise InputError(
                f"{type(self.distribution).__name__} has no cdf in TensorFlow Probability, so that the mass of its "
                "tails is unknown. A law with a cdf works (Poisson, NegativeBinomial, Geometric, Zipf), and so does "
                "one of bounded support (Binomial, BetaBinomial, FiniteDiscrete)."
            ) from None


def _safe_log(mass: tf.Tensor) -> tf.Tensor:
    return tf.math.log(tf.where(mass < _TINY, tf.constant(_TINY, mass.dtype), mass))


def float_dtype(distribution: tfd.Distribution) -> tf.DType:
    """The dtype of the distribution's probabilities; Zipf and Bernoulli, say, have integer samples."""
    if distribution.dtype.is_floating:
        return distribution.dtype
    values = distribution.parameters.values()
    return next((tf.as_dtype(value.dtype) for value in values if _is_tensor_of_floats(value)), tf.float32)


def static_count(distribution: tfd.Distribution) -> int:
    """The largest `total_count` of a batch, which must be known when the program is built."""
    count = tf.get_static_value(distribution.total_count)
    if count is None:
        raise InputError(
            f"total_count of {type(distribution).__name__} must be a number, since the support must be static. "
            "Received: a tensor whose value is unknown while tracing."
        )
    return int(np.max(count))
