"""Encoders and decoders by name whose latent space is a grid of vectors, for models that quantize it.

The encoder maps images `[B, H, W]` or `[B, H, W, C]` to `[B, H / 4, W / 4, D]`, the decoder such a grid to the
likelihood's parameters.

Aaron van den Oord, Oriol Vinyals, Koray Kavukcuoglu (2017), "Neural Discrete Representation Learning",
arXiv 1711.00937 ("residual", of fewer channels).
"""

import itertools
import math

import keras
from keras import layers

from tfdiscrete.errors import InputError, check_count, unknown_name

GRID_NETWORKS = {"conv": 0, "residual": 2}
"""How many residual blocks each network has."""


def make_grid_networks(
    name: str = "residual",
    *,
    data_shape: tuple[int, ...],
    parameter_shape: tuple[int, ...],
    dimension: int,
    channels: int = 64,
    seed: int = 0,
) -> tuple[keras.Model, keras.Model]:
    """Makes an encoder and a decoder.

    Args:
        name: "conv", two strided 4x4 convolutions and a 3x3 one, and their mirror image; or "residual", with two
            residual blocks behind them.
        data_shape: of one image, `[H, W]` or `[H, W, C]`, H and W multiples of 4.
        parameter_shape: what the likelihood reads for one image (`Likelihood.parameter_shape`).
        dimension: `D`, of the vectors to quantize.
        channels: of the hidden layers of the grid; half as many of those at twice its sides.
        seed: of the initial weights.

    Returns:
        The encoder and the decoder, built.

    Raises:
        InputError: for an unknown name, counts below 1, or data that are no such images.
    """
    if name not in GRID_NETWORKS:
        raise unknown_name("grid network", name, GRID_NETWORKS)
    if len(data_shape) not in (2, 3) or not all(side and side % 4 == 0 for side in data_shape[:2]):
        raise InputError(
            f"the {name!r} networks take images [H, W] or [H, W, C] with H and W multiples of 4: pad or resize them. "
            f"Received: data of shape {tuple(data_shape)}."
        )
    check_count("dimension", dimension)
    check_count("channels", channels, 2)
    seeds = itertools.count(1000 * seed)

    def options():
        return {"padding": "same", "kernel_initializer": keras.initializers.GlorotUniform(next(seeds))}

    def residual(x):
        for _ in range(GRID_NETWORKS[name]):
            hidden = layers.Conv2D(channels // 2, 3, activation="relu", **options())(layers.ReLU()(x))
            x = layers.Add()([x, layers.Conv2D(channels, 1, **options())(hidden)])
        return layers.ReLU()(x)

    x = keras.Input(data_shape, name="x")
    hidden = layers.Reshape((*data_shape[:2], -1))(x)
    hidden = layers.Conv2D(channels // 2, 4, strides=2, activation="relu", **options())(hidden)
    hidden = layers.Conv2D(channels, 4, strides=2, activation="relu", **options())(hidden)
    hidden = residual(layers.Conv2D(channels, 3, **options())(hidden))
    features = layers.Conv2D(dimension, 1, dtype="float32", **options())(hidden)
    encoder = keras.Model(x, features, name="encoder")

    code = keras.Input(encoder.output_shape[1:], name="code")
    hidden = residual(layers.Conv2D(channels, 3, **options())(code))
    hidden = layers.Conv2DTranspose(channels // 2, 4, strides=2, activation="relu", **options())(hidden)
    outputs = math.prod(parameter_shape) // math.prod(data_shape[:2])
    hidden = layers.Conv2DTranspose(outputs, 4, strides=2, **options())(hidden)
    parameters = layers.Reshape(parameter_shape, dtype="float32")(hidden)
    return encoder, keras.Model(code, parameters, name="decoder")
