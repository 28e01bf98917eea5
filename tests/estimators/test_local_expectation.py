"""Local expectation gradients at every code there is: against NumPy, their mean and their variance."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.estimators.prescribed import (
    SUITE,
    all_codes,
    assert_exact,
    costs_and_scores,
    name_of,
    values_and_gradients,
    variance,
)
from tests.estimators.problems import quadratic, random_problem
from tfdiscrete.estimators import LocalExpectation, local_expectation


@pytest.fixture
def at_all_codes(monkeypatch):
    """Values and gradients of a problem, one for each code as the sample, and the codes' probabilities."""

    def run(problem):
        codes, q = all_codes(problem)
        one_hot = np.eye(problem.logits.shape[1])[codes]
        monkeypatch.setattr(local_expectation, "gumbel_max", lambda _: tf.constant(one_hot[np.newaxis]))
        return *values_and_gradients(LocalExpectation(), problem, len(codes)), q

    return run


@pytest.mark.parametrize("problem", SUITE, ids=name_of)
def test_mean_over_all_samples_is_exact(at_all_codes, problem):
    assert_exact(problem, *at_all_codes(problem))


@pytest.mark.parametrize("problem", SUITE, ids=name_of)
def test_variance_is_below_that_of_one_sample_and_none_for_one_variable(at_all_codes, problem):
    _, gradients, q = at_all_codes(problem)
    mine = variance(gradients[:, : problem.logits.size], q)
    costs, scores = costs_and_scores(problem)
    for baseline in (0.0, q @ costs):
        assert (mine <= variance((costs - baseline)[:, None] * scores, q) * (1 + 1e-9)).all()
    if problem.logits.shape[0] == 1:
        np.testing.assert_allclose(mine, 0.0, atol=1e-24)


def test_each_gradient_is_the_limit_of_the_difference_quotient_of_direct_arg_max(at_all_codes):
    problem, epsilon = random_problem(quadratic, 3, 3), 1e-6
    codes, _ = all_codes(problem)
    gradients = at_all_codes(problem)[1][:, :9].reshape(-1, 3, 3)
    for code, gradient in zip(codes, gradients, strict=True):
        for n in range(3):
            near = np.repeat(code[np.newaxis], 3, axis=0)
            near[:, n] = range(3)
            f = problem.cost(np, np.eye(3)[near][np.newaxis], problem.parameters[np.newaxis])[0]
            up, down = (scipy.special.softmax(problem.logits[n] + change) for change in (epsilon * f, -epsilon * f))
            np.testing.assert_allclose(gradient[n], (up - down) / (2 * epsilon), rtol=1e-6, atol=1e-8)
