"""The importance-weighted bound on log p(x).

    L_K = E log (1/K) sum_k p(x, z_k) / q(z_k|x),    L_1 <= L_K <= L_{K+1} <= log p(x)

Yuri Burda, Roger Grosse, Ruslan Salakhutdinov (2016), "Importance Weighted Autoencoders", arXiv 1509.00519.
"""

from collections.abc import Callable

import tensorflow as tf

from tfdiscrete.ops import log_mean_exp


def importance_weighted_bound(
    q, prior, log_likelihood: Callable[[tf.Tensor], tf.Tensor], *, seed: tf.Tensor, num_samples: int
) -> tf.Tensor:
    """One draw of the `num_samples`-sample bound for each example, with hard samples (`iwae-K`).

    Args:
        q: the posterior, a `tfd.Distribution` with batch `[B]` whose samples are one-hot.
        prior: a `priors.Prior`.
        log_likelihood: z `[S, B, *event]` to log p(x|z), `[S, B]`.
        seed: int32 `[2]`.
        num_samples: `K` of the bound.

    Returns:
        `[B]`, nats; its expectation is a lower bound on log p(x).
    """
    z = q.sample(num_samples, seed=seed)
    return log_mean_exp(log_likelihood(z) + prior.log_prob(z) - q.log_prob(z), axis=0)
