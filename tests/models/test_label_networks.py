import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.models import LABEL_NETWORKS, make_label_networks

SHAPES = {"data_shape": (8, 8), "parameter_shape": (8, 8, 2), "style_size": 3}


@pytest.mark.parametrize("name", sorted(LABEL_NETWORKS))
@pytest.mark.parametrize("attributes", [None, 4])
def test_each_network_has_the_shapes_that_the_model_asks_for(name, attributes):
    networks = make_label_networks(name, num_classes=2, num_attributes=attributes, **SHAPES)
    label_shape = (2,) if attributes is None else (attributes, 2)
    logits, features = networks.encoder(np.ones((5, 8, 8), np.float32))
    assert logits.shape == (5, *label_shape)
    label = tf.ones((5, *label_shape))
    assert networks.style_encoder([features, label]).shape == (5, 2 * 3)
    assert networks.decoder([label, tf.ones((5, 3))]).shape == (5, 8, 8, 2)


@pytest.mark.parametrize("name", sorted(LABEL_NETWORKS))
def test_initial_weights_are_a_function_of_the_seed(name):
    first, twin, other = (make_label_networks(name, num_classes=3, seed=s, **SHAPES) for s in (1, 1, 2))
    for one, same, another in zip(first, twin, other, strict=True):
        for w, s, a in zip(one.get_weights(), same.get_weights(), another.get_weights(), strict=True):
            np.testing.assert_array_equal(w, s)
            assert w.ndim < 2 or (w != a).any()


@pytest.mark.parametrize("name", sorted(LABEL_NETWORKS))
def test_each_label_has_its_own_weights_for_the_style(name):
    decoder = make_label_networks(name, num_classes=3, **SHAPES).decoder
    first = next(layer for layer in decoder.layers if type(layer) is keras.layers.Dense)
    assert first.kernel.shape[0] == 3 + 3 * 3
    code = keras.Model(decoder.inputs, first.input)([tf.constant([[0.0, 1.0, 0.0]]), tf.constant([[2.0, 3.0, 4.0]])])
    np.testing.assert_array_equal(code[0], [0, 1, 0, 0, 0, 0, 2, 3, 4, 0, 0, 0])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("convolution", {}, "unknown network 'convolution'. Did you mean 'conv'"),
        ("conv", {"data_shape": (9, 8)}, "images .* multiples of 4. Received: data of shape \\(9, 8\\)"),
        ("dense", {"num_classes": 1}, "num_classes must be an integer of at least 2"),
        ("dense", {"num_attributes": 0}, "num_attributes must be an integer of at least 1"),
        ("dense", {"style_size": 0}, "style_size must be an integer of at least 1"),
    ],
)
def test_other_names_and_counts_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        make_label_networks(name, **{"num_classes": 3, **SHAPES, **options})
