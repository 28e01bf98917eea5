import itertools

import keras
import numpy as np
import pytest

from tfdiscrete import InputError
from tfdiscrete.models import GRID_NETWORKS, make_grid_networks

NAMES = sorted(GRID_NETWORKS)


def make(name, data_shape=(8, 12), parameter_shape=None, **options):
    parameter_shape = data_shape if parameter_shape is None else parameter_shape
    options = {"dimension": 5, "channels": 6, **options}
    return make_grid_networks(name, data_shape=data_shape, parameter_shape=parameter_shape, **options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("data_shape", "parameter_shape"), [((28, 28), (28, 28)), ((8, 12, 3), (8, 12, 3)), ((4, 4), (4, 4, 2))]
)
def test_encoder_gives_a_grid_of_a_quarter_and_decoder_the_likelihood_s_parameters(name, data_shape, parameter_shape):
    encoder, decoder = make(name, data_shape, parameter_shape)
    grid = (data_shape[0] // 4, data_shape[1] // 4, 5)
    assert encoder.input_shape == (None, *data_shape)
    assert encoder.output_shape == decoder.input_shape == (None, *grid)
    assert decoder.output_shape == (None, *parameter_shape)
    code = encoder(np.random.default_rng(0).random((2, *data_shape)))
    assert np.std(code) > 0
    assert np.std(decoder(code)) > 0


@pytest.mark.parametrize(("name", "blocks"), [("conv", 0), ("residual", 2)])
def test_networks_have_their_residual_blocks(name, blocks):
    for network in make(name):
        assert sum(isinstance(layer, keras.layers.Add) for layer in network.layers) == blocks


@pytest.mark.parametrize("name", NAMES)
def test_seed_determines_every_weight_and_no_two_kernels_are_alike(name):
    def kernels(seed):
        return [np.asarray(w) for network in make(name, seed=seed) for w in network.weights if w.ndim > 1]

    for first, second in zip(kernels(0), kernels(0), strict=True):
        np.testing.assert_array_equal(first, second)
    starts = [tuple(kernel.ravel()[:5]) for seed in (0, 1) for kernel in kernels(seed)]
    assert all(not np.allclose(first, second) for first, second in itertools.combinations(starts, 2))


@pytest.mark.parametrize("data_shape", [(6,), (6, 8), (8, 6, 1), (8, 8, 3, 2), (None, 8)])
def test_what_is_no_image_of_sides_divisible_by_four_is_refused(data_shape):
    with pytest.raises(InputError, match=r"H and W multiples of 4: pad or resize them\. Received: data of shape \("):
        make("conv", data_shape, (8, 8))


def test_an_unknown_name_is_refused_and_the_nearest_named():
    with pytest.raises(InputError, match=r"unknown grid network 'residul'\. Did you mean 'residual'"):
        make("residul")


@pytest.mark.parametrize(("option", "count"), [("dimension", 0), ("channels", 1)])
def test_counts_out_of_range_are_refused(option, count):
    with pytest.raises(InputError, match=f"{option} must be an integer of at least"):
        make("conv", **{option: count})
