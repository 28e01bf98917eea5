"""Independent categorical variables whose probabilities are trained with the model."""

import keras

from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.priors.base import IndependentPrior


@keras.saving.register_keras_serializable(package="tfdiscrete.priors")
class Learned(IndependentPrior):
    """Trainable logits `[N, K]`, uniform at the start."""

    def build(self, event_shape):
        self.logits = self.add_weight(name="logits", shape=tuple(event_shape), dtype="float32", initializer="zeros")
        self.built = True

    def distribution(self):
        return ProductCategorical(self.logits.value)
