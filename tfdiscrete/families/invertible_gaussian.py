"""Invertible Gaussian latent variables: categorical ones whose relaxation has Gaussian noise.

    y_n = softmax++(flow(mu_n + sigma_n eps) / tau; delta),    z_n its limit for tau to 0, one-hot

A bound on log p(x) of the model with hard z and the prior's discretization has the KL of the Gaussians, or, which is
less, that of the hard samples' laws; the latter has a closed form without a flow.

Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588.
"""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.bijectors.owned_flow import FLOWS, add_flow_weights, flow_of
from tfdiscrete.distributions import ProductCategorical, ProductInvertibleGaussian, ProductNormal, match_prior
from tfdiscrete.errors import check_count, check_name, check_positive
from tfdiscrete.families.base import AlikeLatents, discrete_outputs, log_probabilities
from tfdiscrete.ops import softmax_plus_plus_limit
from tfdiscrete.ops.loc_scale import loc_and_scale

# With a flow the probabilities that `predict` gives are counted.
_COUNTED = 256


@keras.saving.register_keras_serializable(package="tfdiscrete.families")
class InvertibleGaussian(AlikeLatents):
    """Variables of `K` categories; the encoder gives K-1 means and log scales, `[B, N, 2 (K-1)]`.

    The decoder reads points of the simplex, or one-hot rows, `[B, N, K]`. Posterior and prior share the flow, so that
    their KL is the Gaussians'.

    Args:
        num_categories: `K`, at least 2.
        flow: "none" (IGR-I); "planar", one trained `PlanarFlow` for each variable; "stick_breaking" (IGR-SB), whose
            last category is never a hard sample.
        delta: positive; the weight of the last category.
        seed: of the planar flows' start.
    """

    estimator = "invertible_gaussian"

    def __init__(self, num_categories: int = 10, flow: str = "none", delta: float = 1.0, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.num_categories = check_count("num_categories", num_categories, 2)
        self.flow = check_name("flow", flow, FLOWS)
        self.delta = check_positive("delta", delta)
        self.seed = seed

    @property
    def num_parameters(self):
        return 2 * (self.num_categories - 1)

    @property
    def logits_shape(self):
        return (None, self.num_latents, self.num_categories)

    @property
    def code_shape(self):
        return (self.num_categories,)

    def build(self, input_shape):
        super().build(input_shape)
        add_flow_weights(self, self.flow, (self.num_latents, self.num_categories - 1), self.seed)

    def distribution(self, parameters) -> ProductInvertibleGaussian:
        loc, scale = loc_and_scale(parameters)
        return ProductInvertibleGaussian(loc, scale, delta=self.delta, flow=flow_of(self, self.flow))

    def hard(self, q):
        # With a flow the hard samples' law has no closed form, but that of the Gaussian which they are made of has.
        return ProductCategorical(q.logits) if self.flow == "none" else ProductNormal(q.loc, q.scale, 2)

    def harden(self, z):
        flow = flow_of(self, self.flow)
        return z if flow is None else softmax_plus_plus_limit(flow.forward(z))

    def kl_divergence(self, q, p):
        if not isinstance(q, ProductInvertibleGaussian):
            return super().kl_divergence(q, p)
        return super().kl_divergence(*(ProductNormal(each.loc, each.scale, 2) for each in (q, p)))

    def outputs(self, q):
        if self.flow == "none":
            return discrete_outputs(tf.nn.softmax(q.logits, axis=-1), self.decode)
        return discrete_outputs(q.discretize(_COUNTED, [0, 0]).probs_parameter(), self.decode)

    def prior_parameters(self, probabilities=None):
        shape = (self.num_latents, self.num_categories)
        sticks = self.flow == "stick_breaking"
        if probabilities is None:
            pmf = np.full(shape, 1.0 / self.num_categories)
            if sticks:
                pmf = np.append(np.full(self.num_categories - 1, 1.0 / (self.num_categories - 1)), 0.0)
                pmf = np.broadcast_to(pmf, shape)
        else:
            pmf = np.exp(log_probabilities(probabilities, shape))
        # Behind a planar flow this is the law of the flow's start, near the identity.
        rows, which = np.unique(pmf, axis=0, return_inverse=True)
        matched = [match_prior("stick_breaking" if sticks else "invertible_gaussian", row) for row in rows]
        parameters = [np.concatenate([m.loc.numpy(), np.log(m.scale.numpy())]) for m in matched]
        return np.stack(parameters)[which.reshape(-1)]

    def get_config(self):
        names = ("num_categories", "flow", "delta", "seed")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
