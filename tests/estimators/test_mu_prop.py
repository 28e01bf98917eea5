import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp

from tests.estimators.problems import (
    SEED,
    estimate_and_gradient,
    linear,
    quadratic,
    random_problem,
    replicated,
)
from tfdiscrete import estimators
from tfdiscrete.distributions import ProductCategorical, Truncated
from tfdiscrete.estimators import MuProp
from tfdiscrete.ops import with_gradient_of

tfd = tfp.distributions


def of_numpy(problem, sample):
    """Gradients for logits and parameters of the quadratic cost u^2 + v, u = a.z - 1/2, v = b.z, of one draw."""
    a, b = problem.parameters
    pi = scipy.special.softmax(problem.logits, axis=-1)
    at_pi = np.sum(a * pi) - 0.5
    slope = 2.0 * at_pi * a + b
    expansion = at_pi**2 + np.sum(b * pi) + np.sum(slope * (sample - pi), axis=(-2, -1))
    u, v = np.sum(a * sample, axis=(-2, -1)) - 0.5, np.sum(b * sample, axis=(-2, -1))
    signal = (u**2 + v - expansion)[..., None, None]
    pathwise = pi * (slope - np.sum(pi * slope, axis=-1, keepdims=True))
    of_logits = (signal * (sample - pi)).mean(axis=0) + pathwise
    of_parameters = np.stack([2.0 * u[..., None, None] * sample, sample], axis=2).mean(axis=0)
    return of_logits, of_parameters


@pytest.mark.parametrize("num_samples", [1, 4])
@pytest.mark.parametrize("categories", [2, 5])
def test_gradient_is_the_paper_s_and_the_expansion_sends_none_to_the_cost(num_samples, categories):
    problem = random_problem(quadratic, 3, categories)
    estimate, gradient = estimate_and_gradient(MuProp(num_samples), quadratic, *replicated(problem, 6))
    of_logits, of_parameters = of_numpy(problem, estimate.sample.numpy())
    expected = np.concatenate([of_logits.reshape(6, -1), of_parameters.reshape(6, -1)], axis=-1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_samples", [1, 4])
def test_a_linear_cost_s_gradient_has_no_variance(num_samples):
    problem = random_problem(linear, 3, 4)
    _, gradient = estimate_and_gradient(MuProp(num_samples), linear, *replicated(problem, 50))
    of_logits = gradient[:, :12].numpy()
    np.testing.assert_allclose(of_logits, np.broadcast_to(problem.gradient()[:12], of_logits.shape), atol=1e-12)


def test_cost_is_evaluated_at_the_samples_and_then_once_at_the_probabilities():
    points = []

    def cost(z):
        points.append(z.numpy())
        return tf.reduce_sum(z, axis=[-2, -1])

    logits = np.random.default_rng(0).normal(size=(5, 2, 3))
    estimate = MuProp(4).estimate(ProductCategorical(logits), cost, seed=SEED)
    np.testing.assert_array_equal(points[0], estimate.sample)
    np.testing.assert_allclose(points[1], scipy.special.softmax(logits, axis=-1)[None], rtol=1e-12)
    assert len(points) == 2


def test_a_cost_of_the_logits_too_gets_the_gradient_of_its_expectation_alone():
    """f(z) = -log q(z), whose own gradient has expectation 0: what the expansion sent would not."""
    logits = tf.constant(np.broadcast_to(np.random.default_rng(0).normal(size=(2, 3)), (20_000, 2, 3)))

    def gradients(estimator):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            q = ProductCategorical(logits)
            value = estimator.estimate(q, lambda z: with_gradient_of(q.log_prob(z)) * 2.0, seed=SEED).value
        return tape.gradient(value, logits).numpy()

    draws = gradients(MuProp())
    error = np.abs(draws.mean(axis=0))
    assert draws.std() > 0.1
    assert (error < 4.5 * draws.std(axis=0) / np.sqrt(len(draws))).all()


def test_counts_are_expanded_at_their_mean_and_a_linear_cost_has_no_variance():
    log_rate = tf.constant(np.linspace(-1.0, 1.0, 6)[:, None])

    def gradient(estimator):
        with tf.GradientTape() as tape:
            tape.watch(log_rate)
            q = Truncated(tfd.Poisson(tf.exp(log_rate)), low=0, high=8)
            value = estimator.estimate(q, lambda z: 3.0 * tf.reduce_sum(z, axis=-1), seed=SEED).value
        return tape.gradient(value, log_rate)

    np.testing.assert_allclose(gradient(MuProp()), gradient(estimators.Enumeration()), rtol=1e-9)
