"""Keras models with discrete latent variables."""

from tfdiscrete.models.discrete_vae import DiscreteVAE
from tfdiscrete.models.networks import NETWORKS, make_networks

__all__ = ["NETWORKS", "DiscreteVAE", "make_networks"]
