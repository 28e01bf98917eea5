"""A prior that is given and not trained."""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.families.base import log_probabilities
from tfdiscrete.priors.base import IndependentPrior


@keras.saving.register_keras_serializable(package="tfdiscrete.priors")
class Fixed(IndependentPrior):
    """Independent variables with a given law.

    Args:
        probabilities: of the hard outcomes, nested lists or an array that broadcasts to `[N, K]`, positive, each row
            summing to 1. By default the family's own prior: uniform for categorical variables, bits and invertible
            Gaussians, the law with its `prior` for counts, standard for Gaussians.

    Raises:
        InputError: for probabilities that are not positive or do not sum to 1, or that the family cannot have; some
            only once built.
    """

    def __init__(self, probabilities=None, **kwargs):
        super().__init__(**kwargs)
        self.probabilities = None if probabilities is None else np.asarray(probabilities, np.float64).tolist()
        if self.probabilities is not None:
            log_probabilities(self.probabilities)

    def build(self, latents):
        super().build(latents)
        self._parameters = self.latents.prior_parameters(self.probabilities).astype("float32")

    def parameters(self):
        return tf.constant(self._parameters)

    def get_config(self):
        return {**super().get_config(), "probabilities": self.probabilities}
