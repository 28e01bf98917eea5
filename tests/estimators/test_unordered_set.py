import itertools
import math

import mpmath
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
from tests.estimators.problems import COSTS, neural_network, quadratic, random_problem
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import Enumeration, UnorderedSet, unordered_set
from tfdiscrete.ops import perturbed_top_codes

SIZES = [(1, 3, 2), (1, 5, 3), (1, 5, 4), (2, 2, 3), (2, 3, 2), (3, 2, 4)]


def set_probability(q, members, removed=()):
    """That the first draws without replacement are the members, in any order, if the removed ones are not there."""
    total = 1.0 - math.fsum(q[r] for r in removed)
    result = 0.0
    for order in itertools.permutations(members):
        gone, product = 0.0, 1.0
        for s in order:
            product *= q[s] / (total - gone)
            gone += q[s]
        result += product
    return result


def transcribed(problem, members):
    """The value and the logits' gradient for one set, as the paper writes them."""
    _, q = all_codes(problem)
    costs, scores = costs_and_scores(problem)

    def ratio(s, removed=()):
        """R^{D - removed}(S, s)."""
        if s in removed:
            return 1.0
        others = [t for t in members if t not in removed]
        without = [t for t in others if t != s]
        return set_probability(q, without, (*removed, s)) / set_probability(q, others, removed)

    value = sum(q[s] * ratio(s) * costs[s] for s in members)
    gradient = 0.0
    for s in members:
        baseline = sum(q[t] * ratio(t, (s,)) * costs[t] for t in members)
        gradient += q[s] * scores[s] * ratio(s) * (costs[s] - baseline)
    return value, gradient


def all_sets(q, k):
    """All sets of `k` codes, `[P, k]`, and their probabilities, by the subsets drawn before."""
    probability = {(): 1.0}
    for size in range(k):
        larger = dict.fromkeys(itertools.combinations(range(len(q)), size + 1), 0.0)
        for members, so_far in probability.items():
            rest = so_far / left(q, np.array([members], int))[0]
            for s in set(range(len(q))).difference(members):
                larger[tuple(sorted((*members, s)))] += rest * q[s]
        probability = larger
    return np.array(list(probability)), np.array(list(probability.values()))


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("latents", "categories", "k"), SIZES)
def test_expectation_over_all_ordered_draws_is_exact(monkeypatch, cost, latents, categories, k):
    problem = random_problem(cost, latents, categories)
    draws, probability = ordered_draws(all_codes(problem)[1], k)
    given_draws(monkeypatch, unordered_set, problem, draws)
    assert_exact(problem, *values_and_gradients(UnorderedSet(k), problem, len(draws)), probability)


@pytest.mark.parametrize(("latents", "categories", "k"), SIZES)
def test_value_and_gradient_of_every_set_are_those_of_the_formula_in_any_order(monkeypatch, latents, categories, k):
    problem = random_problem(neural_network, latents, categories)
    sets = np.array(list(itertools.combinations(range(categories**latents), k)))
    expected = [transcribed(problem, members) for members in sets]
    for order in (np.arange(k), np.arange(k)[::-1], np.roll(np.arange(k), 1)):
        given_draws(monkeypatch, unordered_set, problem, sets[:, order])
        values, gradients = values_and_gradients(UnorderedSet(k), problem, len(sets))
        np.testing.assert_allclose(values, [value for value, _ in expected], rtol=1e-9)
        np.testing.assert_allclose(
            gradients[:, : latents * categories], [gradient for _, gradient in expected], rtol=1e-8, atol=1e-12
        )


def test_probabilities_of_all_sets_in_these_tests_agree_with_those_of_all_orders():
    _, q = all_codes(random_problem(quadratic, 2, 3))
    sets, probability = all_sets(q, 3)
    np.testing.assert_allclose(probability, [set_probability(q, members) for members in sets], rtol=1e-12)


