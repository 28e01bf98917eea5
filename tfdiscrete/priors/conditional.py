"""A prior that depends on a class.

    p(z|y) = prod_n p(z_n; theta_yn),    p(z) = sum_y p(y) p(z|y)

Kihyuk Sohn, Honglak Lee, Xinchen Yan (2015), "Learning Structured Output Representation using Deep Conditional
Generative Models", NIPS.
"""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_seed
from tfdiscrete.families import Latents
from tfdiscrete.families.base import log_probabilities
from tfdiscrete.priors.base import IndependentVariables
from tfdiscrete.priors.finite_mixture import FiniteMixture, scattered_parameters
from tfdiscrete.priors.parts import with_parameters


@keras.saving.register_keras_serializable(package="tfdiscrete.priors")
class Conditional(FiniteMixture):
    """Independent variables whose trained law is another one for each class.

    Where classes are given, log p(z|y), whose KL has a closed form; without them, the mixture over all, whose KL has
    none. A `DiscreteVAE` with this prior learns from labels, `fit(x, y)`, and then bounds log p(x|y); from x alone it
    learns the mixture.

    Example:

        vae = DiscreteVAE(encoder, decoder, prior=Conditional(10))
        vae.fit(images, classes)
        vae.sample(64, seed=[0, 1], condition=3)

    Args:
        num_classes: `C`.
        probabilities: p(y), `[C]`, positive, summing to 1; by default uniform.
        seed: of the classes' start, about the family's own prior.

    Raises:
        InputError: for an argument out of range, and for classes that are no integers from 0 to C - 1 (where a graph
            computes them, NaN stands for what depends on one out of range).
    """

    takes_condition = True

    def __init__(self, num_classes: int, probabilities=None, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = check_count("num_classes", num_classes)
        self.seed = check_seed(seed)
        self.probabilities = None if probabilities is None else np.asarray(probabilities, np.float64).tolist()
        if probabilities is None:
            self._log_weights = np.full(self.num_classes, -np.log(self.num_classes))
        else:
            self._log_weights = log_probabilities(probabilities)
            if self._log_weights.shape != (self.num_classes,):
                raise InputError(
                    f"probabilities must be one for each of the {self.num_classes} classes. "
                    f"Received: shape {self._log_weights.shape}."
                )

    def build(self, latents):
        super().build(latents)
        start = scattered_parameters(self.latents, self.num_classes, self.seed)
        self._parameters = self.add_weight(
            name="parameters",
            shape=start.shape,
            initializer=lambda shape, dtype: start,
            dtype="float32",
            autocast=False,
        )

    def log_weights(self):
        return tf.constant(self._log_weights, tf.float32)

    def parameters(self):
        return self._parameters.value

    def check_condition(self, condition):
        condition = tf.convert_to_tensor(condition)
        if not condition.dtype.is_integer:
            raise InputError(f"classes must be integers. Received: {condition.dtype.name}; cast them to tf.int32.")
        outside = ~self._inside(condition)
        if tf.executing_eagerly() and bool(tf.reduce_any(outside)):
            wrong = int(tf.reshape(condition, [-1])[tf.argmax(tf.cast(tf.reshape(outside, [-1]), tf.int32))])
            unknown = " Where some are unknown, leave all out, or use a SemiSupervisedVAE." if wrong < 0 else ""
            raise InputError(f"classes must be from 0 to {self.num_classes - 1}.{unknown} Received: {wrong}.")

    def _inside(self, condition):
        return (condition >= 0) & (condition < self.num_classes)

    def given(self, condition) -> "GivenClasses":
        """p(z|y).

        Args:
            condition: y, integers `[*batch]` from 0 to C - 1.

        Returns:
            The law of independent variables with that batch: `log_prob`, `kl_divergence`, `sample`, `distribution`.
        """
        self.check_condition(condition)
        condition = tf.convert_to_tensor(condition)
        inside = self._inside(condition)
        parameters = tf.gather(self._parameters.value, tf.where(inside, condition, tf.zeros([], condition.dtype)))
        inside = tf.reshape(inside, tf.concat([tf.shape(inside), [1] * (self._parameters.shape.rank - 1)], axis=0))
        return GivenClasses(self.latents, tf.where(inside, parameters, float("nan")))

    def log_prob(self, z, condition=None):
        return super().log_prob(z) if condition is None else self.given(condition).log_prob(z)

    def sample(self, num_samples, seed, condition=None):
        if condition is None:
            return super().sample(num_samples, seed)
        return self.given(condition).sample(num_samples, seed)

    def kl_divergence(self, q, condition=None):
        return super().kl_divergence(q) if condition is None else self.given(condition).kl_divergence(q)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "probabilities": self.probabilities,
            "seed": self.seed,
        }


class GivenClasses(IndependentVariables):
    """p(z|y) at given classes, as objectives take a prior.

    Args:
        latents: the family.
        parameters: `[*batch, *parameters_shape]`.
    """

    def __init__(self, latents: Latents, parameters: tf.Tensor):
        self.latents, self._parameters = latents, parameters

    def parameters(self):
        return self._parameters

    def sample(self, num_samples, seed):
        """Hard samples `[num_samples, *event]`: of one class, or of one class for each sample."""
        law = self._hard()
        given = law.batch_shape.num_elements()
        if isinstance(num_samples, int) and given not in (None, 1, num_samples):
            raise InputError(
                f"the condition must be one class, or one for each of {num_samples} samples. Received: {given}."
            )
        own = law.batch_shape.rank

        def spread(parameters):
            return tf.broadcast_to(parameters, tf.concat([[num_samples], tf.shape(parameters)[own:]], axis=0))

        return with_parameters(law, spread).sample(1, seed=seed)[0]
