"""k-means: codes that start far apart, moved to the means of their rows.

The start draws rows with a probability proportional to their squared distance from the codes so far, a few trials for
each, and keeps the trial that leaves the least total (greedy k-means++). Beyond 1,024 codes several are drawn in one
round, from the distances before it.

David Arthur, Sergei Vassilvitskii (2007), "k-means++: The Advantages of Careful Seeding", SODA 2007.
Stuart P. Lloyd (1982), "Least squares quantization in PCM", IEEE Transactions on Information Theory 28.
"""

import math

import numpy as np
import tensorflow as tf

from tfdiscrete.ops.nearest_code import CodeStatistics, code_statistics, nearest_code, unit_rows
from tfdiscrete.ops.random import fold_in, split_seed, uniform

_MOST_ROUNDS = 1024
_SPREAD = 0.01


def kmeans(rows, valid, num_codes: int, seed, *, iterations: int, metric: str = "euclidean"):
    """Codes for `rows`, in the same way in eager mode, in a graph and under XLA.

    A code that loses all its rows stays where it is. Where there are fewer different rows than codes, the codes left
    over are random rows moved by up to a hundredth of the data's standard deviation: they wait there for other rows.

    Example:

        rows = normal([100, 2], [0, 1])
        codes, counts = kmeans(rows, tf.ones([100], bool), 5, [2, 3], iterations=10)        # [5, 2], [5]

    Args:
        rows: `[M, D]`, float32 or float64, `M >= 1`; of unit length for the metric "cosine".
        valid: bool `[M]`, at least one true: the rows to use. The others may hold anything.
        num_codes: `K`.
        seed: int32 `[2]`.
        iterations: how many times codes are moved, at least 0.
        metric: as for `nearest_code`. Codes are then of unit length too.

    Returns:
        The codes `[K, D]`, and how many rows each has `[K]`.
    """
    rows = tf.where(valid[:, None], tf.stop_gradient(rows), tf.zeros([], rows.dtype))
    weights = tf.cast(valid, rows.dtype)
    normalize = unit_rows if metric == "cosine" else tf.identity
    start_seed, spare_seed = split_seed(seed, 2)

    def assigned(codes) -> CodeStatistics:
        index = tf.where(valid, nearest_code(rows, codes, metric=metric), -1)
        return code_statistics(rows, index, num_codes)

    codes = normalize(_start(rows, weights, num_codes, start_seed))
    unused = assigned(codes).counts == 0.0
    codes = tf.where(unused[:, None], normalize(_spare(rows, weights, num_codes, spare_seed)), codes)

    def moved(i, codes):
        counts, sums = assigned(codes)
        return i + 1, tf.where((counts > 0.0)[:, None], normalize(sums / tf.maximum(counts, 1.0)[:, None]), codes)

    _, codes = tf.while_loop(lambda i, codes: i < iterations, moved, [0, codes], parallel_iterations=1)
    return codes, assigned(codes).counts


def _start(rows, weights, num_codes: int, seed) -> tf.Tensor:
    """Greedy k-means++, `[K, D]`; rows of weight 0 are never drawn."""
    together = -(-num_codes // _MOST_ROUNDS)
    rounds = -(-num_codes // together)
    trials = 2 + int(math.log(num_codes)) if together == 1 else 2
    mean, _ = _moments(rows, weights)
    rows = rows - mean
    squares = 0.5 * tf.reduce_sum(rows * rows, axis=-1, keepdims=True)
    left = tf.concat([rows, tf.ones_like(squares), squares], axis=-1)
    # The product gives a row's distance from itself only to rounding, where a repeated row must have no mass.
    rounding = 16.0 * np.finfo(rows.dtype.as_numpy_dtype).eps * tf.reduce_max(squares)

    def distances(candidates):  # |r - c|^2 = 2 (|c|^2 / 2 - r . c + |r|^2 / 2), [C, M]
        half = 0.5 * tf.reduce_sum(candidates * candidates, axis=-1, keepdims=True)
        right = tf.concat([-candidates, half, tf.ones_like(half)], axis=-1)
        half_squares = tf.matmul(right, left, transpose_b=True)
        return tf.where(half_squares > rounding, 2.0 * weights * half_squares, tf.zeros_like(half_squares))

    def one_round(i, closest, codes):
        mass = tf.where(tf.reduce_any(closest > 0.0), closest, weights)
        candidates = tf.gather(rows, _draw(mass, together * trials, fold_in(seed, i)))
        to_candidates = distances(candidates)
        left_over = tf.reduce_sum(tf.minimum(to_candidates, closest), axis=-1)
        best = tf.argmin(tf.reshape(left_over, [together, trials]), axis=-1, output_type=tf.int32)
        best += trials * tf.range(together)
        closest = tf.minimum(closest, tf.reduce_min(tf.gather(to_candidates, best), axis=0))
        places = (i * together + tf.range(together))[:, None]
        return i + 1, closest, tf.tensor_scatter_nd_update(codes, places, tf.gather(candidates, best))

    far = weights * tf.constant(np.sqrt(rows.dtype.max), rows.dtype)
    codes = tf.zeros([rounds * together, rows.shape[1]], rows.dtype)
    *_, codes = tf.while_loop(lambda i, *_: i < rounds, one_round, [0, far, codes], parallel_iterations=1)
    return codes[:num_codes] + mean


def _spare(rows, weights, num_codes: int, seed) -> tf.Tensor:
    """Random rows a little moved, `[K, D]`."""
    row_seed, noise_seed = split_seed(seed, 2)
    _, deviation = _moments(rows, weights)
    noise = 2.0 * uniform([num_codes, rows.shape[1]], noise_seed, dtype=rows.dtype) - 1.0
    return tf.gather(rows, _draw(weights, num_codes, row_seed)) + _SPREAD * deviation * noise


def _moments(rows, weights):
    """The mean and the standard deviation of the weighted rows, `[D]` each."""
    total = tf.reduce_sum(weights)
    mean = tf.reduce_sum(weights[:, None] * rows, axis=0) / total
    return mean, tf.sqrt(tf.reduce_sum(weights[:, None] * (rows - mean) ** 2, axis=0) / total)


def _draw(mass, count: int, seed) -> tf.Tensor:
    """Indices drawn with probability proportional to `mass` `[M]`, int32 `[count]`; none of a mass of 0."""
    cumulated = tf.cumsum(mass)
    points = uniform([count], seed, dtype=mass.dtype) * cumulated[-1]
    drawn = tf.searchsorted(cumulated, points, side="right")
    last = tf.reduce_max(tf.where(mass > 0.0, tf.range(tf.shape(mass)[0]), 0))
    return tf.minimum(drawn, last)