def leave_one_out_variance(problem, samples):
    """Of the logits' gradient by REINFORCE with the mean of the others: a U-statistic of h(x, y), so that

    Var = 2 / (S (S - 1)) (2 (S - 2) Var E[h | x] + Var h),    h = (f(x) - f(y)) (score(x) - score(y)) / 2
    """
    q = all_codes(problem)[1]
    costs, scores = costs_and_scores(problem)
    h = (costs[:, None] - costs)[..., None] * (scores[:, None] - scores) / 2
    mean = np.einsum("x,y,xyd->d", q, q, h)
    given_one = np.einsum("y,xyd->xd", q, h)
    first = q @ (given_one - mean) ** 2
    second = np.einsum("x,y,xyd->d", q, q, (h - mean) ** 2)
    return 2 / (samples * (samples - 1)) * (2 * (samples - 2) * first + second)


def test_variance_of_leave_one_out_is_that_over_all_triples():
    problem = random_problem(quadratic, 1, 3)
    q = all_codes(problem)[1]
    costs, scores = costs_and_scores(problem)
    triples = np.array(list(itertools.product(range(3), repeat=3)))
    f = costs[triples]
    gradients = np.einsum("ps,psd->pd", f - (f.sum(1, keepdims=True) - f) / 2, scores[triples]) / 3
    np.testing.assert_allclose(leave_one_out_variance(problem, 3), variance(gradients, q[triples].prod(1)), rtol=1e-12)


@pytest.mark.parametrize(
    ("problem", "k"),
    [
        pytest.param(problem, k, id=f"{name_of(problem)}-{k}")
        for problem in SUITE
        for k in (2, 3, 4)
        if k <= number_of_codes(problem) and math.comb(number_of_codes(problem), k) <= 60_000
    ],
)
def test_variance_is_below_that_of_leave_one_out_with_as_many_samples(monkeypatch, problem, k):
    _, q = all_codes(problem)
    sets, probability = all_sets(q, k)
    given_draws(monkeypatch, unordered_set, problem, sets)
    gradients = values_and_gradients(UnorderedSet(k), problem, len(sets))[1][:, : problem.logits.size]
    assert variance(gradients, probability).sum() <= leave_one_out_variance(problem, k).sum()


@pytest.mark.parametrize(("latents", "categories"), [(1, 2), (1, 3), (2, 2), (3, 2), (2, 3)])
def test_all_codes_give_the_exact_answer(latents, categories):
    problem = random_problem(neural_network, latents, categories)
    values, gradients = values_and_gradients(UnorderedSet(categories**latents), problem, 3)
    np.testing.assert_allclose(values, np.full(3, problem.value()), rtol=1e-12)
    np.testing.assert_allclose(gradients, np.tile(problem.gradient(), (3, 1)), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [2, 4, 7])
@pytest.mark.parametrize(
    "exponents",
    [
        pytest.param([-30.0 - i for i in range(7)], id="tiny"),
        pytest.param([-1000.0 - 3 * i for i in range(7)], id="below every float"),
        pytest.param([None, -9.0, -10.0, -12.0, -30.0, -30.5, -40.0], id="nearly all in one"),
        pytest.param([-0.31, -0.31, -4.0, -6.0, -9.0, -12.0, -15.0], id="nearly all in two"),
    ],
)
def test_weights_are_those_of_fifty_digits(exponents, k, dtype):
    with mpmath.workdps(80):
        q = [mpmath.mpf(10) ** e if e is not None else None for e in exponents]
        rest = mpmath.mpf(10) ** -11 if q[0] is None or exponents[0] > -1 else None
        if q[0] is None:
            q[0] = 1 - mpmath.fsum(q[1:]) - rest
        elif rest is not None:
            q[1] = 1 - q[0] - mpmath.fsum(q[2:]) - rest
        q = q[:k]
        rest = 1 - mpmath.fsum(q)
        log_prob = [float(mpmath.log(p)) for p in q]
        log_rest = float(mpmath.log(rest))

        def h(gone):
            """P_A(S) / prod of those not in A."""
            lacking = [s for s in range(k) if s not in gone]
            if not lacking:
                return mpmath.mpf(1)
            mass = rest + mpmath.fsum(q[s] for s in lacking)
            return mpmath.fsum(h((*gone, s)) for s in lacking) / mass if len(gone) != 0 else None

        alone = [h((s,)) for s in range(k)]
        expected = [float(x / mpmath.fsum(alone)) for x in alone]
        pairs = [[h((s, t)) for t in range(k) if t != s] for s in range(k)]
        expected_pairs = [[float(x / mpmath.fsum(row)) for x in row] for row in pairs]
        expected_left = [float(rest + mpmath.fsum(q) - q[s]) for s in range(k)]
    weights, others, remaining = unordered_set._leave_out_weights(
        tf.constant(log_prob, dtype), tf.constant(log_rest, dtype)
    )
    tolerance = {"rtol": 1e-5} if dtype == "float32" else {"rtol": 1e-12}
    np.testing.assert_allclose(weights, expected, **tolerance, atol=1e-37)
    np.testing.assert_allclose(others, expected_pairs, **tolerance, atol=1e-37)
    np.testing.assert_allclose(remaining, expected_left, **tolerance, atol=1e-37)


