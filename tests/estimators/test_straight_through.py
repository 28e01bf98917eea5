"""Straight-through gradients of the probabilities, against NumPy and against enumeration."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.estimators.problems import (
    assert_unbiased,
    estimate_and_gradient,
    linear,
    product,
    quadratic,
    random_problem,
    replicated,
)
from tfdiscrete.distributions import ProductCategorical, Truncated
from tfdiscrete.estimators import Enumeration, StraightThrough, StraightThroughGumbelSoftmax

LOGITS = np.random.default_rng(0).normal(size=(4, 2, 3))
VALUES = np.random.default_rng(1).normal(size=(2, 3))
SEED = [1, 2]


def cost(z):
    return tf.reduce_sum(z * VALUES, axis=[-2, -1]) ** 2


@pytest.mark.parametrize("num_samples", [1, 3])
def test_gradient_is_the_cost_s_slope_at_the_hard_sample_times_the_softmax_jacobian(num_samples):
    logits, q = tf.constant(LOGITS), ProductCategorical(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        estimate = StraightThrough(num_samples).estimate(ProductCategorical(logits), cost, seed=SEED)
    hard = q.sample_one_hot(SEED, num_samples).numpy()
    np.testing.assert_array_equal(estimate.sample, hard)
    np.testing.assert_allclose(estimate.value, cost(hard).numpy().mean(axis=0), rtol=1e-12)
    pi = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    jacobian = pi[..., None] * (np.eye(3) - pi[..., None, :])
    slope = 2 * (hard * VALUES).sum((-2, -1), keepdims=True) * VALUES
    expected = np.einsum("sbni,bnij->bnj", slope, jacobian) / num_samples
    np.testing.assert_allclose(tape.gradient(estimate.value, logits), expected, rtol=1e-9)


@pytest.mark.parametrize("latents", [1, 3])
def test_gradient_of_a_linear_cost_is_exact_in_each_draw(latents):
    problem = random_problem(linear, latents, 3)
    gradient = estimate_and_gradient(StraightThrough(), linear, *replicated(problem, 20))[1]
    exact = problem.gradient()[: 3 * latents]
    np.testing.assert_allclose(gradient[:, : 3 * latents], np.tile(exact, (20, 1)), rtol=1e-9)


def test_gradient_of_a_product_of_three_variables_is_exact_in_expectation():
    assert_unbiased(StraightThrough(), random_problem(product, 3, 3), 20_000)


def test_gradient_of_a_quadratic_cost_is_biased():
    with pytest.raises(AssertionError, match="biased by up to"):
        assert_unbiased(StraightThrough(), random_problem(quadratic, 1, 3), 20_000)


def test_straight_through_gumbel_softmax_is_biased_for_a_linear_cost_at_temperature_one():
    with pytest.raises(AssertionError, match="biased by up to"):
        assert_unbiased(StraightThroughGumbelSoftmax(1.0), random_problem(linear, 1, 3), 20_000)


def test_gradient_of_the_expected_count_of_a_truncated_law_is_exact():
    def gradient(estimator):
        rate = tf.constant([[0.7, 2.0]], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(rate)
            q = Truncated(tfp.distributions.Poisson(rate), low=0, high=5)
            value = estimator.estimate(q, lambda z: tf.reduce_sum(3.0 * z, axis=-1), seed=SEED).value
        return tape.gradient(value, rate)

    np.testing.assert_allclose(gradient(StraightThrough()), gradient(Enumeration()), rtol=1e-9)
