"""The logarithm of Hurwitz's zeta function, the tail of Zipf's law.

    zeta(s, q) = sum_{j >= 0} (q + j)^-s

by Euler and Maclaurin's summation from a = q + 12 on, with a^-s factored out,

    sum_{j >= 12} (q + j)^-s = a^-s (a / (s - 1) + 1/2 + sum_i B_2i / (2i)! s (s+1) ... (s+2i-2) a^(1-2i))

TensorFlow's own `zeta` has no gradient with respect to s; this one is made of differentiable parts.
"""

import numpy as np
import tensorflow as tf

_DIRECT_TERMS = 12
# B_2i / (2i)! for i = 1 to 6
_BERNOULLI = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000)


def log_hurwitz_zeta(s: tf.Tensor, q: float) -> tf.Tensor:
    """log zeta(s, q), which does not underflow; relative error of zeta about 1e-14 in float64.

    Example:

        tf.exp(log_hurwitz_zeta(tf.constant(2.0), 1.0))     # pi^2 / 6

    Args:
        s: `[...]`, above 1.
        q: at least 1.

    Returns:
        `[...]`.
    """
    offsets = np.log1p(np.arange(_DIRECT_TERMS) / q)
    a = q + _DIRECT_TERMS
    correction, factor = a / (s - 1.0) + 0.5, s / a
    for i, coefficient in enumerate(_BERNOULLI):
        correction += coefficient * factor
        factor *= (s + (2 * i + 1)) * (s + (2 * i + 2)) / a**2
    direct = tf.reduce_sum(tf.exp(-s[..., tf.newaxis] * tf.constant(offsets, s.dtype)), axis=-1)
    return -s * np.log(q) + tf.math.log(direct + tf.exp(-s * np.log(a / q)) * correction)
