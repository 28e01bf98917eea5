import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tests.estimators.prescribed import (
    SUITE,
    all_codes,
    assert_exact,
    costs_and_scores,
    name_of,
    number_of_codes,
    values_and_gradients,
    variance,
)
from tests.estimators.problems import (
    COSTS,
    estimate_and_gradient,
    neural_network,
    quadratic,
    random_problem,
    replicated,
)
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import RaoBlackwell
from tfdiscrete.estimators.weighted_codes import BASELINES

SIZES = [(1, 3, 1, 1), (1, 3, 2, 1), (1, 5, 2, 2), (2, 2, 1, 2), (2, 3, 4, 1), (3, 2, 3, 2)]


class Given(RaoBlackwell):
    """With samples of the rest that are given, numbers of codes `[P, S]`."""

    def __init__(self, problem, samples, num_exact, baseline="none"):
        super().__init__(num_exact, samples.shape[1], baseline)
        self.index = all_codes(problem)[0][samples].swapaxes(0, 1)

    def _sample_others(self, log_pi, exact, seed):
        return tf.constant(self.index, tf.int32)


def all_samples(problem, num_exact, num_samples):
    """The most probable codes, all tuples of samples of the others, `[P, S]`, and their probabilities."""
    _, q = all_codes(problem)
    order = np.argsort(-q)
    exact, others = order[:num_exact], order[num_exact:]
    samples = np.array(list(itertools.product(others, repeat=num_samples)))
    return exact, samples, (q[samples] / q[others].sum()).prod(axis=1)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("latents", "categories", "num_exact", "num_samples"), SIZES)
def test_expectation_over_all_samples_of_the_rest_is_exact(cost, latents, categories, num_exact, num_samples, baseline):
    problem = random_problem(cost, latents, categories)
    _, samples, probability = all_samples(problem, num_exact, num_samples)
    estimator = Given(problem, samples, num_exact, baseline)
    assert_exact(problem, *values_and_gradients(estimator, problem, len(samples)), probability)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize(("latents", "categories", "num_exact", "num_samples"), SIZES)
def test_value_and_gradient_of_every_sample_are_those_of_the_formula(
    latents, categories, num_exact, num_samples, baseline
):
    problem = random_problem(neural_network, latents, categories)
    _, q = all_codes(problem)
    costs, scores = costs_and_scores(problem)
    exact, samples, _ = all_samples(problem, num_exact, num_samples)
    values, gradients = values_and_gradients(Given(problem, samples, num_exact, baseline), problem, len(samples))
    rest = 1.0 - q[exact].sum()
    np.testing.assert_allclose(values, (q * costs)[exact].sum() + rest * costs[samples].mean(axis=1), rtol=1e-9)
    signals = costs - (costs[exact].mean() if baseline == "built_in" else 0.0)
    expected = (q * signals)[exact] @ scores[exact] + rest * (signals[:, None] * scores)[samples].mean(axis=1)
    np.testing.assert_allclose(gradients[:, : latents * categories], expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("latents", "categories", "num_exact"), [(1, 4, 1), (2, 2, 2), (2, 3, 1), (2, 3, 5), (3, 2, 6)]
)
def test_samples_of_the_rest_are_independent_draws_of_the_other_codes(latents, categories, num_exact):
    problem, count = random_problem(quadratic, latents, categories), 20_000
    codes, q = all_codes(problem)
    exact, others = np.split(np.argsort(-q), [num_exact])
    estimator = RaoBlackwell(num_exact, num_samples=2)
    sample = estimate_and_gradient(estimator, quadratic, *replicated(problem, count))[0].sample.numpy().argmax(axis=-1)
    numbers = sample @ categories ** np.arange(latents)[::-1]
    np.testing.assert_array_equal(numbers[:num_exact], np.broadcast_to(exact[:, None], (num_exact, count)))
    first, second = numbers[num_exact:]
    pairs = np.bincount(first * len(codes) + second, minlength=len(codes) ** 2).reshape(len(codes), -1)
    assert pairs.sum() == pairs[np.ix_(others, others)].sum() == count
    law = q[others] / q[others].sum()
    expected = count * law[:, None] * law
    assert scipy.stats.chisquare(pairs[np.ix_(others, others)].ravel(), expected.ravel()).pvalue > 1e-3


@pytest.mark.parametrize(
    ("problem", "num_exact", "num_samples"),
    [
        pytest.param(problem, *numbers, id=f"{name_of(problem)}-{numbers}")
        for problem in SUITE
        for numbers in ((1, 1), (3, 1), (2, 2))
        if numbers[0] <= number_of_codes(problem)
    ],
)
def test_variance_is_at_most_that_of_as_many_samples_without_the_sum(problem, num_exact, num_samples):
    _, q = all_codes(problem)
    costs, scores = costs_and_scores(problem)
    # Samples are independent: the variance of S is that of one over S.
    if len(q) == num_exact:
        gradients, probability = values_and_gradients(RaoBlackwell(num_exact), problem, 1)[1], np.ones(1)
    else:
        _, samples, probability = all_samples(problem, num_exact, 1)
        gradients = values_and_gradients(Given(problem, samples, num_exact), problem, len(samples))[1]
    mine = variance(gradients[:, : problem.logits.size], probability) / num_samples
    base = variance(costs[:, None] * scores, q) / num_samples
    assert (mine <= base * (1 + 1e-9)).all()
    assert mine.sum() < base.sum()


@pytest.mark.parametrize(("latents", "categories"), [(1, 2), (2, 3), (3, 2)])
def test_all_codes_give_the_exact_answer_and_are_evaluated_once(latents, categories):
    problem, count = random_problem(neural_network, latents, categories), categories**latents
    estimator = RaoBlackwell(count, num_samples=3)
    estimate, gradient = estimate_and_gradient(estimator, problem.cost, *replicated(problem, 2))
    np.testing.assert_allclose(estimate.value, np.full(2, problem.value()), rtol=1e-12)
    np.testing.assert_allclose(gradient, np.tile(problem.gradient(), (2, 1)), rtol=1e-9, atol=1e-14)
    assert estimate.sample.shape[0] == count


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_mass_of_the_rest_is_exact_in_float32_if_it_is_next_to_nothing(jit_compile):
    logits = tf.constant([[[40.0, 0.0, 1.0]]])
    values, estimator = tf.constant([0.0, 1.0, 1.0]), RaoBlackwell()

    @tf.function(jit_compile=jit_compile)
    def run():
        q = ProductCategorical(logits)
        return estimator.estimate(q, lambda z: tf.einsum("sbnk,k->sb", z, values), seed=[1, 2]).value

    np.testing.assert_allclose(run(), [np.exp(-40.0) * (1 + np.e)], rtol=1e-5)


@pytest.mark.parametrize("num_exact", [0, -1, 1.5, None])
def test_a_number_of_exact_codes_that_is_no_positive_integer_is_refused(num_exact):
    with pytest.raises(InputError, match="num_exact must be an integer of at least 1"):
        RaoBlackwell(num_exact)


def test_more_exact_codes_than_there_are_are_refused():
    with pytest.raises(InputError, match=r"num_exact must be at most .* 2\^2 = 4, .* Received: num_exact=5\."):
        RaoBlackwell(5).build((None, 2, 2))
