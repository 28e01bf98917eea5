"""Categorical latent variables: one-hot codes.

z_n ~ Cat(softmax(a_n)),    a_n in R^K
"""

import keras
import numpy as np

from tfdiscrete.errors import check_count
from tfdiscrete.families.base import DiscreteLatents, log_probabilities


@keras.saving.register_keras_serializable(package="tfdiscrete.families")
class Categorical(DiscreteLatents):
    """Variables of `K` categories; the encoder gives logits `[B, N, K]`, the decoder reads one-hot rows `[B, N, K]`.

    Args:
        num_categories: `K`; by default what the encoder has.
    """

    def __init__(self, num_categories: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self._num_categories = None if num_categories is None else check_count("num_categories", num_categories)

    @property
    def num_categories(self):
        return self._num_categories

    @property
    def num_parameters(self):
        return self._num_categories

    @property
    def code_shape(self):
        return (self._num_categories,)

    def build(self, input_shape):
        if self._num_categories is None and len(input_shape) == 3:
            self._num_categories = input_shape[2]
        super().build(input_shape)

    def logits(self, parameters):
        return parameters

    def prior_parameters(self, probabilities=None):
        shape = (self.num_latents, self.num_categories)
        return np.zeros(shape) if probabilities is None else log_probabilities(probabilities, shape)

    def get_config(self):
        return {**super().get_config(), "num_categories": self._num_categories}
