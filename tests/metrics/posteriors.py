"""Posteriors small enough to enumerate, and what is true of them by definition, in float64."""

import itertools

import numpy as np
import tensorflow as tf


def random_logits(num_examples, num_latents, num_categories, seed=0, scale=2.0):
    return scale * np.random.default_rng(seed).normal(size=(num_examples, num_latents, num_categories))


def softmax(logits):
    q = np.exp(logits - logits.max(-1, keepdims=True))
    return q / q.sum(-1, keepdims=True)


def codes(num_latents, num_categories):
    return np.array(list(itertools.product(range(num_categories), repeat=num_latents)))


def of_codes(q):
    """Probabilities `[..., N, K]` of independent variables to those of all codes, `[..., K^N]`."""
    num_latents, num_categories = q.shape[-2:]
    return np.stack(
        [q[..., np.arange(num_latents), code].prod(-1) for code in codes(num_latents, num_categories)], axis=-1
    )


def kl(q, p):
    """KL(q || p) along the last axis."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(q > 0, q * (np.log(q) - np.log(p)), 0.0).sum(-1)


def by_definition(q, p_of_codes):
    """Each figure as the divergence that it is: posteriors `[B, N, K]`, prior `[K^N]`."""
    posteriors, marginals = of_codes(q), q.mean(0)
    aggregate = posteriors.mean(0)
    return {
        "rate": kl(posteriors, p_of_codes).mean(),
        "information": kl(posteriors, aggregate).mean(),
        "marginal_kl": kl(aggregate, p_of_codes),
        "total_correlation": kl(aggregate, of_codes(marginals)),
        "latent_information": kl(q, marginals).mean(0),
    }


class Mixture:
    """A prior whose variables depend on each other: the mean of products of categoricals `[M, N, K]`."""

    def __init__(self, components):
        self.components = np.asarray(components)

    def log_prob(self, z):
        each = tf.einsum("snk,mnk->sm", tf.cast(z, tf.float64), tf.constant(np.log(self.components)))
        return tf.reduce_logsumexp(each, axis=-1) - np.log(len(self.components))

    def of_codes(self):
        return of_codes(self.components).mean(0)
