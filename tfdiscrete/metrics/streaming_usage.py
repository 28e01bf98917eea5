"""What a posterior does with its latent variables, summed over an epoch.

    active: sum_k Var_x q(z_n = k | x) > threshold,    usage: exp H(q_Zn),    q_Zn = E_x q(z_n|x)

Yuri Burda, Roger Grosse, Ruslan Salakhutdinov (2016), "Importance Weighted Autoencoders", arXiv 1509.00519.
"""

import abc

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_non_negative


class PosteriorSums(keras.metrics.Metric, abc.ABC):
    """Base of the metrics of posterior probabilities: sums over the examples since the last reset, in float64.

    Those of the replicas of a `tf.distribute` strategy are added up.

    Args:
        num_latents: `N`.
        num_categories: `K`.
        name: of the metric.
    """

    def __init__(self, num_latents: int, num_categories: int, *, name: str | None = None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_latents = check_count("num_latents", num_latents)
        self.num_categories = check_count("num_categories", num_categories)
        self.count = self.add_variable((), "zeros", dtype="float64", name="count")
        self.sums = self.add_variable((num_latents, num_categories), "zeros", dtype="float64", name="sums")
        self.squares = self.add_variable((num_latents,), "zeros", dtype="float64", name="squares")

    def update_state(self, probabilities) -> None:
        """Adds examples, `[..., N, K]`; an empty batch adds nothing. In a graph, NaN makes the result NaN.

        Raises:
            InputError: for another shape, and eagerly for NaN.
        """
        shape = (self.num_latents, self.num_categories)
        probabilities = tf.convert_to_tensor(probabilities)
        rank = probabilities.shape.rank
        if rank is None or rank < 2 or not probabilities.shape[-2:].is_compatible_with(shape):
            raise InputError(
                f"probabilities must have shape [..., N, K], [N, K] = {list(shape)}. "
                f"Received: shape {probabilities.shape}."
            )
        if tf.executing_eagerly() and bool(tf.reduce_any(tf.math.is_nan(probabilities))):
            raise InputError("probabilities must be numbers. Received: NaN among them.")
        p = tf.cast(tf.reshape(probabilities, [-1, *shape]), tf.float64)
        self.count.assign_add(tf.cast(tf.shape(p)[0], tf.float64))
        self.sums.assign_add(tf.reduce_sum(p, axis=0))
        self.squares.assign_add(tf.reduce_sum(p * p, axis=[0, 2]))

    def marginals(self) -> tf.Tensor:
        """The mean probabilities, float64 `[N, K]`; zeros before the first example."""
        return tf.math.divide_no_nan(tf.convert_to_tensor(self.sums.value), tf.convert_to_tensor(self.count.value))

    def get_config(self):
        return {**super().get_config(), "num_latents": self.num_latents, "num_categories": self.num_categories}


@keras.saving.register_keras_serializable(package="tfdiscrete.metrics")
class ActiveUnits(PosteriorSums):
    """The number of latent variables whose posterior depends on x: `active_units` of all examples of an epoch.

    Example:

        active = ActiveUnits(num_latents=1, num_categories=2)
        active.update_state([[[0.9, 0.1]], [[0.1, 0.9]]])
        active.result()     # 1

    Args:
        num_latents: `N`.
        num_categories: `K`.
        threshold: of the variance over x, summed over the categories; 0.01 is the source's.
        name: of the metric.
    """

    def __init__(self, num_latents, num_categories, *, threshold: float = 0.01, name="active_units", dtype=None):
        super().__init__(num_latents, num_categories, name=name, dtype=dtype)
        self.threshold = check_non_negative("threshold", threshold)

    def per_latent(self) -> tf.Tensor:
        """The summed variance of each variable, float64 `[N]`; 0 before the first example."""
        mean_square = tf.math.divide_no_nan(
            tf.convert_to_tensor(self.squares.value), tf.convert_to_tensor(self.count.value)
        )
        return mean_square - tf.reduce_sum(tf.square(self.marginals()), axis=-1)

    def result(self):
        variances = self.per_latent()
        number = tf.math.count_nonzero(variances > self.threshold, dtype=self.dtype)
        invalid = tf.reduce_any(tf.math.is_nan(variances))
        return tf.where(invalid, tf.constant(float("nan"), self.dtype), number)

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="tfdiscrete.metrics")
class MarginalPerplexity(PosteriorSums):
    """How many categories a latent variable uses over an epoch: the perplexity of its mean posterior, from 1 to K.

    The geometric mean over the variables; `per_latent()` gives each. It is 1 before the first example.

    Example:

        perplexity = MarginalPerplexity(num_latents=1, num_categories=2)
        perplexity.update_state([[[0.9, 0.1]], [[0.1, 0.9]]])
        perplexity.result()     # 2

    Arguments as for `PosteriorSums`.
    """

    def __init__(self, num_latents, num_categories, *, name="marginal_perplexity", dtype=None):
        super().__init__(num_latents, num_categories, name=name, dtype=dtype)

    def per_latent(self) -> tf.Tensor:
        """The perplexity of each variable, float64 `[N]`."""
        return tf.exp(self._entropies())

    def result(self):
        return tf.cast(tf.exp(tf.reduce_mean(self._entropies())), self.dtype)

    def _entropies(self) -> tf.Tensor:
        p = self.marginals()
        return -tf.reduce_sum(tf.math.xlogy(p, p), axis=-1)
