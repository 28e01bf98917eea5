"""A mixture whose weights and components are trained with the model.

p(z) = sum_m w_m prod_n p(z_n; theta_mn)
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import check_count, check_seed
from tfdiscrete.priors.finite_mixture import FiniteMixture, scattered_parameters


@keras.saving.register_keras_serializable(package="tfdiscrete.priors")
class Mixture(FiniteMixture):
    """A learned mixture of `M` laws of independent variables.

    The weights begin equal, and the components about the family's own prior, at random but with it as the mean of
    their parameters: one component begins, and is trained, as `Learned`.

    Its KL has no closed form: models sample it. With relaxed samples on the simplex the log mass of each component is
    extended linearly, and what is trained is not a bound.

    Example:

        vae = DiscreteVAE(encoder, decoder, prior=Mixture(50))

    Args:
        num_components: `M`.
        seed: of the components' start.

    Raises:
        InputError: for an argument out of range.
    """

    def __init__(self, num_components: int = 10, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.num_components = check_count("num_components", num_components)
        self.seed = check_seed(seed)

    def build(self, latents):
        super().build(latents)
        start = scattered_parameters(self.latents, self.num_components, self.seed)
        options = {"dtype": "float32", "autocast": False}
        self._logits = self.add_weight(name="logits", shape=start.shape[:1], initializer="zeros", **options)
        self._parameters = self.add_weight(
            name="parameters", shape=start.shape, initializer=lambda shape, dtype: start, **options
        )

    def log_weights(self):
        return tf.nn.log_softmax(self._logits.value)

    def parameters(self):
        return self._parameters.value

    def get_config(self):
        return {**super().get_config(), "num_components": self.num_components, "seed": self.seed}
