"""Encoders and decoders by name, for models that do not bring their own.

The two mirror each other: the encoder maps data `[B, *data]` to a family's parameters, logits `[B, N, K]` of
categorical variables; the decoder maps its codes, one-hot rows `[B, N, K]`, to the likelihood's parameters.
"""

import itertools
import math
from collections.abc import Callable
from typing import TypeAlias

import keras
from keras import layers

from tfdiscrete.errors import InputError, check_count, unknown_name
from tfdiscrete.families import Categorical, Latents

Tensor: TypeAlias = keras.KerasTensor
Body = Callable[[Tensor], Tensor]


def make_networks(
    name: str,
    *,
    data_shape: tuple[int, ...],
    parameter_shape: tuple[int, ...],
    num_latents: int,
    num_categories: int | None = None,
    family: Latents | None = None,
    seed: int = 0,
) -> tuple[keras.Model, keras.Model]:
    """Makes an encoder and a decoder.

    Args:
        name: "linear"; "mlp", one hidden layer of 300 ReLU units each way; "mlp2", 512 and 256; "conv", two strided
            3x3 convolutions of 32 and 64 channels and their transposes, for images whose sides are multiples of 4.
        data_shape: of one example.
        parameter_shape: what the likelihood reads for one example (`Likelihood.parameter_shape`).
        num_latents: `N`.
        num_categories: `K`, of categorical variables.
        family: other variables; either this or `num_categories`.
        seed: of the initial weights.

    Returns:
        The encoder and the decoder, built.

    Raises:
        InputError: for an unknown name, counts below 1, or data that "conv" cannot take.
    """
    if name not in NETWORKS:
        raise unknown_name("encoder", name, NETWORKS)
    if (num_categories is None) == (family is None):
        raise InputError(
            "give either num_categories, of categorical variables, or family, such as families.Bernoulli(). "
            f"Received: num_categories={num_categories}, family={family}."
        )
    family = Categorical(num_categories) if family is None else family
    latents = check_count("num_latents", num_latents)
    event = family.parameters_shape(latents)
    initializers = (keras.initializers.GlorotUniform(s) for s in itertools.count(1000 * seed))
    encode, decode = NETWORKS[name](data_shape, parameter_shape, initializers)

    x = keras.Input(data_shape, name="x")
    logits = layers.Dense(math.prod(event), kernel_initializer=next(initializers), name="logits")(encode(x))
    encoder = keras.Model(x, layers.Reshape(event, dtype="float32")(logits), name="encoder")

    code = keras.Input(family.codes_shape(latents), name="code")
    parameters = decode(layers.Flatten()(code))
    decoder = keras.Model(code, layers.Reshape(parameter_shape, dtype="float32")(parameters), name="decoder")
    return encoder, decoder


def _dense(*widths: int):
    def make(data_shape, parameter_shape, initializers) -> tuple[Body, Body]:
        def stack(hidden, widths):
            for width in widths:
                hidden = layers.Dense(width, activation="relu", kernel_initializer=next(initializers))(hidden)
            return hidden

        def encode(x):
            return stack(layers.Flatten()(x), widths)

        def decode(code):
            size = math.prod(parameter_shape)
            return layers.Dense(size, kernel_initializer=next(initializers))(stack(code, reversed(widths)))

        return encode, decode

    return make


def _convolutional(first: int, second: int):
    def make(data_shape, parameter_shape, initializers) -> tuple[Body, Body]:
        if len(data_shape) not in (2, 3) or data_shape[0] % 4 or data_shape[1] % 4:
            raise InputError(
                "the 'conv' networks take images [H, W] or [H, W, C] with H and W multiples of 4. "
                f"Received: data of shape {tuple(data_shape)}."
            )
        height, width = data_shape[0] // 4, data_shape[1] // 4
        channels = math.prod(parameter_shape) // math.prod(data_shape[:2])

        def options():
            return {"strides": 2, "padding": "same", "kernel_initializer": next(initializers)}

        def encode(x):
            image = layers.Reshape((*data_shape[:2], -1))(x)
            hidden = layers.Conv2D(first, 3, activation="relu", **options())(image)
            return layers.Flatten()(layers.Conv2D(second, 3, activation="relu", **options())(hidden))

        def decode(code):
            size = height * width * second
            hidden = layers.Dense(size, activation="relu", kernel_initializer=next(initializers))(code)
            hidden = layers.Reshape((height, width, second))(hidden)
            hidden = layers.Conv2DTranspose(first, 3, activation="relu", **options())(hidden)
            return layers.Conv2DTranspose(channels, 3, **options())(hidden)

        return encode, decode

    return make


NETWORKS = {"linear": _dense(), "mlp": _dense(300), "mlp2": _dense(512, 256), "conv": _convolutional(32, 64)}
