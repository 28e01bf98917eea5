"""The generalized Gumbel-Softmax estimator: its options against NumPy on its own noise, and against enumeration."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp

from tests.estimators.problems import Problem, estimate_and_gradient, linear, random_problem, replicated
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical, Truncated
from tfdiscrete.estimators import (
    Enumeration,
    GeneralizedGumbelSoftmax,
    GumbelSoftmax,
    StraightThroughGumbelSoftmax,
)
from tfdiscrete.ops import gumbel_noise, log_mean_exp

tfd = tfp.distributions

SEED = [1, 2]
LOGITS = np.random.default_rng(0).normal(size=(4, 2, 3))
VALUES = np.random.default_rng(1).normal(size=(2, 3))
TEMPERATURE = 0.5


def cost(z):
    return tf.reduce_sum(z * VALUES, axis=[-2, -1]) ** 2


def slope(z):
    return 2 * (z * VALUES).sum((-2, -1), keepdims=True) * VALUES


def cubic(np_or_tf, z, parameters):
    return linear(np_or_tf, z, parameters) ** 3


def quadratic(np_or_tf, z, parameters):
    return linear(np_or_tf, z, parameters) ** 2


def draw(estimator):
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        estimate = estimator.estimate(ProductCategorical(logits), cost, seed=SEED)
    return estimate, tape.gradient(estimate.value, logits)


@pytest.mark.parametrize(
    ("options", "plain"),
    [({}, GumbelSoftmax), ({"straight_through": True}, StraightThroughGumbelSoftmax)],
    ids=["relaxed", "straight_through"],
)
def test_without_rao_blackwell_it_is_the_estimator_that_it_generalizes(options, plain):
    results = (draw(e) for e in (GeneralizedGumbelSoftmax(0.5, 3, **options), plain(0.5, 3)))
    tf.nest.map_structure(np.testing.assert_array_equal, *results)


@pytest.mark.parametrize("options", [{}, {"straight_through": True}, {"rao_blackwell": True}], ids=str)
def test_explicit_inference_is_implicit_inference_with_the_chain_rule(options):
    estimator, rate = GeneralizedGumbelSoftmax(**options), tf.constant([[0.7, 2.0]], tf.float64)

    def value(q):
        return estimator.estimate(q, lambda z: tf.reduce_sum((z - 1.5) ** 2, axis=-1), seed=SEED).value

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(rate)
        explicit = Truncated(tfd.Poisson(rate), low=0, high=5)
        logits = explicit.logits + 1.0
        outcomes = tf.range(6.0, dtype=tf.float64)
        implicit = Truncated(tfd.FiniteDiscrete(outcomes, logits=logits), low=0, high=5)
        values = value(explicit), value(implicit)
    np.testing.assert_allclose(*values, rtol=1e-9)
    of_logits = tape.gradient(values[1], logits)
    through_logits = tape.gradient(logits, rate, output_gradients=of_logits)
    np.testing.assert_allclose(tape.gradient(values[0], rate), through_logits, rtol=1e-9)


def rao_blackwell_by_hand(num_samples, straight_through):
    """Value and gradient, in loops over samples, examples and variables."""
    noise = gumbel_noise([num_samples, *LOGITS.shape], SEED, dtype=tf.float64).numpy()
    log_pi = scipy.special.log_softmax(LOGITS, axis=-1)
    pi = np.exp(log_pi)

    def point(y):
        return np.eye(3)[y.argmax()] if straight_through else y

    value, gradient = np.zeros(4), np.zeros_like(LOGITS)
    for s, b in np.ndindex(num_samples, 4):
        plain = [point(scipy.special.softmax((log_pi[b, n] + noise[s, b, n]) / TEMPERATURE)) for n in range(2)]
        for n in range(2):
            k = pi[b, n].argmax()
            other = np.delete(np.arange(3), k)
            relaxed = scipy.special.softmax((log_pi[b, n] + noise[s, b, n])[other] / TEMPERATURE)
            y = np.zeros(3)
            y[other] = relaxed
            at_mode, at_rest = (np.array(plain) for _ in range(2))
            at_mode[n], at_rest[n] = np.eye(3)[k], point(y)
            f_mode, f_rest = (cost(z[None]).numpy()[0] for z in (at_mode, at_rest))
            mass = pi[b, n, k]
            value[b] += (mass * f_mode + (1 - mass) * f_rest) / (2 * num_samples)
            of_mass = mass * (np.eye(3)[k] - pi[b, n])
            of_y = slope(at_rest[None])[0, n] @ (np.diag(y) - np.outer(y, y)) / TEMPERATURE
            gradient[b, n] += (of_mass * (f_mode - f_rest) + (1 - mass) * of_y) / num_samples
    return value, gradient


@pytest.mark.parametrize("straight_through", [False, True])
@pytest.mark.parametrize("num_samples", [1, 3])
def test_rao_blackwell_takes_the_mode_of_each_variable_exactly_and_relaxes_the_rest(num_samples, straight_through):
    estimator = GeneralizedGumbelSoftmax(TEMPERATURE, num_samples, straight_through, rao_blackwell=True)
    estimate, gradient = draw(estimator)
    value, expected = rao_blackwell_by_hand(num_samples, straight_through)
    np.testing.assert_allclose(estimate.value, value, rtol=1e-9)
    np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-12)


def test_rao_blackwell_s_gradient_for_what_the_cost_closes_over_is_that_of_the_value_itself():
    scale = tf.constant(1.0, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(scale)
        estimate = GeneralizedGumbelSoftmax(rao_blackwell=True, num_samples=2).estimate(
            ProductCategorical(LOGITS), lambda z: scale * cost(z), seed=SEED
        )
    np.testing.assert_allclose(tape.gradient(estimate.value, scale), estimate.value.numpy().sum(), rtol=1e-12)


def test_rao_blackwell_evaluates_the_cost_at_two_points_for_each_variable_and_sample_in_one_call():
    shapes = []

    def counted(z):
        shapes.append(tuple(z.shape))
        return cost(z)

    estimator = GeneralizedGumbelSoftmax(num_samples=3, rao_blackwell=True)
    estimate = estimator.estimate(ProductCategorical(LOGITS), counted, seed=SEED)
    assert shapes == [(12, 4, 2, 3)]
    assert estimate.sample.shape == (12, 4, 2, 3)


@pytest.mark.parametrize("temperature", [0.1, 5.0])
def test_rao_blackwell_is_exact_in_each_draw_for_one_variable_of_two_categories(temperature):
    problem = random_problem(cubic, 1, 2)
    estimator = GeneralizedGumbelSoftmax(temperature, rao_blackwell=True)
    gradient = estimate_and_gradient(estimator, cubic, *replicated(problem, 20))[1]
    np.testing.assert_allclose(gradient, np.tile(problem.gradient(), (20, 1)), rtol=1e-9, atol=1e-12)


def gradients_of_rates(estimator, rates, replicates):
    rate = tf.constant(np.broadcast_to(rates, (replicates, len(rates))))
    with tf.GradientTape() as tape:
        tape.watch(rate)
        q = Truncated(tfd.Poisson(rate), low=0, high=8)
        value = estimator.estimate(q, lambda z: (tf.reduce_sum(z, axis=-1) - 1.5) ** 2, seed=SEED).value
    return tape.gradient(value, rate).numpy()


def bias_error_and_variance(estimator, rates, replicates=50_000):
    draws = gradients_of_rates(estimator, rates, replicates)
    exact = gradients_of_rates(Enumeration(), rates, 1)[0]
    error = np.sqrt(draws.var(axis=0).sum() / replicates)
    return np.linalg.norm(draws.mean(axis=0) - exact), error, draws.var(axis=0).sum()


@pytest.mark.parametrize("rates", [[2.3], [0.7, 2.3]], ids=["one", "two"])
def test_rao_blackwell_s_bias_for_poisson_rates_vanishes_with_the_temperature(rates):
    biases, errors, _ = zip(
        *(bias_error_and_variance(GeneralizedGumbelSoftmax(t, rao_blackwell=True), rates) for t in (4.0, 1.0, 0.1)),
        strict=True,
    )
    assert (-np.diff(biases) > 4.5 * np.hypot(errors[1:], errors[:-1])).all(), (biases, errors)
    assert biases[-1] < 0.02 * biases[0] + 4.5 * errors[-1]


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("rates", [[2.3], [0.7, 2.3]], ids=["one", "two"])
def test_rao_blackwell_has_less_variance_for_poisson_rates(rates, temperature):
    plain = bias_error_and_variance(GeneralizedGumbelSoftmax(temperature), rates)
    conditioned = bias_error_and_variance(GeneralizedGumbelSoftmax(temperature, rao_blackwell=True), rates)
    assert conditioned[2] < 0.9 * plain[2]


@pytest.mark.parametrize(("rate", "pays"), [(0.3, True), (2.3, False)])
def test_rao_blackwell_beats_two_plain_samples_which_cost_as_much_where_the_mode_is_heavy(rate, pays):
    pair = bias_error_and_variance(GeneralizedGumbelSoftmax(0.5, num_samples=2), [rate])
    conditioned = bias_error_and_variance(GeneralizedGumbelSoftmax(0.5, rao_blackwell=True), [rate])
    assert (conditioned[2] < pair[2]) == pays


@pytest.mark.parametrize(("power", "vanishes"), [(quadratic, True), (cubic, False)])
def test_straight_through_s_bias_vanishes_for_quadratic_costs_and_not_for_cubic_ones(power, vanishes):
    parameters = np.array([[[0.0, 1.0]], [[0.0, 0.0]]])
    problem, replicates = Problem(power, np.array([[0.0, 0.7]]), parameters), 400_000
    estimator = GeneralizedGumbelSoftmax(0.01, straight_through=True)
    draws = estimate_and_gradient(estimator, power, *replicated(problem, replicates))[1].numpy()[:, 1]
    bias, error = draws.mean() - problem.gradient()[1], draws.std() / np.sqrt(replicates)
    assert (abs(bias) < 0.005 + 4.5 * error) == vanishes, (bias, error)


@pytest.mark.parametrize("straight_through", [False, True])
def test_needs_are_those_of_where_the_cost_is_evaluated(straight_through):
    kind = "hard" if straight_through else "relaxed"
    assert GeneralizedGumbelSoftmax(straight_through=straight_through).needs == {kind, "gradient"}


def test_another_reduction_is_refused_with_rao_blackwell_alone():
    q = ProductCategorical(LOGITS)
    assert GeneralizedGumbelSoftmax().estimate(q, cost, seed=SEED, reduce=log_mean_exp).value.shape == (4,)
    with pytest.raises(InputError, match="supports only the mean over samples as `reduce`"):
        GeneralizedGumbelSoftmax(rao_blackwell=True).estimate(q, cost, seed=SEED, reduce=log_mean_exp)
