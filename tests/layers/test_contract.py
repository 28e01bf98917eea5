"""Keras's own layer test, and what all layers have in common, over every public layer."""

import keras
import numpy as np
import pytest
from keras.src import testing

from tfdiscrete import layers

NAMES = sorted(layers.__all__)
SCHEDULE = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=10, decay_rate=0.5)

# layer -> cases of (options, input shape, output shape, non-trainable weights)
CASES = {
    "GumbelSoftmax": [
        ({}, (4, 3), (4, 3), 2),
        ({"hard": True, "temperature": 0.3}, (4, 2, 3), (4, 2, 3), 2),
        ({"inference": "mean", "seed": 5}, (2, 2, 2, 3), (2, 2, 2, 3), 2),
        ({"inference": "sample", "temperature": SCHEDULE, "name": "codes"}, (4, 1), (4, 1), 2),
    ],
}
ALL_CASES = [pytest.param(name, *case, id=f"{name}-{i}") for name in NAMES for i, case in enumerate(CASES[name])]


def test_every_public_layer_has_its_cases():
    assert sorted(CASES) == NAMES


@pytest.fixture
def keras_case():
    """Keras's test case, whose setting of the whole process is taken back."""
    case = testing.TestCase()
    case.setUp()
    yield case
    keras.config.enable_traceback_filtering()


# The test fits a model of this layer alone, on a generator that `fit` cannot shuffle.
@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed, but will be ignored:UserWarning")
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights:UserWarning")
@pytest.mark.parametrize(("name", "options", "input_shape", "output_shape", "non_trainable"), ALL_CASES)
def test_keras_s_own_layer_test_passes(keras_case, name, options, input_shape, output_shape, non_trainable):
    keras_case.run_layer_test(
        getattr(layers, name),
        init_kwargs=options,
        input_shape=input_shape,
        expected_output_shape=output_shape,
        expected_output_dtype="float32",
        expected_num_trainable_weights=0,
        expected_num_non_trainable_weights=non_trainable,
        expected_num_seed_generators=0,
        expected_num_losses=0,
        supports_masking=True,
    )


@pytest.mark.parametrize("name", NAMES)
def test_saved_name_has_the_package_of_the_layers(name):
    assert keras.saving.get_registered_name(getattr(layers, name)) == f"tfdiscrete.layers>{name}"


@pytest.mark.parametrize(("name", "options", "input_shape", "output_shape", "non_trainable"), ALL_CASES)
def test_config_alone_gives_the_same_outputs(name, options, input_shape, output_shape, non_trainable):
    layer = getattr(layers, name)(**options)
    twin = type(layer).from_config(layer.get_config())
    x = np.random.default_rng(0).normal(size=input_shape).astype("float32")
    for training in (True, True, False):
        np.testing.assert_array_equal(layer(x, training=training), twin(x, training=training))
