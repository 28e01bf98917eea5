"""Gaussian reparameterization, against NumPy on its noise, Gauss-Hermite quadrature, and closed forms."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.estimators.problems import (
    COSTS,
    assert_mean_is,
    estimate_and_gradient,
    linear,
    quadratic,
    random_problem,
    replicated,
)
from tfdiscrete import InputError
from tfdiscrete.distributions import InvertibleGaussian, ProductCategorical
from tfdiscrete.estimators import Pathwise
from tfdiscrete.ops import log_mean_exp, normal

tfd = tfp.distributions

SEED = [1, 2]
RNG = np.random.default_rng(0)
LOC, SCALE = RNG.normal(size=(4, 2)), np.exp(0.3 * RNG.normal(size=(4, 2)))
LOWER = np.array([[0.8, 0.0], [-0.5, 1.2]])


def quadrature(cost, loc, parameters, order=24):
    """E f(loc + eps), by Gauss-Hermite quadrature in each of the N K coordinates; loc and parameters may be complex."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(order)
    points = np.array(list(itertools.product(nodes, repeat=loc.size)))
    mass = np.prod(list(itertools.product(weights / weights.sum(), repeat=loc.size)), axis=-1)
    return np.sum(mass * cost(np, loc + points.reshape(-1, 1, *loc.shape), parameters[None])[:, 0])


def gradient_of_quadrature(problem):
    step, gradient = 1e-30, []
    for which in (0, 1):
        for index in np.ndindex(*(problem.logits, problem.parameters)[which].shape):
            arguments = [problem.logits.astype(complex), problem.parameters.astype(complex)]
            arguments[which][index] += 1j * step
            gradient.append(quadrature(problem.cost, *arguments).imag / step)
    return np.array(gradient)


@pytest.mark.parametrize(("latents", "dimension"), [(1, 2), (2, 1), (1, 3)])
@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: cost.__name__)
def test_value_and_gradient_average_to_those_of_quadrature(cost, latents, dimension):
    problem = random_problem(cost, latents, dimension)
    estimate, gradient = estimate_and_gradient(Pathwise(), cost, *replicated(problem, 20_000))
    assert_mean_is(quadrature(cost, problem.logits, problem.parameters), estimate.value)
    assert_mean_is(gradient_of_quadrature(problem), gradient)


def test_oracle_is_the_closed_form_of_a_quadratic_cost():
    problem = random_problem(quadratic, 2, 1)
    a, b = problem.parameters[0].ravel(), problem.parameters[1].ravel()
    mean = a @ problem.logits.ravel()
    assert quadrature(quadratic, problem.logits, problem.parameters) == pytest.approx(
        (mean - 0.5) ** 2 + a @ a + b @ problem.logits.ravel()
    )
    np.testing.assert_allclose(gradient_of_quadrature(problem)[:2], 2 * (mean - 0.5) * a + b, rtol=1e-9)


def test_gradient_of_another_reduction_is_that_of_its_expectation():
    problem = random_problem(linear, 1, 1)

    def soft_minimum(costs):
        return -log_mean_exp(-costs)

    estimate, gradient = estimate_and_gradient(
        Pathwise(num_samples=2), linear, *replicated(problem, 20_000), reduce=soft_minimum
    )
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    first, second = np.meshgrid(nodes, nodes)
    mass = np.outer(weights, weights) / weights.sum() ** 2
    slope, loc = problem.parameters[0, 0, 0], problem.logits[0, 0]

    def expectation(a):
        return np.sum(mass * -np.log((np.exp(-a * (loc + first)) + np.exp(-a * (loc + second))) / 2))

    assert_mean_is(expectation(slope), estimate.value)
    step = 1e-30
    assert_mean_is(slope, gradient[:, 0])
    assert_mean_is(expectation(slope + 1j * step).imag / step, gradient[:, 1])


def gaussians(loc, scale):
    return {
        "normal": (tfd.Normal(loc, scale), lambda noise: LOC + SCALE * noise),
        "independent": (tfd.Independent(tfd.Normal(loc, scale), 1), lambda noise: LOC + SCALE * noise),
        "diagonal": (tfd.MultivariateNormalDiag(loc, scale), lambda noise: LOC + SCALE * noise),
        "triangular": (tfd.MultivariateNormalTriL(loc, scale[:, :1, None] * LOWER), None),
        "operator without loc": (
            tfd.MultivariateNormalLinearOperator(None, tf.linalg.LinearOperatorDiag(scale)),
            lambda noise: SCALE * noise,
        ),
    }


