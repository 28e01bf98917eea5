"""Encoders and decoders by name for `DeepDiscreteVAE`: those of `make_networks`, one pair for each stochastic layer.

The data of a layer's pair are the code of the layer below, and what its decoder gives are the parameters of that layer.

"linear" with two layers of 200 bits is a model on which estimators are compared:
Will Grathwohl, Dami Choi, Yuhuai Wu, Geoffrey Roeder, David Duvenaud (2018), "Backpropagation through the Void:
Optimizing control variates for black-box gradient estimation", arXiv 1711.00123.
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras

from tfdiscrete.errors import InputError, unknown_name
from tfdiscrete.families import Categorical, Latents
from tfdiscrete.models.networks import make_networks

DEEP_NETWORKS = ("linear", "mlp", "mlp2")


class DeepNetworks(NamedTuple):
    """The networks of a `DeepDiscreteVAE`, built."""

    encoders: list[keras.Model]
    """Data to the parameters of z1, z1's code to those of z2, and so on."""
    decoders: list[keras.Model]
    """zL's code to the parameters of z_{L-1}, and so on, and z1's code to the likelihood's parameters."""


def make_deep_networks(
    name: str,
    *,
    data_shape: tuple[int, ...],
    parameter_shape: tuple[int, ...],
    num_latents: Sequence[int],
    num_categories: int | None = None,
    family: Latents | Sequence[Latents] | None = None,
    seed: int = 0,
) -> DeepNetworks:
    """Makes an encoder and a decoder for each stochastic layer.

    Args:
        name: of each network, as for `make_networks`: "linear", "mlp" or "mlp2".
        data_shape: of one example.
        parameter_shape: what the likelihood reads for one example (`Likelihood.parameter_shape`).
        num_latents: of each layer, from z1 to zL.
        num_categories: `K`, of categorical variables.
        family: other variables, of all layers, or a list from z1 to zL; either this or `num_categories`.
        seed: of the initial weights.

    Returns:
        `DeepNetworks`.

    Raises:
        InputError: for an unknown name, no layer, counts below 1, or a list of another length.
    """
    if name not in DEEP_NETWORKS:
        raise unknown_name("deep network", name, DEEP_NETWORKS)
    if isinstance(num_latents, int) or not len(num_latents):
        raise InputError(
            "num_latents must be the numbers of variables of all layers, such as (200, 200). "
            f"Received: num_latents={num_latents!r}."
        )
    each = [family] * len(num_latents) if family is None or isinstance(family, Latents) else list(family)
    if len(each) != len(num_latents):
        raise InputError(
            f"family must be one for all layers, or a list of {len(num_latents)}. Received: {len(each)} families."
        )
    encoders: list[keras.Model] = []
    decoders: list[keras.Model] = []
    for level, (latents, own) in enumerate(zip(num_latents, each, strict=True)):
        encoder, decoder = make_networks(
            name,
            data_shape=data_shape,
            parameter_shape=parameter_shape,
            num_latents=latents,
            num_categories=num_categories,
            family=own,
            seed=seed * len(num_latents) + level,
        )
        encoders.append(encoder)
        decoders.insert(0, decoder)
        variables = Categorical(num_categories) if own is None else own
        data_shape, parameter_shape = variables.codes_shape(latents), variables.parameters_shape(latents)
    return DeepNetworks(encoders, decoders)
