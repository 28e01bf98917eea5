"""Bernoulli latent variables: bits.

    z_n = 1 with probability sigmoid(l_n), else 0

In the categorical view a variable has the logits [0, l].
"""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.families.base import DiscreteLatents, log_probabilities
from tfdiscrete.ops.logspace import finite_log_odds


@keras.saving.register_keras_serializable(package="tfdiscrete.families")
class Bernoulli(DiscreteLatents):
    """Bits; the encoder gives log odds `[B, N, 1]`, the decoder reads `[B, N]`, 0 or 1."""

    num_categories = 2
    num_parameters = 1
    code_shape = ()

    def logits(self, parameters):
        parameters = finite_log_odds(parameters)
        return tf.concat([tf.zeros_like(parameters), parameters], axis=-1)

    def decode(self, z):
        return z[..., 1]

    def prior_parameters(self, probabilities=None):
        if probabilities is None:
            return np.zeros((self.num_latents, 1))
        log_p = log_probabilities(probabilities, (self.num_latents, 2))
        return log_p[:, 1:] - log_p[:, :1]
