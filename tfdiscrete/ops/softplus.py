"""Sums of softplus, which is where the likelihood of bits spends its time."""

import math
from collections.abc import Sequence

import tensorflow as tf

from tfdiscrete.ops.precision import widen

_LONGEST = 100
"""Factors of a product: each is at most 2, and 2^100 is far from the largest float32."""


def sum_softplus(x: tf.Tensor, rank: int) -> tf.Tensor:
    """The sum of log(1 + e^x) over the last axes, with one logarithm for up to 100 elements.

    sum_i log(1 + e^x_i) = sum_i max(x_i, 0) + log prod_i (1 + e^-|x_i|), whose factors are between 1 and 2. The error
    of each logarithm is absolute, about 1e-6 in float32. It is made for values, and has no gradient.

    Args:
        x: `[*batch, *axes]`, the axes static.
        rank: how many axes are summed over.

    Returns:
        `[*batch]`, float32 or float64. NaN stays NaN.
    """
    x = widen(x)
    batch = x.shape.rank - rank
    size = math.prod(x.shape[batch:])
    groups = max(1, -(-size // _LONGEST))
    length = -(-size // groups)
    flat = tf.reshape(x, tf.concat([tf.shape(x)[:batch], [size]], axis=0))
    factors = 1.0 + tf.exp(-tf.abs(flat))
    if groups * length > size:
        factors = tf.pad(factors, _paddings(batch, groups * length - size), constant_values=1.0)
    factors = tf.reshape(factors, tf.concat([tf.shape(x)[:batch], [groups, length]], axis=0))
    logarithms = tf.math.log(tf.reduce_prod(factors, axis=-1))
    total = tf.reduce_sum(tf.maximum(flat, 0.0), axis=-1) + tf.reduce_sum(logarithms, axis=-1)
    return tf.stop_gradient(total)


def _paddings(batch: int, behind: int) -> Sequence[tuple[int, int]]:
    return [(0, 0)] * batch + [(0, behind)]
