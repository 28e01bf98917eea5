"""The KL of each latent variable, where posterior and prior are products over them.

KL(q || p) = sum_n KL(q(z_n|x) || p(z_n))
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions import InvertibleGaussian, ProductCategorical, ProductMixed, ProductNormal
from tfdiscrete.distributions.kl import categorical_kl
from tfdiscrete.errors import InputError

tfd = tfp.distributions


def rate_per_latent(q, prior) -> tf.Tensor:
    """KL(q(z_n|x) || p(z_n)) in nats, `[B, N]`, whose sum over `N` is `prior.kl_divergence(q)`.

    Args:
        q: the posterior, batch `[B]`.
        prior: a `priors.Prior` of independent variables, with `law_for` or a `distribution`, or of groups of them.

    Raises:
        InputError: for another prior, or a law that is not known here.
    """
    if callable(with_laws := getattr(prior, "with_laws", None)):
        return tf.concat([rate_per_latent(own, part) for part, own in with_laws(q)], axis=-1)
    law_for = getattr(prior, "law_for", lambda q: getattr(prior, "distribution", lambda: None)())
    rates = _rates(q, law_for(q))
    if rates is None:
        raise InputError(
            "a rate for each latent variable needs a prior of independent variables of the posterior's kind, such as "
            f"'fixed' or 'learned'. Received: {type(prior).__name__} with a posterior {type(q).__name__}."
        )
    return rates


def _rates(q, p) -> tf.Tensor | None:
    """`[B, N]` of laws of one kind; None of others."""
    if isinstance(p, ProductMixed) and isinstance(q, ProductMixed):
        return tf.concat([_rates(q.discrete, p.discrete), _rates(q.continuous, p.continuous)], axis=-1)
    if isinstance(p, ProductCategorical) and isinstance(q, ProductCategorical):
        return categorical_kl(q.log_probabilities, p.log_probabilities)
    for law in (InvertibleGaussian, ProductNormal):
        if isinstance(p, law) and isinstance(q, law):
            return _gaussian_kl(q, p, each_has_several=law is InvertibleGaussian)
    return None


def _gaussian_kl(q, p, *, each_has_several: bool) -> tf.Tensor:
    rows = [tfd.Normal(tf.cast(law.loc, q.dtype), tf.cast(law.scale, q.dtype)) for law in (q, p)]
    kl = tfd.kl_divergence(*rows)
    # Of invertible Gaussians the map onto the simplex is shared: their KL is that of the K-1 Gaussians.
    return tf.reduce_sum(kl, axis=-1) if each_has_several else kl
