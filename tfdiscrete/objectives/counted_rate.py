"""The rate of hard samples whose laws have no closed form, such as those behind a flow: both laws are counted.

    rate = sum_n KL(q^_n || p^_n)

`p^` is a table made once, a model's prior over one-hot z; `q^` are the shares of `S` hard samples of an example. By
Jensen's inequality E KL(q^ || p^) >= KL(q || p^), by at most log(1 + (K - 1) / S) for each variable, so that in
expectation -(distortion + rate) is a bound on log p(x) of that model.
"""

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import check_count
from tfdiscrete.ops import fold_in
from tfdiscrete.ops.precision import widen

_NUMBERS = 2**22
"""So many, of each category of each variable of each sample, are held at a time."""


def counted_table(p, *, seed: tf.Tensor, num_samples: int = 2**20) -> np.ndarray:
    """The law of a distribution's hard samples, each category counted once more than it came.

    Args:
        p: a `ProductInvertibleGaussian` without a batch, event `[N, K]`.
        seed: int32 `[2]`.
        num_samples: how many, at least.

    Returns:
        `[N, K]`, float64, positive; each row sums to 1.
    """
    check_count("num_samples", num_samples)
    size = min(num_samples, max(1, _NUMBERS // p.event_shape.num_elements()))
    chunks = -(-num_samples // size)
    count = tf.function(lambda seed: tf.reduce_sum(widen(p.sample_hard(size, seed)), axis=0), autograph=False)
    counts = sum(count(fold_in(seed, number)).numpy().astype(np.float64) for number in range(chunks))
    return (counts + 1.0) / (chunks * size + counts.shape[-1])


def counted_rate(q, table: np.ndarray, *, seed: tf.Tensor, num_samples: int = 1000) -> tf.Tensor:
    """KL(q^ || p^) in nats, `[*batch]`; without a gradient.

    Args:
        q: a `ProductInvertibleGaussian`, batch `[*batch]`, event `[N, K]`.
        table: `[N, K]`, positive, of `counted_table`.
        seed: int32 `[2]`.
        num_samples: `S`, hard samples of each; all are held at once.
    """
    shares = q.discretize(num_samples, seed).probs_parameter()
    ratio = tf.math.xlogy(shares, shares) - shares * tf.constant(np.log(table), shares.dtype)
    return tf.reduce_sum(ratio, axis=[-2, -1])
