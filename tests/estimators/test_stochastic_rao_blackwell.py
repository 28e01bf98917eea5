import numpy as np
import pytest
import tensorflow as tf

from tests.estimators.prescribed import (
    SUITE,
    all_codes,
    assert_exact,
    costs_and_scores,
    given_draws,
    left,
    name_of,
    number_of_codes,
    ordered_draws,
    values_and_gradients,
    variance,
)
from tests.estimators.problems import COSTS, neural_network, random_problem
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import StochasticRaoBlackwell, stochastic_rao_blackwell
from tfdiscrete.estimators.weighted_codes import BASELINES

SIZES = [
    (1, 3, 1, "none"),
    *((*size, baseline) for size in [(1, 3, 2), (1, 5, 3), (2, 2, 3), (2, 2, 4), (3, 2, 3)] for baseline in BASELINES),
]


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("latents", "categories", "k", "baseline"), SIZES)
def test_expectation_over_all_ordered_draws_is_exact(monkeypatch, cost, latents, categories, k, baseline):
    problem = random_problem(cost, latents, categories)
    draws, probability = ordered_draws(all_codes(problem)[1], k)
    given_draws(monkeypatch, stochastic_rao_blackwell, problem, draws)
    estimator = StochasticRaoBlackwell(k, baseline)
    assert_exact(problem, *values_and_gradients(estimator, problem, len(draws)), probability)


@pytest.mark.parametrize(("latents", "categories", "k", "baseline"), SIZES)
def test_value_and_gradient_of_every_draw_are_those_of_the_formula(monkeypatch, latents, categories, k, baseline):
    problem = random_problem(neural_network, latents, categories)
    _, q = all_codes(problem)
    costs, scores = costs_and_scores(problem)
    draws, _ = ordered_draws(q, k)
    given_draws(monkeypatch, stochastic_rao_blackwell, problem, draws)
    values, gradients = values_and_gradients(StochasticRaoBlackwell(k, baseline), problem, len(draws))
    for draw, value, gradient in zip(draws, values, gradients, strict=True):
        *first, last = draw
        rest = 1.0 - q[first].sum()
        np.testing.assert_allclose(value, q[first] @ costs[first] + rest * costs[last], rtol=1e-9)
        signals = costs - (costs[first].mean() if baseline == "built_in" else 0.0)
        expected = (q * signals)[first] @ scores[first] + rest * signals[last] * scores[last]
        np.testing.assert_allclose(gradient[: latents * categories], expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("problem", "k"),
    [
        pytest.param(problem, k, id=f"{name_of(problem)}-{k}")
        for problem in SUITE
        for k in (2, 3)
        if problem.logits.size < 20 and k <= number_of_codes(problem)
    ],
)
def test_variance_is_at_most_that_of_one_sample(monkeypatch, problem, k):
    _, q = all_codes(problem)
    draws, probability = ordered_draws(q, k)
    given_draws(monkeypatch, stochastic_rao_blackwell, problem, draws)
    gradients = values_and_gradients(StochasticRaoBlackwell(k, "none"), problem, len(draws))[1]
    costs, scores = costs_and_scores(problem)
    single = variance(costs[:, None] * scores, q)
    assert (variance(gradients[:, : problem.logits.size], probability) <= single * (1 + 1e-9)).all()


def test_the_last_draw_weighs_what_the_others_leave_even_if_that_is_next_to_nothing():
    logits = tf.constant([[[40.0, 0.0, 1.0]]])
    values = tf.constant([0.0, 1.0, 1.0])
    value = (
        StochasticRaoBlackwell(2)
        .estimate(ProductCategorical(logits), lambda z: tf.einsum("sbnk,k->sb", z, values), seed=[1, 2])
        .value
    )
    np.testing.assert_allclose(value, [np.exp(-40.0) * (1 + np.e)], rtol=1e-5)


def test_left_in_these_tests_is_the_mass_that_remains():
    q = np.array([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(left(q, np.array([[0, 1], [3, 2]])), [0.7, 0.3])


def test_more_samples_than_codes_are_refused():
    with pytest.raises(InputError, match=r"num_samples must be at most .* 2\^2 = 4, .* Received: num_samples=5\."):
        StochasticRaoBlackwell(5).build((None, 2, 2))


def test_one_sample_has_no_baseline_of_its_own():
    with pytest.raises(InputError, match="baseline 'built_in' needs num_samples of at least 2"):
        StochasticRaoBlackwell(1)
