"""ReinMax's gradient, against NumPy and against enumeration."""

import numpy as np
import pytest
import tensorflow as tf

from tests.estimators.problems import assert_unbiased, linear, product, quadratic, random_problem
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import ReinMax, StraightThrough

LOGITS = np.random.default_rng(0).normal(size=(4, 2, 3))
VALUES = np.random.default_rng(1).normal(size=(2, 3))
SEED = [1, 2]


def cubic(np_or_tf, z, parameters):
    return (linear(np_or_tf, z, parameters) - 0.5) ** 3


def jacobian(p):
    return p[..., None] * (np.eye(3) - p[..., None, :])


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("temperature", [1.0, 1.6])
def test_gradient_takes_the_two_jacobians_of_the_paper(temperature, num_samples):
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        estimate = ReinMax(temperature, num_samples).estimate(
            ProductCategorical(logits), lambda z: tf.reduce_sum(z * VALUES, axis=[-2, -1]) ** 2, seed=SEED
        )
    hard = estimate.sample.numpy()
    np.testing.assert_array_equal(hard, ProductCategorical(LOGITS).sample_one_hot(SEED, num_samples))
    halfway = (hard + softmax(LOGITS / temperature)) / 2
    expected = 2 * jacobian(halfway) - jacobian(softmax(LOGITS)) / 2
    slope = 2 * (hard * VALUES).sum((-2, -1), keepdims=True) * VALUES
    expected = np.einsum("sbni,sbnij->bnj", slope, expected) / num_samples
    np.testing.assert_allclose(tape.gradient(estimate.value, logits), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("latents", [1, 3])
@pytest.mark.parametrize("cost", [linear, quadratic, product])
def test_gradient_of_a_cost_quadratic_in_each_variable_is_exact_in_expectation(cost, latents):
    assert_unbiased(ReinMax(), random_problem(cost, latents, 3), 20_000)


def test_gradient_of_a_cubic_cost_is_biased():
    with pytest.raises(AssertionError, match="biased by up to"):
        assert_unbiased(ReinMax(), random_problem(cubic, 1, 3), 20_000)


@pytest.mark.parametrize("estimator", [StraightThrough(), ReinMax(1.5)], ids=lambda e: type(e).__name__)
def test_first_order_and_another_temperature_are_biased_for_a_quadratic_cost(estimator):
    with pytest.raises(AssertionError, match="biased by up to"):
        assert_unbiased(estimator, random_problem(quadratic, 1, 3), 20_000)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), "hot", None])
def test_a_temperature_that_is_no_positive_number_is_refused(temperature):
    with pytest.raises(InputError, match="temperature must be a positive finite number"):
        ReinMax(temperature)
