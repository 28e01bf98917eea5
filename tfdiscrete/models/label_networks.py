"""Networks by name for `SemiSupervisedVAE`: an encoder, a style encoder and a decoder.

"dense" is that of Lorberbom and others, without their dropout: a shared trunk of 400 and 200 units, 100 more before the
logits, a Gaussian with 100 and 66 units and one part for each label, and one hidden layer of 400 units in the decoder.
"conv" classifies by convolutions with batch normalization. Both decoders read y and diag(y) s, the style in the rows of
its label: each label has its own weights for the style, which tells the labels apart better than s beside y.

Guy Lorberbom, Andreea Gane, Tommi Jaakkola, Tamir Hazan (2019), "Direct Optimization through arg max for Discrete
Variational Auto-Encoder", arXiv 1806.02867.
"""

import itertools
import math
from typing import NamedTuple

import keras
from keras import layers

from tfdiscrete.errors import InputError, check_count, unknown_name


class LabelNetworks(NamedTuple):
    """The networks of a `SemiSupervisedVAE`, built."""

    encoder: keras.Model
    """Data `[B, *data]` to logits, `[B, C]` or `[B, A, K]`, and features `[B, F]`."""
    style_encoder: keras.Model
    """Features and one-hot labels of the logits' shape to `[B, 2 D]`."""
    decoder: keras.Model
    """One-hot labels and styles `[B, D]` to the likelihood's parameters."""


def make_label_networks(
    name: str,
    *,
    data_shape: tuple[int, ...],
    parameter_shape: tuple[int, ...],
    num_classes: int,
    num_attributes: int | None = None,
    style_size: int = 20,
    seed: int = 0,
) -> LabelNetworks:
    """Makes the three networks.

    Args:
        name: "dense", or "conv" for images `[H, W]` or `[H, W, C]` whose sides are multiples of 4.
        data_shape: of one example.
        parameter_shape: what the likelihood reads for one example (`Likelihood.parameter_shape`).
        num_classes: `C`, or `K` of attributes (2 for binary ones).
        num_attributes: `A`, or None for one label.
        style_size: `D`.
        seed: of the initial weights.

    Returns:
        `LabelNetworks`.

    Raises:
        InputError: for an unknown name, counts out of range, or data that "conv" cannot take.
    """
    if name not in LABEL_NETWORKS:
        raise unknown_name("network", name, LABEL_NETWORKS)
    classes = check_count("num_classes", num_classes, 2)
    attributes = () if num_attributes is None else (check_count("num_attributes", num_attributes),)
    label_shape = (*attributes, classes)
    initializers = (keras.initializers.GlorotUniform(s) for s in itertools.count(1000 * seed))
    make = LABEL_NETWORKS[name]
    style_size = check_count("style_size", style_size)
    networks = make(tuple(data_shape), tuple(parameter_shape), label_shape, style_size, initializers)
    return LabelNetworks(*networks)


def _dense(size, initializers, activation=None, **options):
    return layers.Dense(size, activation=activation, kernel_initializer=next(initializers), **options)


def _logits(hidden, label_shape, initializers):
    logits = _dense(math.prod(label_shape), initializers)(hidden)
    return layers.Reshape(label_shape, dtype="float32", name="logits")(logits)


def _decoder(widths, parameter_shape, label_shape, style_size, initializers) -> keras.Model:
    """Dense layers of y and diag(y) s: each label has its own weights for the style."""
    label, style = keras.Input(label_shape, name="label"), keras.Input((style_size,), name="style")
    flat = layers.Flatten()(label)
    rows = layers.Multiply()([layers.Reshape((-1, 1))(flat), layers.Reshape((1, style_size))(style)])
    hidden = layers.Concatenate()([flat, layers.Flatten()(rows)])
    for width in widths:
        hidden = _dense(width, initializers, "relu")(hidden)
    parameters = _dense(math.prod(parameter_shape), initializers)(hidden)
    parameters = layers.Reshape(parameter_shape, dtype="float32", name="parameters")(parameters)
    return keras.Model([label, style], parameters, name="decoder")


def _make_dense(data_shape, parameter_shape, label_shape, style_size, initializers):
    x = keras.Input(data_shape, name="x")
    trunk = _dense(400, initializers, "relu")(layers.Flatten()(x))
    trunk = _dense(200, initializers)(trunk)
    logits = _logits(_dense(100, initializers, "relu")(trunk), label_shape, initializers)
    encoder = keras.Model(x, [logits, trunk], name="encoder")

    features, label = keras.Input((200,), name="features"), keras.Input(label_shape, name="label")
    flat = layers.Flatten()(label)
    hidden = _dense(66, initializers, "relu")(_dense(100, initializers)(features))
    # One part for each label: the sum over the parts that are on.
    parts = _dense(2 * style_size * math.prod(label_shape), initializers)(hidden)
    parts = layers.Reshape((math.prod(label_shape), 2 * style_size))(parts)
    style = layers.Dot(axes=1, dtype="float32")([flat, parts])
    style_encoder = keras.Model([features, label], style, name="style_encoder")

    return encoder, style_encoder, _decoder((400,), parameter_shape, label_shape, style_size, initializers)


def _make_conv(data_shape, parameter_shape, label_shape, style_size, initializers):
    if len(data_shape) not in (2, 3) or data_shape[0] % 4 or data_shape[1] % 4:
        raise InputError(
            "the 'conv' networks take images [H, W] or [H, W, C] with H and W multiples of 4. "
            f"Received: data of shape {data_shape}."
        )
    x = keras.Input(data_shape, name="x")
    hidden = layers.Reshape((*data_shape[:2], -1))(x)
    for filters, width, strides in ((32, 5, 2), (64, 3, 2), (64, 3, 1)):
        hidden = layers.Conv2D(
            filters, width, strides, padding="same", use_bias=False, kernel_initializer=next(initializers)
        )(hidden)
        hidden = layers.ReLU()(layers.BatchNormalization()(hidden))
    hidden = _dense(128, initializers, "relu")(layers.Flatten()(hidden))
    logits = _logits(hidden, label_shape, initializers)
    features = _dense(300, initializers, "relu")(layers.Flatten()(x))
    encoder = keras.Model(x, [logits, features], name="encoder")

    features, label = keras.Input((300,), name="features"), keras.Input(label_shape, name="label")
    hidden = layers.Concatenate()([features, layers.Flatten()(label)])
    style = _dense(2 * style_size, initializers, dtype="float32")(_dense(200, initializers, "relu")(hidden))
    style_encoder = keras.Model([features, label], style, name="style_encoder")

    return encoder, style_encoder, _decoder((200, 300), parameter_shape, label_shape, style_size, initializers)


LABEL_NETWORKS = {"dense": _make_dense, "conv": _make_conv}