NAMES = list(gaussians(tf.constant(LOC), tf.constant(SCALE)))


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_the_location_plus_the_scaled_noise_and_carry_their_gradient(name):
    loc, scale = tf.constant(LOC), tf.constant(SCALE)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([loc, scale])
        q, by_hand = gaussians(loc, scale)[name]
        event = list(range(1, 1 + len(q.event_shape)))
        estimate = Pathwise(3).estimate(q, lambda z: tf.reduce_sum(z**2, axis=[1 + e for e in event]), seed=SEED)
    noise = normal([3, 4, 2], SEED, dtype=tf.float64).numpy()
    z = by_hand(noise) if by_hand else LOC + SCALE[:, :1] * np.einsum("ij,sbj->sbi", LOWER, noise)
    np.testing.assert_allclose(estimate.sample, z, rtol=1e-9)
    assert estimate.value.shape == q.batch_shape
    of_scale = tape.gradient(estimate.value, scale)
    if name == "triangular":
        expected = (2 * z * np.einsum("ij,sbj->sbi", LOWER, noise)).sum(-1).mean(axis=0)
        np.testing.assert_allclose(of_scale[:, 0], expected, rtol=1e-9)
    else:
        np.testing.assert_allclose(of_scale, (2 * z * noise).mean(axis=0), rtol=1e-9)
    if name != "operator without loc":
        np.testing.assert_allclose(tape.gradient(estimate.value, loc), (2 * z).mean(axis=0), rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parameters_that_broadcast_give_one_noise_for_each_coordinate(dtype):
    q = tfd.Independent(tfd.Normal(tf.zeros([5, 3], dtype), tf.ones([], dtype)), 1)
    sample = Pathwise(2).estimate(q, lambda z: tf.reduce_sum(z, axis=-1), seed=SEED).sample
    assert sample.shape == (2, 5, 3)
    assert len(np.unique(sample)) == 30


def test_evaluation_has_the_samples_of_training_and_no_gradient_for_the_parameters():
    loc, weight = tf.constant(LOC), tf.constant(3.0, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([loc, weight])
        q = tfd.Independent(tfd.Normal(loc, SCALE), 1)
        results = [
            Pathwise(2).estimate(q, lambda z: weight * tf.reduce_sum(z, axis=-1), seed=SEED, training=training)
            for training in (True, False)
        ]
        value = tf.reduce_sum(results[1].value)
    np.testing.assert_array_equal(results[0].sample, results[1].sample)
    of_loc, of_weight = tape.gradient(value, [loc, weight])
    assert of_loc is None
    np.testing.assert_allclose(of_weight, results[1].sample.numpy().sum((1, 2)).mean(), rtol=1e-9)


@pytest.mark.parametrize(
    "q",
    [
        tfd.Gamma(1.0, 1.0),
        tfd.LogNormal(0.0, 1.0),
        tfd.Independent(tfd.Gamma([1.0], 1.0), 1),
        ProductCategorical(tf.zeros([5, 2, 3])),
        InvertibleGaussian(tf.zeros([5, 2]), 1.0),
        None,
    ],
    ids=lambda q: type(q).__name__,
)
def test_what_is_no_gaussian_is_refused(q):
    with pytest.raises(InputError, match=r"Pathwise takes a Gaussian: tfd\.Normal.* Received: .*score_function"):
        Pathwise().estimate(q, lambda z: z, seed=SEED)


def test_a_cost_without_a_sum_over_the_event_is_refused():
    q = tfd.MultivariateNormalDiag(LOC, SCALE)
    with pytest.raises(InputError, match=r"one value per sample and example, \(1, 4\)\. Received: \(1, 4, 2\)"):
        Pathwise().estimate(q, lambda z: z, seed=SEED)


def test_shared_axes_share_the_noise_and_nothing_else():
    loc, scale = np.random.default_rng(0).normal(size=(2, 3, 4, 2)).astype("float32")
    q = tfd.Independent(tfd.Normal(loc, np.exp(scale)), 1)
    estimator = Pathwise(num_samples=5, shared_axes=1)
    noise = (estimator.estimate(q, lambda z: tf.reduce_sum(z, -1), seed=[1, 2]).sample - loc) / np.exp(scale)
    for other in range(1, 3):
        np.testing.assert_allclose(noise[:, other], noise[:, 0], rtol=1e-3, atol=1e-4)
    assert len(np.unique(np.round(noise[:, 0], 5))) == 5 * 4 * 2


def test_shared_noise_leaves_the_gradient_unbiased():
    loc = tf.Variable(tf.zeros([2, 50_000, 1]))
    with tf.GradientTape() as tape:
        q = tfd.Independent(tfd.Normal(loc, 1.0), 1)
        estimate = Pathwise(shared_axes=1).estimate(q, lambda z: tf.reduce_sum(z**3, -1), seed=[1, 2])
        loss = tf.reduce_sum(estimate.value)
    gradients = tape.gradient(loss, loc).numpy()[..., 0]
    # d/dm E[(m + e)^3] = 3 E[e^2] at 0, with a standard deviation of 3 sqrt(2).
    np.testing.assert_allclose(gradients.mean(1), 3.0, atol=4.5 * 3 * np.sqrt(2 / 50_000))
