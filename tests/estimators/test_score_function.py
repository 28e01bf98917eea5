import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import ScoreFunction
from tfdiscrete.estimators.score_function import BASELINES

LOGITS = np.random.default_rng(0).normal(size=(2, 3))
VALUES = np.random.default_rng(1).normal(size=(2, 3))


def cost(z, offset=0.0):
    return tf.reduce_sum(z * VALUES, axis=[-2, -1]) ** 2 + offset


def draw(estimator, replicates=6, offset=0.0, seed=(1, 2)):
    logits = tf.constant(np.broadcast_to(LOGITS, (replicates, 2, 3)))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        estimate = estimator.estimate(ProductCategorical(logits), lambda z: cost(z, offset), seed=list(seed))
    return estimate, tape.gradient(estimate.value, logits).numpy()


def score(sample):
    """grad log q(z) = z - pi."""
    return sample - np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_without_baseline_the_gradient_is_cost_times_score(num_samples):
    estimate, gradient = draw(ScoreFunction("none", num_samples=num_samples))
    sample = estimate.sample.numpy()
    expected = (cost(sample).numpy()[..., None, None] * score(sample)).mean(axis=0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("num_samples", [2, 5])
def test_leave_one_out_subtracts_the_mean_of_the_other_costs(num_samples):
    estimate, gradient = draw(ScoreFunction("leave_one_out", num_samples=num_samples))
    sample = estimate.sample.numpy()
    costs = cost(sample).numpy()
    expected = np.zeros_like(gradient)
    for s in range(num_samples):
        others = np.delete(costs, s, axis=0).mean(axis=0)
        expected += (costs[s] - others)[:, None, None] * score(sample[s]) / num_samples
    np.testing.assert_allclose(gradient, expected, rtol=1e-12, atol=1e-14)


def test_running_mean_is_the_decayed_mean_of_past_costs_without_the_start_s_bias():
    estimator, decay, past = ScoreFunction("running_mean", decay=0.7), 0.7, []
    for step in range(4):
        estimate, gradient = draw(estimator, seed=(step, 3))
        weights = decay ** np.arange(len(past))[::-1]
        baseline = np.average(past, weights=weights) if past else 0.0
        sample = estimate.sample.numpy()
        expected = ((cost(sample).numpy() - baseline)[..., None, None] * score(sample)).mean(axis=0)
        np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
        estimator.update(estimate)
        past.append(estimate.value.numpy().mean())


@pytest.mark.parametrize("baseline", BASELINES)
def test_value_is_the_mean_cost_whatever_the_baseline(baseline):
    estimate, _ = draw(ScoreFunction(baseline))
    np.testing.assert_allclose(estimate.value, cost(estimate.sample).numpy().mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("baseline", ["running_mean", "leave_one_out"])
def test_a_baseline_takes_away_the_variance_that_a_constant_cost_brings(baseline):
    estimator = ScoreFunction(baseline, num_samples=2)
    for step in range(3):
        estimator.update(draw(estimator, 1000, offset=100.0, seed=(step, 3))[0])
    without = draw(ScoreFunction("none", num_samples=2), 1000, offset=100.0)[1]
    with_baseline = draw(estimator, 1000, offset=100.0)[1]
    assert with_baseline.var(axis=0).sum() < 1e-2 * without.var(axis=0).sum()


@pytest.mark.parametrize(("baseline", "num_samples"), [("none", 1), ("running_mean", 1), ("leave_one_out", 2)])
def test_default_number_of_samples_is_the_fewest_that_the_baseline_takes(baseline, num_samples):
    assert ScoreFunction(baseline).num_samples == num_samples


def test_leave_one_out_of_a_single_sample_is_refused():
    with pytest.raises(InputError, match=r"'leave_one_out' needs num_samples of at least 2.*num_samples=1"):
        ScoreFunction("leave_one_out", num_samples=1)


def test_an_unknown_baseline_is_refused_and_the_nearest_named():
    with pytest.raises(InputError, match=r"unknown baseline 'leave_one'\. Did you mean 'leave_one_out'"):
        ScoreFunction("leave_one")


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0, float("nan")])
def test_a_decay_outside_of_its_range_is_refused(decay):
    with pytest.raises(InputError, match=r"decay must be in \[0, 1\)\. Received: decay="):
        ScoreFunction("running_mean", decay=decay)


def test_update_works_inside_a_traced_function():
    estimator = ScoreFunction("running_mean", decay=0.5)

    @tf.function(jit_compile=True)
    def step():
        estimator.update(draw_estimate())

    def draw_estimate():
        q = ProductCategorical(tf.zeros([4, 2, 3]))
        return estimator.estimate(q, lambda z: tf.reduce_sum(z, axis=[-2, -1]), seed=[0, 0])

    step()
    step()
    assert estimator.step.numpy() == 2
    np.testing.assert_allclose(estimator.running_cost, 2.0, rtol=1e-6)
