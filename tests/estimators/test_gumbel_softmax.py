"""The relaxed estimator and its straight-through form, against NumPy on the noise that they draw."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import GumbelSoftmax, StraightThroughGumbelSoftmax
from tfdiscrete.ops import gumbel_noise

LOGITS = np.random.default_rng(0).normal(size=(4, 2, 3))
VALUES = np.random.default_rng(1).normal(size=(2, 3))
SEED = [1, 2]
TEMPERATURES = [0.2, 1.0, 5.0]


def cost(z):
    return tf.reduce_sum(z * VALUES, axis=[-2, -1]) ** 2


def gradient_of_cost(z):
    return 2 * (z * VALUES).sum((-2, -1), keepdims=True) * VALUES


def relaxed_and_jacobian(temperature, num_samples):
    """y = softmax((logits + G) / tau), `[S, 4, 2, 3]`, and dy_i/dlogits_j = y_i (delta_ij - y_j) / tau."""
    noise = gumbel_noise([num_samples, *LOGITS.shape], SEED, dtype=tf.float64).numpy()
    y = scipy.special.softmax((LOGITS + noise) / np.float32(temperature), axis=-1)
    return y, (y[..., None] * (np.eye(3) - y[..., None, :])) / np.float32(temperature)


def estimate_and_gradient(estimator):
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        estimate = estimator.estimate(ProductCategorical(logits), cost, seed=SEED)
    return estimate, tape.gradient(estimate.value, logits)


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_relaxed_sample_and_gradient_are_those_of_numpy(temperature, num_samples):
    estimate, gradient = estimate_and_gradient(GumbelSoftmax(temperature, num_samples))
    y, jacobian = relaxed_and_jacobian(temperature, num_samples)
    np.testing.assert_allclose(estimate.sample, y, rtol=1e-9)
    expected = np.einsum("sbni,sbnij->bnj", gradient_of_cost(y), jacobian) / num_samples
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_straight_through_takes_the_cost_s_slope_at_the_hard_sample_and_the_relaxed_jacobian(temperature, num_samples):
    estimate, gradient = estimate_and_gradient(StraightThroughGumbelSoftmax(temperature, num_samples))
    y, jacobian = relaxed_and_jacobian(temperature, num_samples)
    hard = np.eye(3)[y.argmax(-1)]
    np.testing.assert_array_equal(estimate.sample, hard)
    np.testing.assert_allclose(estimate.value, cost(hard).numpy().mean(axis=0), rtol=1e-12)
    expected = np.einsum("sbni,sbnij->bnj", gradient_of_cost(hard), jacobian) / num_samples
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cls", [GumbelSoftmax, StraightThroughGumbelSoftmax])
def test_hard_samples_of_evaluation_are_the_argmax_of_the_training_ones_of_that_seed(cls):
    q, estimator = ProductCategorical(LOGITS), cls(0.5, num_samples=3)
    training = estimator.estimate(q, cost, seed=SEED).sample
    evaluation = estimator.estimate(q, cost, seed=SEED, training=False).sample
    np.testing.assert_array_equal(tf.argmax(training, axis=-1), tf.argmax(evaluation, axis=-1))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_schedule_is_read_inside_the_graph_without_tracing_again(jit_compile):
    schedule = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=1, decay_rate=0.5)
    estimator = GumbelSoftmax(schedule)

    @tf.function(jit_compile=jit_compile)
    def step():
        temperature = estimator.annealed_value()
        estimator.update(estimator.estimate(ProductCategorical(LOGITS), cost, seed=SEED))
        return temperature

    np.testing.assert_allclose([step() for _ in range(4)], [2.0, 1.0, 0.5, 0.25], rtol=1e-6)
    assert step.experimental_get_tracing_count() == 1
