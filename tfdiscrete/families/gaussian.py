"""Gaussian latent variables, for models that mix them with discrete ones, and to compare with.

z_n = mu_n + sigma_n eps,    eps standard normal
"""

import keras
import numpy as np

from tfdiscrete.distributions import ProductNormal
from tfdiscrete.errors import InputError
from tfdiscrete.families.base import AlikeLatents
from tfdiscrete.ops.loc_scale import loc_and_scale


@keras.saving.register_keras_serializable(package="tfdiscrete.families")
class Gaussian(AlikeLatents):
    """Real variables; the encoder gives means and log scales `[B, N, 2]`, the decoder reads `[B, N]`."""

    estimator = "pathwise"
    num_parameters = 2
    code_shape = ()

    def distribution(self, parameters) -> ProductNormal:
        loc, scale = loc_and_scale(parameters)
        return ProductNormal(loc[..., 0], scale[..., 0])

    def prior_parameters(self, probabilities=None):
        if probabilities is not None:
            raise InputError("Gaussian variables have no probabilities of categories. Leave `probabilities` out.")
        return np.zeros((self.num_latents, 2))

    def outputs(self, q):
        return {"mean": q.mean(), "scale": q.stddev(), "code": q.mean()}
