import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.training import ShuffledBatches
from tfdiscrete.training.non_finite import locate_non_finite


@keras.saving.register_keras_serializable(package="tests")
class Broken(keras.layers.Layer):
    """Overflows, or has a gradient that does, for an input above a threshold."""

    def __init__(self, kind, **kwargs):
        super().__init__(**kwargs)
        self.kind = kind

    def call(self, x):
        large = tf.reduce_max(x) > 1.5
        if self.kind == "output":
            return tf.where(large, np.nan, 1.0) * x
        # sqrt has an infinite slope at 0, and 0 times infinity is NaN.
        return x + tf.where(large, tf.sqrt(0.0 * tf.reduce_sum(x)), 0.0)


def make_model(kind):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, name="first")(inputs)
    hidden = Broken(kind, name="broken")(hidden * 0.0 + inputs[:, :1]) if kind != "none" else hidden
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, name="last")], name="inner")
    model = keras.Model(inputs, inner(hidden))
    model.compile("sgd", "mse")
    return model


def batches(bad):
    x = np.random.default_rng(0).uniform(size=(8, 5, 3)).astype("float32")
    x[bad] += 2.0
    return [(part, part[:, :1]) for part in x]


@pytest.mark.parametrize(
    ("kind", "where"), [("output", "the output of layer broken"), ("gradient", "the gradient of first/kernel")]
)
def test_the_batch_and_the_layer_are_found(kind, where):
    found = locate_non_finite(make_model(kind), batches(bad=5))
    assert found == (5, where)


def test_data_that_are_not_finite_are_found():
    data = batches(bad=5)
    data[3][0][1, 1] = np.nan
    assert locate_non_finite(make_model("none"), data) == (3, "the data")


def test_nothing_is_found_where_all_is_finite():
    assert locate_non_finite(make_model("none"), batches(bad=5)) is None
    assert keras.layers.Layer.__call__.__qualname__.startswith("Layer.")


def test_the_loss_is_named_where_all_layers_are_finite():
    model = make_model("none")
    model.compile("sgd", lambda y, p: tf.reduce_mean(tf.where(tf.reduce_max(y) > 1.5, np.inf, 1.0) * p))
    assert locate_non_finite(model, batches(bad=2)) == (2, "the loss, of layers whose outputs are finite")


def test_the_layer_of_a_model_of_this_package_is_found():
    encoder, decoder = make_networks(
        "mlp", data_shape=(4, 4), parameter_shape=(4, 4), num_latents=3, num_categories=2, seed=0
    )
    model = DiscreteVAE(encoder, decoder, seed=0)
    model.compile("adam")
    x = (np.random.default_rng(0).random((40, 4, 4)) > 0.5).astype("float32")
    data = ShuffledBatches(x, batch_size=10, seed=0)
    decoder.layers[-2].kernel.assign(np.full(decoder.layers[-2].kernel.shape, 3e38))
    found = locate_non_finite(model, data.dataset)
    assert found.batch == 0
    assert decoder.layers[-2].path in found.where
