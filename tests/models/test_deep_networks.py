import numpy as np
import pytest

from tfdiscrete import InputError, families
from tfdiscrete.models import DEEP_NETWORKS, make_deep_networks


def make(name="linear", num_latents=(3, 2), **options):
    options = options or {"num_categories": 4}
    return make_deep_networks(name, data_shape=(8, 8), parameter_shape=(8, 8), num_latents=num_latents, **options)


@pytest.mark.parametrize("name", DEEP_NETWORKS)
def test_each_layer_reads_what_the_one_below_or_above_gives(name):
    encoders, decoders = make(name, (5, 3, 2))
    assert [network.input_shape for network in encoders] == [(None, 8, 8), (None, 5, 4), (None, 3, 4)]
    assert [network.output_shape for network in encoders] == [(None, 5, 4), (None, 3, 4), (None, 2, 4)]
    assert [network.input_shape for network in decoders] == [(None, 2, 4), (None, 3, 4), (None, 5, 4)]
    assert [network.output_shape for network in decoders] == [(None, 3, 4), (None, 5, 4), (None, 8, 8)]


def test_each_layer_may_have_a_family_of_its_own():
    encoders, decoders = make(family=[families.Categorical(4), families.Gaussian()])
    assert [network.output_shape for network in encoders] == [(None, 3, 4), (None, 2, 2)]
    assert [network.input_shape for network in decoders] == [(None, 2), (None, 3, 4)]
    assert decoders[0].output_shape == (None, 3, 4)


def test_two_linear_layers_of_200_bits_have_the_weights_of_the_published_model():
    encoders, decoders = make_deep_networks(
        "linear", data_shape=(28, 28), parameter_shape=(28, 28), num_latents=(200, 200), family=families.Bernoulli()
    )
    assert [network.count_params() for network in encoders] == [784 * 200 + 200, 200 * 200 + 200]
    assert [network.count_params() for network in decoders] == [200 * 200 + 200, 200 * 784 + 784]


def test_no_two_networks_begin_alike_and_the_seed_decides():
    same, twin, other = (make(num_latents=(3, 3, 3), num_categories=4, seed=s) for s in (0, 0, 1))
    kernels = [[network.get_weights()[0] for part in made for network in part] for made in (same, twin, other)]
    for one, again in zip(kernels[0], kernels[1], strict=True):
        np.testing.assert_array_equal(one, again)
    square = [kernel for made in (kernels[0], kernels[2]) for kernel in made if kernel.shape == (12, 12)]
    assert len(square) == 8
    assert len({kernel.tobytes() for kernel in square}) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "liner"}, "unknown deep network 'liner'. Did you mean 'linear'"),
        ({"name": "conv"}, "unknown deep network 'conv'"),
        ({"num_latents": 200}, r"numbers of variables of all layers, such as \(200, 200\). Received: num_latents=200"),
        ({"num_latents": ()}, r"Received: num_latents=\(\)"),
        ({"num_latents": (3, 0)}, "num_latents must be an integer of at least 1"),
        ({"num_categories": 3, "family": families.Bernoulli()}, "give either num_categories"),
        ({"family": [families.Bernoulli()]}, "one for all layers, or a list of 2. Received: 1 families"),
    ],
)
def test_what_makes_no_networks_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        make(**arguments)
