import numpy as np
import pytest
import tensorflow as tf

from tests.estimators.problems import (
    SEED,
    assert_mean_is,
    estimate_and_gradient,
    neural_network,
    quadratic,
    random_problem,
    replicated,
)
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import VIMCO, ScoreFunction
from tfdiscrete.ops import log_mean_exp


def negative_log_mean_exp(costs):
    return -log_mean_exp(-costs)


def score(problem, sample):
    """grad log q(z) = z - pi."""
    pi = np.exp(problem.logits) / np.exp(problem.logits).sum(-1, keepdims=True)
    return sample - pi


@pytest.mark.parametrize("num_samples", [2, 5])
def test_of_the_importance_weighted_bound_it_is_the_paper_s_with_the_geometric_mean_of_the_other_weights(num_samples):
    problem = random_problem(quadratic, 2, 3)
    logits, parameters = replicated(problem, 6)
    estimate, gradient = estimate_and_gradient(
        VIMCO(num_samples), quadratic, logits, parameters, reduce=negative_log_mean_exp
    )
    sample = estimate.sample.numpy()
    weights = np.exp(-quadratic(np, sample, parameters))
    bound = np.log(weights.mean(axis=0))
    expected = np.zeros([6, 2, 3])
    for s in range(num_samples):
        others = np.delete(weights, s, axis=0)
        geometric_mean = np.prod(others, axis=0) ** (1 / (num_samples - 1))
        signal = bound - np.log((others.sum(axis=0) + geometric_mean) / num_samples)
        expected -= signal[:, None, None] * score(problem, sample[s])
    np.testing.assert_allclose(estimate.value, -bound, rtol=1e-9)
    np.testing.assert_allclose(gradient[:, :6], expected.reshape(6, 6), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_samples", [2, 5])
def test_of_the_mean_it_is_the_leave_one_out_score_function(num_samples):
    problem = random_problem(neural_network, 2, 3)
    vimco, leave_one_out = (
        estimate_and_gradient(estimator, neural_network, *replicated(problem, 6))
        for estimator in (VIMCO(num_samples), ScoreFunction("leave_one_out", num_samples))
    )
    np.testing.assert_allclose(vimco[1], leave_one_out[1], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(vimco[0].value, leave_one_out[0].value, rtol=1e-12)


def test_the_cost_s_own_gradient_passes_through_the_reduction_with_the_weight_of_each_sample():
    rng = np.random.default_rng(0)
    values, factor = rng.normal(size=(2, 3)), tf.constant(rng.normal(size=7))
    with tf.GradientTape() as tape:
        tape.watch(factor)
        estimate = VIMCO().estimate(
            ProductCategorical(tf.zeros([7, 2, 3], tf.float64)),
            lambda z: factor * tf.reduce_sum(z * values, axis=[-2, -1]),
            seed=SEED,
            reduce=negative_log_mean_exp,
        )
    gradient = tape.gradient(estimate.value, factor)
    features = (estimate.sample.numpy() * values).sum((-2, -1))
    weights = np.exp(-factor * features)
    np.testing.assert_allclose(gradient, (weights / weights.sum(axis=0) * features).sum(axis=0), rtol=1e-9)


def test_another_reduction_of_many_samples_has_the_gradient_of_its_expectation():
    def largest(costs):
        return tf.reduce_max(costs, axis=0)

    problem = random_problem(quadratic, 1, 2)
    estimate, gradient = estimate_and_gradient(VIMCO(4), quadratic, *replicated(problem, 20_000), reduce=largest)
    numpy = {"reduce": lambda costs: costs.max(axis=0), "num_samples": 4}
    assert_mean_is(problem.value(**numpy), estimate.value)
    # The maximum has no complex step: a difference instead, of the smooth expectation over all tuples.
    differences = []
    for k in range(2):
        shift = 1e-5 * np.eye(2)[None, k]
        ends = [problem.expectation(problem.logits + sign * shift, problem.parameters, **numpy) for sign in (1, -1)]
        differences.append((ends[0] - ends[1]) / 2e-5)
    assert_mean_is(np.array(differences), gradient[:, :2])


def test_it_has_far_less_variance_than_the_score_of_the_whole_bound():
    problem = random_problem(quadratic, 3, 3)
    logits, parameters = map(tf.constant, replicated(problem, 4000))
    _, gradient = estimate_and_gradient(VIMCO(), quadratic, logits, parameters, reduce=negative_log_mean_exp)
    sample = ProductCategorical(logits).sample(5, seed=SEED)
    bound = negative_log_mean_exp(quadratic(tf, sample, parameters)).numpy()
    plain = bound[:, None, None] * score(problem, sample.numpy()).sum(axis=0)
    assert gradient[:, :9].numpy().var(axis=0).sum() < 0.3 * plain.reshape(-1, 9).var(axis=0).sum()


@pytest.mark.parametrize("num_samples", [1, 0])
def test_fewer_than_two_samples_are_refused(num_samples):
    with pytest.raises(InputError, match="num_samples must be an integer of at least 2"):
        VIMCO(num_samples)


def test_by_default_there_are_five_samples():
    assert VIMCO().num_samples == 5
