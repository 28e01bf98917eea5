import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.layers import GumbelSoftmax, OutcomeTransform


def test_one_hot_points_give_numbers_exactly_and_inner_points_those_between():
    layer = OutcomeTransform([1, 5, 10, 4095])
    np.testing.assert_array_equal(layer(np.eye(4, dtype="float32")), [1, 5, 10, 4095])
    y = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 2)).astype("float32")
    np.testing.assert_allclose(layer(y), y @ np.array([1, 5, 10, 4095]), rtol=1e-5)


def test_vectors_keep_their_dimension():
    outcomes = np.array([[1.0, 0.0, 2.0], [0.5, -1.0, 3.0]])
    layer = OutcomeTransform(outcomes)
    assert layer.outcomes == outcomes.tolist()
    np.testing.assert_array_equal(layer(np.eye(2, dtype="float32")), outcomes)
    assert layer.compute_output_shape((None, 7, 2)) == (None, 7, 3)


def test_gradient_is_the_outcomes():
    y = tf.fill([2, 3], 1 / 3)
    with tf.GradientTape() as tape:
        tape.watch(y)
        z = OutcomeTransform([1.0, 5.0, 10.0])(y)
    np.testing.assert_array_equal(tape.gradient(z, y), [[1.0, 5.0, 10.0]] * 2)


@pytest.mark.parametrize("make", [np.array, tuple, list])
def test_config_holds_the_outcomes_as_lists(make):
    layer = OutcomeTransform(make([1, 5, 10]))
    assert OutcomeTransform.from_config(layer.get_config()).outcomes == layer.outcomes == [1.0, 5.0, 10.0]


def test_it_makes_counts_of_straight_through_samples():
    model = keras.Sequential([GumbelSoftmax(hard=True), OutcomeTransform([0, 1, 4, 9])])
    z = model(np.random.default_rng(0).normal(size=(50, 4)).astype("float32"), training=True)
    assert set(z.numpy()) == {0.0, 1.0, 4.0, 9.0}


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        ([], r"Received: shape \(0,\)"),
        (3.0, r"Received: shape \(\)"),
        (np.zeros((2, 2, 2)), r"Received: shape \(2, 2, 2\)"),
        ([[1, 2], [3]], "of one length"),
        ("abc", "of one length"),
        ([1.0, np.nan], "must be finite"),
    ],
)
def test_outcomes_that_are_neither_numbers_nor_vectors_are_refused(outcomes, message):
    with pytest.raises(InputError, match=message):
        OutcomeTransform(outcomes)


@pytest.mark.parametrize("shape", [(), (4,), (None, None), (2, 3, 4)])
def test_inputs_without_one_coordinate_for_each_outcome_are_refused(shape):
    with pytest.raises(InputError, match=r"inputs must have shape \[\.\.\., K\] with K = 3, one for each outcome"):
        OutcomeTransform([1, 2, 3]).build(shape)


def test_points_with_another_number_of_coordinates_are_refused_once_it_is_built():
    layer = OutcomeTransform([1.0, 5.0, 10.0])
    layer(np.ones((2, 3), "float32"))
    with pytest.raises(InputError, match="K = 3, one for each outcome"):
        layer(np.ones((2, 1), "float32"))
