"""A prior that is given and not trained; uniform by default."""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.errors import InputError
from tfdiscrete.priors.base import IndependentPrior


@keras.saving.register_keras_serializable(package="tfdiscrete.priors")
class Fixed(IndependentPrior):
    """Independent categorical variables with given probabilities.

    Args:
        probabilities: None for uniform, or nested lists or an array that broadcasts to `[N, K]`, positive, each row
            summing to 1.

    Raises:
        InputError: for probabilities that are not positive or do not sum to 1.
    """

    def __init__(self, probabilities=None, **kwargs):
        super().__init__(**kwargs)
        self.probabilities = None if probabilities is None else np.asarray(probabilities, np.float64).tolist()
        if probabilities is not None:
            array = np.asarray(self.probabilities)
            if not (array > 0).all() or not np.allclose(array.sum(-1), 1.0, atol=1e-6):
                raise InputError(
                    f"probabilities must be positive and sum to 1 along the last axis. Received: {probabilities}."
                )

    def build(self, event_shape):
        log_p = 0.0 if self.probabilities is None else np.log(self.probabilities)
        try:
            self._log_probabilities = np.broadcast_to(log_p, tuple(event_shape)).astype("float32")
        except ValueError:
            raise InputError(
                f"probabilities must broadcast to [N, K] = {tuple(event_shape)}. Received: shape {np.shape(log_p)}."
            ) from None
        self.built = True

    def distribution(self):
        return ProductCategorical(tf.constant(self._log_probabilities))

    def get_config(self):
        return {**super().get_config(), "probabilities": self.probabilities}
