import itertools

import keras
import numpy as np
import pytest

from tfdiscrete import InputError
from tfdiscrete.models import NETWORKS, make_networks

NAMES = sorted(NETWORKS)
WIDTHS = {"linear": [], "mlp": [300], "mlp2": [512, 256], "conv": [32, 64]}


def make(name, data_shape=(8, 4), parameter_shape=None, **options):
    return make_networks(
        name,
        data_shape=data_shape,
        parameter_shape=data_shape if parameter_shape is None else parameter_shape,
        **{"num_latents": 3, "num_categories": 5, **options},
    )


def widths(network, kinds):
    return [layer.get_config().get("units") or layer.filters for layer in network.layers if isinstance(layer, kinds)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("data_shape", "parameter_shape"),
    [
        ((8, 4), (8, 4)),
        ((8, 4, 3), (8, 4, 3)),
        ((4, 4), (4, 4, 2)),
        ((4, 8, 1), (4, 8, 1, 2)),
        ((4, 4, 3), (4, 4, 3, 7)),
    ],
)
def test_encoder_gives_logits_and_decoder_the_likelihood_s_parameters(name, data_shape, parameter_shape):
    encoder, decoder = make(name, data_shape, parameter_shape)
    assert encoder.input_shape == (None, *data_shape)
    assert encoder.output_shape == decoder.input_shape == (None, 3, 5)
    assert decoder.output_shape == (None, *parameter_shape)
    logits = encoder(np.random.default_rng(0).random((2, *data_shape)))
    assert np.std(logits) > 0
    assert np.isfinite(decoder(logits)).all()


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"conv"}))
def test_data_may_have_any_shape_where_no_image_is_needed(name):
    for shape in [(6,), (2, 3, 4, 5)]:
        assert make(name, shape)[1].output_shape == (None, *shape)


@pytest.mark.parametrize("name", NAMES)
def test_hidden_layers_have_the_documented_widths_and_mirror_each_other(name):
    encoder, decoder = make(name)
    dense, last = keras.layers.Dense, [15]
    if name == "conv":
        assert widths(encoder, (keras.layers.Conv2D, dense)) == [32, 64, 15]
        assert widths(decoder, (keras.layers.Conv2DTranspose, dense)) == [2 * 1 * 64, 32, 1]
        convolutions = [layer for layer in (*encoder.layers, *decoder.layers) if hasattr(layer, "strides")]
        assert {(layer.kernel_size, layer.strides) for layer in convolutions} == {((3, 3), (2, 2))}
    else:
        assert widths(encoder, dense) == WIDTHS[name] + last
        assert widths(decoder, dense) == [*WIDTHS[name][::-1], 32]


@pytest.mark.parametrize("name", NAMES)
def test_seed_determines_every_weight_and_no_two_kernels_are_alike(name):
    def kernels(seed):
        return [np.asarray(w) for network in make(name, seed=seed) for w in network.weights if w.ndim > 1]

    for first, second in zip(kernels(0), kernels(0), strict=True):
        np.testing.assert_array_equal(first, second)
    starts = [tuple(kernel.ravel()[:5]) for seed in (0, 1) for kernel in kernels(seed)]
    assert all(not np.allclose(first, second) for first, second in itertools.combinations(starts, 2))


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_float32_under_mixed_precision(name):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        encoder, decoder = make(name)
    finally:
        keras.config.set_dtype_policy("float32")
    logits = encoder(np.ones((2, 8, 4), "float32"))
    assert logits.dtype == decoder(logits).dtype == "float32"
    assert {layer.compute_dtype for layer in encoder.layers} >= {"float16"}


@pytest.mark.parametrize("data_shape", [(6,), (6, 8), (8, 6), (8, 8, 3, 2)])
def test_conv_refuses_what_is_not_an_image_of_sides_divisible_by_four(data_shape):
    with pytest.raises(InputError, match=r"H and W multiples of 4\. Received: data of shape \("):
        make("conv", data_shape)


def test_an_unknown_name_is_refused_and_the_nearest_named():
    with pytest.raises(InputError, match=r"unknown encoder 'mlp3'\. Did you mean 'mlp2?'"):
        make("mlp3")


@pytest.mark.parametrize("option", ["num_latents", "num_categories"])
@pytest.mark.parametrize("count", [0, -1, 2.0])
def test_counts_below_one_are_refused(option, count):
    with pytest.raises(InputError, match=f"{option} must be an integer of at least 1"):
        make("mlp", **{option: count})


def test_every_network_has_its_documented_widths_here():
    assert sorted(WIDTHS) == NAMES
