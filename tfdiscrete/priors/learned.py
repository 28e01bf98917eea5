"""Independent variables whose law is trained with the model."""

import keras

from tfdiscrete.priors.base import IndependentPrior


@keras.saving.register_keras_serializable(package="tfdiscrete.priors")
class Learned(IndependentPrior):
    """Trainable parameters of the family, which begin as those of its own prior: the uniform law, say."""

    def build(self, latents):
        super().build(latents)
        start = self.latents.prior_parameters().astype("float32")
        self._parameters = self.add_weight(
            name="parameters", shape=start.shape, dtype="float32", initializer=lambda shape, dtype: start
        )

    def parameters(self):
        return self._parameters.value
