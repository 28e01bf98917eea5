"""A flow by its name, whose weights, if it has any, a Keras layer owns and trains."""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.bijectors.planar_flow import PlanarFlow
from tfdiscrete.bijectors.stick_breaking import StickBreaking
from tfdiscrete.ops.precision import widen

FLOWS = ("none", "planar", "stick_breaking")


def add_flow_weights(layer: keras.layers.Layer, flow: str, shape: tuple[int, ...], seed: int) -> None:
    """Makes the layer's `u`, `w` and `b` of "planar", near the identity; nothing for the other names.

    Args:
        layer: their owner.
        flow: of `FLOWS`.
        shape: `[*batch, D]`, all static: one flow of `D` dimensions for each member of the batch.
        seed: of the start.
    """
    if flow != "planar":
        return
    # Keras's initializers take 32-bit seeds.
    first, second = (keras.initializers.RandomNormal(0.0, 0.1, (seed + i) % 2**31) for i in range(2))
    layer.u = layer.add_weight(name="u", shape=shape, initializer=first, autocast=False)
    layer.w = layer.add_weight(name="w", shape=shape, initializer=second, autocast=False)
    layer.b = layer.add_weight(name="b", shape=shape[:-1], initializer="zeros", autocast=False)


def flow_of(layer: keras.layers.Layer, flow: str) -> tfp.bijectors.Bijector | None:
    """The bijector of that name, of the weights that `add_flow_weights` made; None for "none"."""
    if flow == "planar":
        return PlanarFlow(*(widen(tf.convert_to_tensor(weight.value)) for weight in (layer.u, layer.w, layer.b)))
    return StickBreaking() if flow == "stick_breaking" else None
