"""The pmf of a count cut to low..high, the tails at its ends, and the map from a simplex to outcomes.

    P(Z = low) = P(X <= low),    P(Z = k) = P(X = k),  low < k < high,    P(Z = high) = P(X >= high)

The masses sum to 1 as they are: nothing is renormalised, and the total variation to the law of X is the mass that
moved, P(X < low) + P(X > high). A relaxed count is T(y) = sum_k c_k y_k, with c the outcomes and y on the simplex.

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847.
"""

import numpy as np
import tensorflow as tf

from tfdiscrete.ops.logspace import IMPOSSIBLE
from tfdiscrete.ops.precision import widen

_SMALLEST = {tf.float32: 1e-30, tf.float64: 1e-290}
_LARGEST_LOG_RATIO = -1e-4


def truncated_log_pmf(interior: tf.Tensor, log_lower: tf.Tensor, log_upper: tf.Tensor) -> tf.Tensor:
    """The log pmf on low..high, never below `IMPOSSIBLE`, from those inside and the masses of the two tails.

    Example:

        # a fair four-sided die, 1 to 4, cut to 2..3
        truncated_log_pmf(tf.zeros([0]), tf.math.log(0.5), tf.math.log(0.5))        # log [1/2, 1/2]

    Args:
        interior: log P(X = k) for low < k < high, `[..., K - 2]`.
        log_lower: log P(X <= low), `[...]`.
        log_upper: log P(X >= high), `[...]`.

    Returns:
        `[..., K]`, K at least 2. A NaN stays one.
    """
    log_pmf = tf.concat([log_lower[..., tf.newaxis], interior, log_upper[..., tf.newaxis]], axis=-1)
    return tf.where(log_pmf < IMPOSSIBLE, tf.constant(IMPOSSIBLE, log_pmf.dtype), log_pmf)


def log_tail(mass: tf.Tensor, log_edge: tf.Tensor, log_ratios: tf.Tensor) -> tf.Tensor:
    """The log of a tail's mass: of the mass itself where it is a number, of its series where it underflows.

    P(X >= h) = P(X = h) (1 + r_1 + r_1 r_2 + ...), r_j = P(X = h + j) / P(X = h + j - 1), and the terms after the
    last ratio given are taken as geometric. The series serves tails below 1e-290 (float32: 1e-30), far from the mean,
    where the ratios are small. Value and gradient are finite in either part.

    Example:

        # P(X >= 40) of Poisson(1e-6), far below the least float32
        log_edge = 40 * np.log(1e-6) - 1e-6 - tf.math.lgamma(41.0)
        log_tail(tf.constant(0.0), log_edge, tf.constant(np.log(1e-6 / np.arange(41.0, 49.0)), tf.float32))

    Args:
        mass: the tail's mass, `[...]`, accurate unless it underflows.
        log_edge: the log pmf at the tail's outcome nearest the mean, `[...]`, finite.
        log_ratios: logs of the ratios of successive masses, going outwards, `[..., J]`, finite.

    Returns:
        `[...]`.
    """
    partial = tf.cumsum(log_ratios, axis=-1)
    log_ratio = tf.minimum(log_ratios[..., -1:], _LARGEST_LOG_RATIO)
    remainder = partial[..., -1:] + log_ratio - tf.math.log1p(-tf.exp(log_ratio))
    first = tf.zeros_like(remainder)
    series = log_edge + tf.reduce_logsumexp(tf.concat([first, partial, remainder], axis=-1), axis=-1)
    resolved = mass > _SMALLEST[mass.dtype]
    direct = tf.math.log(tf.where(resolved, mass, tf.ones_like(mass)))
    return tf.where(tf.math.is_nan(mass), mass, tf.where(resolved, direct, series))


def linear_transform(y: tf.Tensor, outcomes: np.ndarray) -> tf.Tensor:
    """T(y) = sum_k c_k y_k: the outcome of a one-hot y, and between outcomes for a y inside the simplex.

    Example:

        linear_transform(tf.constant([[0.0, 1.0, 0.0], [0.0, 0.5, 0.5]]), np.array([0.0, 1.0, 4.0]))     # [1.0, 2.5]

    Args:
        y: `[..., K]`. Half types are summed in float32.
        outcomes: c, `[K]` for numbers or `[K, D]` for vectors.

    Returns:
        `[...]` or `[..., D]`, in the dtype of `y`. For a one-hot y the outcome exactly, where its dtype holds it.
    """
    wide = widen(y)
    columns = tf.unstack(tf.constant(outcomes.reshape(len(outcomes), -1).T, wide.dtype))
    # Sums rather than a matrix product, which GPUs round to ten bits.
    sums = [tf.reduce_sum(wide * column, axis=-1) for column in columns]
    return tf.cast(tf.stack(sums, axis=-1) if outcomes.ndim == 2 else sums[0], y.dtype)
