"""Keras models with discrete latent variables."""

from tfdiscrete.models.base import Endpoint, LatentVariableModel, Terms
from tfdiscrete.models.code_prior import CodePrior
from tfdiscrete.models.deep_discrete_vae import DeepDiscreteVAE
from tfdiscrete.models.deep_networks import DEEP_NETWORKS, DeepNetworks, make_deep_networks
from tfdiscrete.models.discrete_vae import DiscreteVAE
from tfdiscrete.models.grid_networks import GRID_NETWORKS, make_grid_networks
from tfdiscrete.models.label_networks import LABEL_NETWORKS, LabelNetworks, make_label_networks
from tfdiscrete.models.networks import NETWORKS, make_networks
from tfdiscrete.models.semi_supervised_vae import SemiSupervisedVAE
from tfdiscrete.models.vector_quantized_vae import QUANTIZERS, VectorQuantizedVAE

__all__ = [
    "DEEP_NETWORKS",
    "GRID_NETWORKS",
    "LABEL_NETWORKS",
    "NETWORKS",
    "QUANTIZERS",
    "CodePrior",
    "DeepDiscreteVAE",
    "DeepNetworks",
    "DiscreteVAE",
    "Endpoint",
    "LabelNetworks",
    "LatentVariableModel",
    "SemiSupervisedVAE",
    "Terms",
    "VectorQuantizedVAE",
    "make_deep_networks",
    "make_grid_networks",
    "make_label_networks",
    "make_networks",
]
