"""Counters that a Keras layer owns: saved with it, equal on all replicas of a `tf.distribute` strategy."""

import keras


def add_counter(layer: keras.layers.Layer, name: str) -> keras.Variable:
    """Adds an int64 scalar weight that starts at 0 and is not trained, and returns it."""
    return layer.add_weight(
        name=name,
        shape=(),
        dtype="int64",
        initializer="zeros",
        trainable=False,
        autocast=False,
        aggregation="only_first_replica",
    )
