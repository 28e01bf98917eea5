"""Keras models with discrete latent variables."""

from tfdiscrete.models.base import Endpoint, LatentVariableModel, Terms
from tfdiscrete.models.discrete_vae import DiscreteVAE
from tfdiscrete.models.networks import NETWORKS, make_networks

__all__ = ["NETWORKS", "DiscreteVAE", "Endpoint", "LatentVariableModel", "Terms", "make_networks"]
