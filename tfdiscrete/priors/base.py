"""The contract of a prior over `N` latent variables of `K` categories."""

import abc

import keras
import tensorflow as tf


class Prior(keras.layers.Layer, abc.ABC):
    """p(z): a log probability that also takes points of the simplex, and samples.

    A subclass with a closed-form KL writes `kl_divergence` and sets `has_analytic_kl`; otherwise models sample it.
    """

    has_analytic_kl: bool = False
    """Whether `kl_divergence` has a closed form."""

    @abc.abstractmethod
    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log p(z), `[..., N, K]` to `[...]` in z's dtype, extended to the simplex for relaxed estimators."""

    @abc.abstractmethod
    def sample(self, num_samples, seed: tf.Tensor) -> tf.Tensor:
        """One-hot samples, `[num_samples, N, K]`; `num_samples` may be a tensor, `seed` is int32 `[2]`."""

    def kl_divergence(self, q) -> tf.Tensor:
        """KL(q || p) in nats, `[*batch]`, in closed form; raises NotImplementedError where there is none."""
        raise NotImplementedError(f"{type(self).__name__} has no closed-form KL; use kl='sampled'.")


class IndependentPrior(Prior):
    """A prior under which the latent variables are independent: subclasses give `distribution`."""

    has_analytic_kl = True

    @abc.abstractmethod
    def distribution(self):
        """The `ProductCategorical`, with batch `[]` and event `[N, K]`."""

    def log_prob(self, z):
        return tf.cast(self.distribution().log_prob(z), z.dtype)

    def sample(self, num_samples, seed):
        return self.distribution().sample(num_samples, seed=seed)

    def kl_divergence(self, q):
        return q.kl_divergence(self.distribution())
