"""Logistic noise, the difference of two Gumbels: what relaxes a Bernoulli variable.

    L = log U - log(1 - U),    P(logit + L >= 0) = sigmoid(logit),    y = sigmoid((logit + L) / temperature)

Chris J. Maddison, Andriy Mnih, Yee Whye Teh (2017), "The Concrete Distribution", arXiv 1611.00712.
"""

import tensorflow as tf

from tfdiscrete.ops.precision import wide_dtype
from tfdiscrete.ops.random import uniform


def logistic_noise(shape, seed, *, dtype=tf.float32) -> tf.Tensor:
    """Standard logistic noise.

    The uniforms lie on a grid of 2^-23, so float32 noise lies in [-16.64, 16.64]: an outcome whose probability is below
    about 2^-24 is never drawn. float64 noise lies in [-36.8, 36.8]. Half types are drawn in float32 and rounded.

    Example:

        tf.sigmoid((1.0 + logistic_noise([5], [0, 1])) / 0.5)       # relaxed samples of Bernoulli(sigmoid(1))

    Args:
        shape: the shape of the result.
        seed: int32 `[2]`.
        dtype: any floating type.

    Returns:
        A tensor of `shape`.
    """
    u = uniform(shape, seed, dtype=wide_dtype(dtype))
    return tf.cast(tf.math.log(u) - tf.math.log1p(-u), dtype)
