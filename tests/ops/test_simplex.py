import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete.ops import (
    inverse_log_softmax_plus_plus,
    inverse_stick_breaking,
    log_softmax_plus_plus,
    log_stick_breaking,
)


@pytest.mark.parametrize("delta", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("categories", [2, 3, 10])
def test_softmax_plus_plus_is_the_log_softmax_with_log_delta_at_the_end(categories, temperature, delta):
    y = np.random.default_rng(0).normal(size=(4, categories - 1))
    padded = np.concatenate([y / temperature, np.full((4, 1), np.log(delta))], axis=-1)
    log_x = log_softmax_plus_plus(y, temperature, delta)
    np.testing.assert_allclose(log_x, scipy.special.log_softmax(padded, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(inverse_log_softmax_plus_plus(log_x, temperature, delta), y, rtol=1e-9, atol=1e-12)


def test_softmax_plus_plus_by_hand():
    np.testing.assert_allclose(np.exp(log_softmax_plus_plus(tf.zeros([1]), 0.5, 3.0)), [0.25, 0.75], rtol=1e-6)
    y = tf.math.log(tf.constant([[2.0, 5.0]], tf.float64)) * 0.5
    np.testing.assert_allclose(np.exp(log_softmax_plus_plus(y, 0.5, 3.0)), [[0.2, 0.5, 0.3]], rtol=1e-12)


@pytest.mark.parametrize("largest", [1e6, 1e30])
def test_logarithms_stay_finite_and_come_back_beyond_every_underflow_in_float32(largest):
    y = tf.constant([[largest, -largest], [-largest, -largest], [largest, 0.5 * largest]])
    with tf.GradientTape() as tape:
        tape.watch(y)
        log_x = log_softmax_plus_plus(y, 0.5, 2.0)
    assert np.isfinite(log_x).all()
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(log_x), axis=-1), np.ones(3), rtol=1e-6)
    assert np.isfinite(tape.gradient(log_x, y)).all()
    np.testing.assert_allclose(inverse_log_softmax_plus_plus(log_x, 0.5, 2.0), y, rtol=1e-6)


@pytest.mark.parametrize(
    ("y_shape", "temperature_shape", "delta_shape", "shape"),
    [
        ((3,), (), (), (4,)),
        ((3,), (5, 1), (), (5, 4)),
        ((3,), (), (5, 1), (5, 4)),
        ((2, 1, 3), (5, 1), (2, 5, 1), (2, 5, 4)),
        ((0, 3), (), (), (0, 4)),
    ],
)
def test_temperature_and_delta_broadcast_with_the_points(y_shape, temperature_shape, delta_shape, shape):
    rng = np.random.default_rng(0)
    y, temperature, delta = (
        rng.normal(size=y_shape),
        rng.uniform(1, 2, temperature_shape),
        rng.uniform(1, 2, delta_shape),
    )
    log_x = log_softmax_plus_plus(y, temperature, delta)
    assert log_x.shape == shape
    batch = shape[:-1]
    padded = np.concatenate(
        [np.broadcast_to(y / temperature, (*batch, 3)), np.broadcast_to(np.log(delta), (*batch, 1))], axis=-1
    )
    np.testing.assert_allclose(log_x, scipy.special.log_softmax(padded, axis=-1), rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_static_shapes_survive_an_unknown_batch(jit_compile):
    shapes = []

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 2, 3], tf.float64)])
    def traced(y):
        log_x, log_w = log_softmax_plus_plus(y, 0.5, 2.0), log_stick_breaking(y)
        results = log_x, inverse_log_softmax_plus_plus(log_x, 0.5, 2.0), log_w, inverse_stick_breaking(tf.exp(log_w))
        shapes.extend(result.shape.as_list() for result in results)
        return results

    y = np.random.default_rng(0).normal(size=(5, 2, 3))
    log_x, back, log_w, unbroken = traced(y)
    assert shapes == [[None, 2, 4], [None, 2, 3], [None, 2, 3], [None, 2, 3]]
    np.testing.assert_allclose(log_x, log_softmax_plus_plus(y, 0.5, 2.0), rtol=1e-12)
    np.testing.assert_allclose(log_w, log_stick_breaking(y), rtol=1e-12)
    np.testing.assert_allclose(back, y, rtol=1e-9)
    np.testing.assert_allclose(unbroken, y, rtol=1e-9)


@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_stick_weights_are_the_shares_of_what_is_left(dimension):
    y = np.random.default_rng(0).normal(size=(5, dimension))
    shares = scipy.special.expit(y)
    left = np.cumprod(np.concatenate([np.ones((5, 1)), 1.0 - shares[:, :-1]], axis=-1), axis=-1)
    np.testing.assert_allclose(log_stick_breaking(y), np.log(shares * left), rtol=1e-12)
    np.testing.assert_allclose(inverse_stick_breaking(tf.constant(shares * left)), y, rtol=1e-9, atol=1e-12)


def test_stick_weights_of_ten_thousand_pieces_have_finite_logarithms_and_gradients():
    y = tf.constant(np.random.default_rng(0).normal(scale=3.0, size=(2, 10_000)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(y)
        log_w = log_stick_breaking(y)
    assert np.isfinite(log_w).all()
    assert np.isfinite(tape.gradient(log_w, y)).all()
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(log_w), axis=-1), [1.0, 1.0], rtol=1e-5)


@pytest.mark.parametrize("weights", [[0.6, 0.6], [0.5, -0.1], [1.5, -0.7]])
def test_inverse_stick_breaking_is_nan_outside_of_the_image(weights):
    assert np.isnan(inverse_stick_breaking(tf.constant(weights))).any()