@pytest.mark.parametrize("k", [2, 3, 6, 12])
def test_weights_of_codes_without_notable_mass_are_those_of_independent_samples(k):
    log_prob = tf.constant(np.linspace(-500.0, -450.0, k), tf.float32)
    weights, others, remaining = unordered_set._leave_out_weights(log_prob, tf.constant(0.0))
    np.testing.assert_allclose(weights, np.full(k, 1 / k), rtol=1e-5)
    np.testing.assert_allclose(others, np.full((k, k - 1), 1 / (k - 1)), rtol=1e-5)
    np.testing.assert_allclose(remaining, np.ones(k))


def test_a_constant_cost_has_its_value_and_no_gradient_however_large_it_is():
    logits = tf.constant(np.random.default_rng(0).normal(size=(100, 3, 4)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = (
            UnorderedSet(5)
            .estimate(ProductCategorical(logits), lambda z: 1e6 + 0.0 * tf.reduce_sum(z, axis=[-2, -1]), seed=[1, 2])
            .value
        )
    np.testing.assert_allclose(value, 1e6, rtol=1e-6)
    np.testing.assert_array_equal(tape.gradient(value, logits), np.zeros(logits.shape))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("k", [2, 6, 8])
def test_impossible_codes_of_truncated_laws_leave_value_and_gradient_exact(k, dtype):
    logits = np.array([[0.3, -1.0], [0.0, -6e4 if dtype == "float16" else -1e9], [0.5, 0.2]])
    logits = tf.constant(np.broadcast_to(logits, [50, 3, 2]), dtype)

    def run(estimator):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = estimator.estimate(
                ProductCategorical(logits),
                lambda z: tf.reduce_sum(z * np.arange(6.0).reshape(3, 2), axis=[-2, -1]) ** 2,
                seed=[1, 2],
            ).value
        return value, tf.cast(tape.gradient(value, logits), tf.float32)

    values, gradients = run(UnorderedSet(k))
    assert np.isfinite(values).all()
    assert np.isfinite(gradients).all()
    if k > 2:
        for part, exact in zip((values, gradients), run(Enumeration()), strict=True):
            np.testing.assert_allclose(part, exact, rtol=1e-2 if dtype == "float16" else 1e-4, atol=1e-4)


def test_sample_holds_the_draws_without_replacement_in_their_order():
    logits = tf.constant(np.random.default_rng(0).normal(size=(20, 3, 4)))
    sample = UnorderedSet(5).estimate(ProductCategorical(logits), lambda z: z[..., 0, 0], seed=[1, 2]).sample
    np.testing.assert_array_equal(tf.argmax(sample, axis=-1), perturbed_top_codes(logits, 5, [1, 2]).index)


@pytest.mark.parametrize("num_samples", [1, 13])
def test_a_number_of_samples_without_baseline_or_with_too_many_subsets_is_refused(num_samples):
    with pytest.raises(InputError, match=rf"at least 2.*at most 12.*'score_function'.*num_samples={num_samples}\."):
        UnorderedSet(num_samples)


@pytest.mark.parametrize("training", [True, False])
def test_more_samples_than_codes_are_refused(training):
    with pytest.raises(
        InputError, match=r"without replacement: num_samples must be at most .* 2\^1 = 2.*num_samples=3"
    ):
        UnorderedSet(3).estimate(
            ProductCategorical(tf.zeros([5, 1, 2])), lambda z: z[..., 0, 0], seed=[1, 2], training=training
        )


def test_build_refuses_more_samples_than_codes():
    with pytest.raises(InputError, match=r"2\^2 = 4.*num_samples=5"):
        UnorderedSet(5).build((None, 2, 2))
