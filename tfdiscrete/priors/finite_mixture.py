"""Priors that are weighted sums of laws of the family.

    p(z) = sum_m w_m p_m(z),    log p(z) = logsumexp_m(log w_m + log p_m(z))

The hard samples of such a law are the mixture of its components' hard samples, so that the same sum over the hard laws
is exact. The KL of a mixture has no closed form.

Under relaxed estimators z lies on the simplex, where each log p_m is extended linearly, as that of independent
variables is; the KL that is sampled there bounds nothing.
"""

import abc

import numpy as np
import tensorflow as tf

from tfdiscrete.distributions import ProductCategorical, ProductMixed
from tfdiscrete.families import Latents
from tfdiscrete.ops import perturb, split_seed
from tfdiscrete.ops.precision import precise_products
from tfdiscrete.priors.base import Prior
from tfdiscrete.priors.parts import with_parameters

# Components begin as far from the family's own prior as those of a network that was not trained.
_SPREAD = 0.5


class FiniteMixture(Prior):
    """A mixture of `M` laws of the family: subclasses give `log_weights` and `parameters`."""

    @abc.abstractmethod
    def log_weights(self) -> tf.Tensor:
        """log w, `[M]`, normalized, float32."""

    @abc.abstractmethod
    def parameters(self) -> tf.Tensor:
        """Those of the components, `[M, *parameters_shape]`, float32 at least."""

    def components(self):
        """log w `[M]`, and the components' laws, batch `[M]`."""
        return self.log_weights(), self.latents.distribution(self.parameters())

    def log_prob(self, z):
        z = tf.convert_to_tensor(z)
        log_weights, laws = self.components()
        each = log_prob_of_each(self.latents.hard(laws), z)
        return tf.cast(tf.reduce_logsumexp(tf.cast(log_weights, each.dtype) + each, axis=-1), z.dtype)

    def sample(self, num_samples, seed):
        which_seed, law_seed = split_seed(seed, 2)
        log_weights, laws = self.components()
        which = tf.argmax(perturb(log_weights, num_samples, which_seed), axis=-1)
        chosen = with_parameters(self.latents.hard(laws), lambda parameters: tf.gather(parameters, which))
        return chosen.sample(1, seed=law_seed)[0]


def log_prob_of_each(laws, z: tf.Tensor) -> tf.Tensor:
    """log p_m(z) of laws with batch `[M]`, samples `[..., *event]` to `[..., M]`."""
    if isinstance(laws, ProductMixed):
        d, c = laws.split(z)
        return log_prob_of_each(laws.discrete, d) + log_prob_of_each(laws.continuous, c)
    rank = len(laws.event_shape)
    if not isinstance(laws, ProductCategorical):
        return laws.log_prob(tf.expand_dims(z, axis=z.shape.rank - rank))
    log_pi = laws.log_probabilities
    size = log_pi.shape[-2] * log_pi.shape[-1]
    each = precise_products(tf.cast(tf.reshape(z, [-1, size]), log_pi.dtype), tf.reshape(log_pi, [-1, size]))
    each = tf.reshape(each, tf.concat([tf.shape(z)[:-2], tf.shape(log_pi)[:1]], axis=0))
    return tf.ensure_shape(each, [*z.shape[:-2], log_pi.shape[0]])


def scattered_parameters(latents: Latents, count: int, seed: int) -> np.ndarray:
    """So many parameters, along the first axis, that differ about those of the family's own prior, their mean."""
    start = latents.prior_parameters()
    noise = np.random.default_rng(seed).normal(0.0, _SPREAD, (count, *start.shape))
    return (start + noise - noise.mean(axis=0)).astype("float32")
