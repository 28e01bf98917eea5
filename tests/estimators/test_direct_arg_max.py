"""Direct optimization through the arg max: against NumPy on its noise, and its bias in closed form."""

import itertools

import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp

from tests.estimators.problems import (
    COSTS,
    assert_mean_is,
    estimate_and_gradient,
    neural_network,
    quadratic,
    random_problem,
    replicated,
)
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical, Truncated
from tfdiscrete.estimators import DirectArgMax, Enumeration
from tfdiscrete.ops import gumbel_noise

SEED = [1, 2]
LOGITS = np.random.default_rng(0).normal(size=(4, 2, 3))
VALUES = np.random.default_rng(1).normal(size=(2, 3))
SIGNS = [1, -1, "both"]


def cost(z):
    return tf.reduce_sum(z * VALUES, axis=[-2, -1]) ** 2


def neighbours_of(np_cost, z):
    """f(z) with variable n set to category k, `[N, K]`."""
    table = np.empty(z.shape)
    for n, k in np.ndindex(*z.shape):
        changed = z.copy()
        changed[n] = np.eye(z.shape[-1])[k]
        table[n, k] = np_cost(changed)
    return table


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize("epsilon", [0.8, 2.0])
@pytest.mark.parametrize("sign", SIGNS)
def test_gradient_is_the_difference_of_two_arg_max_of_one_noise(sign, epsilon, num_samples):
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        estimate = DirectArgMax(epsilon, sign, num_samples).estimate(ProductCategorical(logits), cost, seed=SEED)
    epsilon = float(np.float32(epsilon))
    perturbed = LOGITS + gumbel_noise([num_samples, *LOGITS.shape], SEED, dtype=tf.float64).numpy()
    z = np.eye(3)[perturbed.argmax(-1)]
    np.testing.assert_array_equal(estimate.sample, z)
    np.testing.assert_allclose(estimate.value, cost(z).numpy().mean(axis=0), rtol=1e-12)
    expected = np.zeros_like(LOGITS)
    for s, b in np.ndindex(num_samples, 4):
        scores = epsilon * neighbours_of(lambda code: cost(code[None]).numpy()[0], z[s, b])
        up, down = (np.eye(3)[(perturbed[s, b] + change).argmax(-1)] for change in (scores, -scores))
        of_signs = {1: (up - z[s, b]) / epsilon, -1: (z[s, b] - down) / epsilon, "both": (up - down) / (2 * epsilon)}
        expected[b] += of_signs[sign] / num_samples
    assert np.abs(expected).max() > 0
    # Through the softmax a row's entries would sum to 0; these do already.
    np.testing.assert_allclose(tape.gradient(estimate.value, logits), expected, rtol=1e-9, atol=1e-12)


def expected_quotient(problem, epsilon, sign):
    """E over z of (softmax(phi_n + epsilon f_n) - softmax(phi_n)) / epsilon, `[N K]`, f_n with the others at z."""
    latents, categories = problem.logits.shape
    log_pi = scipy.special.log_softmax(problem.logits, axis=-1)
    total = np.zeros_like(problem.logits)
    for index in itertools.product(range(categories), repeat=latents):
        z = np.eye(categories)[list(index)]
        f = neighbours_of(lambda code: problem.cost(np, code[None, None], problem.parameters[None])[0, 0], z)
        up, down = (scipy.special.softmax(problem.logits + change, axis=-1) for change in (epsilon * f, -epsilon * f))
        pi = np.exp(log_pi)
        quotient = {1: up - pi, -1: pi - down, "both": (up - down) / 2}[sign] / epsilon
        total += np.exp((z * log_pi).sum()) * quotient
    return total.ravel()


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: cost.__name__)
@pytest.mark.parametrize("latents", [1, 3])
def test_gradient_averages_to_a_difference_quotient_of_the_softmax(latents, cost, sign):
    problem, epsilon = random_problem(cost, latents, 3), 0.5
    estimate, gradient = estimate_and_gradient(DirectArgMax(epsilon, sign), cost, *replicated(problem, 20_000))
    assert_mean_is(problem.value(), estimate.value)
    assert_mean_is(expected_quotient(problem, epsilon, sign), gradient[:, : 3 * latents])
    assert_mean_is(problem.gradient()[3 * latents :], gradient[:, 3 * latents :])


@pytest.mark.parametrize("sign", SIGNS)
def test_more_noises_have_the_same_mean_and_less_variance(sign):
    problem, epsilon = random_problem(quadratic, 3, 3), 0.1
    variances = []
    for num_noises in (1, 2, 8):
        estimator = DirectArgMax(epsilon, sign, num_noises=num_noises)
        gradient = estimate_and_gradient(estimator, quadratic, *replicated(problem, 20_000))[1][:, :9]
        assert_mean_is(expected_quotient(problem, epsilon, sign), gradient)
        variances.append(gradient.numpy().var(axis=0).sum())
    assert variances[1] < 0.7 * variances[0]
    assert variances[2] < 0.4 * variances[1]


def test_the_sample_does_not_depend_on_the_number_of_noises():
    samples = [
        DirectArgMax(num_noises=count).estimate(ProductCategorical(tf.constant(LOGITS)), cost, seed=SEED).sample
        for count in (1, 4)
    ]
    np.testing.assert_array_equal(*samples)


@pytest.mark.parametrize(("sign", "order"), [(1, 1), (-1, 1), ("both", 2)])
@pytest.mark.parametrize("latents", [1, 2, 3])
def test_that_quotient_goes_to_the_exact_gradient_for_any_number_of_variables(latents, sign, order):
    problem = random_problem(neural_network, latents, 3)
    exact = problem.gradient()[: 3 * latents]
    biases = [np.linalg.norm(expected_quotient(problem, e, sign) - exact) for e in (0.1, 0.01, 0.001)]
    np.testing.assert_allclose(np.divide(biases[1:], biases[:-1]), 0.1**order, rtol=0.3)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("latents", [1, 2])
def test_measured_bias_falls_with_epsilon(latents, sign):
    problem, replicates = random_problem(quadratic, latents, 3), 100_000
    exact, biases, errors = problem.gradient()[: 3 * latents], [], []
    for epsilon in (3.0, 1.0, 0.3):
        draws = estimate_and_gradient(DirectArgMax(epsilon, sign), quadratic, *replicated(problem, replicates))[1]
        draws = draws.numpy()[:, : 3 * latents]
        biases.append(np.linalg.norm(draws.mean(axis=0) - exact))
        errors.append(np.linalg.norm(draws.std(axis=0)) / np.sqrt(replicates))
    assert (-np.diff(biases) > 4.5 * np.hypot(errors[1:], errors[:-1])).all(), (biases, errors)
    assert biases[-1] < 0.5 * biases[0]


def test_gradient_of_truncated_rates_goes_to_the_exact_one():
    def gradient(estimator, replicates):
        rate = tf.constant(np.broadcast_to([0.7, 2.0], (replicates, 2)))
        with tf.GradientTape() as tape:
            tape.watch(rate)
            q = Truncated(tfp.distributions.Poisson(rate), low=0, high=5)
            value = estimator.estimate(q, lambda z: tf.reduce_sum(z - 1.5, axis=-1) ** 2, seed=SEED).value
        return tape.gradient(value, rate).numpy()

    draws, exact = gradient(DirectArgMax(0.02, "both"), 100_000), gradient(Enumeration(), 1)[0]
    assert_mean_is(exact, draws)


def test_a_cost_that_knows_its_neighbours_is_evaluated_once_and_gives_the_same():
    calls = []

    def quick(z):
        calls.append(z.shape[0])
        return cost(z)

    def neighbours(z):
        total = tf.reduce_sum(z * VALUES, axis=[-2, -1], keepdims=True)
        return (total - tf.reduce_sum(z * VALUES, axis=-1, keepdims=True) + VALUES) ** 2

    quick.neighbours = neighbours
    q, estimator = ProductCategorical(LOGITS), DirectArgMax(num_samples=2)
    results = [estimator.estimate(q, function, seed=SEED) for function in (quick, cost)]
    tf.nest.map_structure(np.testing.assert_array_equal, *results)
    assert calls == [2]


def test_evaluations_are_the_sample_and_every_other_code_of_one_variable():
    calls = []

    def counted(z):
        calls.append(z.shape[0])
        return cost(z)

    DirectArgMax(num_samples=3).estimate(ProductCategorical(LOGITS), counted, seed=SEED)
    assert calls == [3, 3 * 2 * 2]


@pytest.mark.parametrize("sign", [0, 2, "up", None, True, [1]], ids=str)
def test_another_sign_is_refused(sign):
    with pytest.raises(InputError, match="sign must be 1, -1 or 'both'. Received: sign="):
        DirectArgMax(sign=sign)


@pytest.mark.parametrize("sign", [1, -1, "both"])
def test_a_constant_added_to_the_cost_changes_no_gradient_even_in_float32(sign):
    logits = tf.constant(np.random.default_rng(0).normal(size=(50, 2, 3)), tf.float32)
    values = tf.constant(np.random.default_rng(1).integers(-8, 8, size=(2, 3)), tf.float32)

    def gradient(offset):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            q = ProductCategorical(logits)
            estimator = DirectArgMax(epsilon=0.1, sign=sign)
            cost = lambda z: tf.reduce_sum(z * values, axis=[-2, -1]) + offset  # noqa: E731
            value = estimator.estimate(q, cost, seed=[0, 1]).value
        return tape.gradient(value, logits)

    assert np.abs(gradient(0.0)).max() > 0
    np.testing.assert_array_equal(gradient(0.0), gradient(2.0**23))


@pytest.mark.parametrize("of_neighbours", [False, True])
def test_a_cost_that_is_nan_has_a_gradient_of_nan_where_no_value_can_be_looked_at(of_neighbours):
    bad = tf.constant([0.0, 0.0, np.nan])

    def nan_cost(z):
        # z_0 = e_2 alone, which the sample of the first example is not
        total = tf.reduce_sum(z, axis=[-2, -1])
        return (
            total + tf.reduce_sum(tf.math.multiply_no_nan(bad, z[..., 0, :]), axis=-1)
            if of_neighbours
            else total * np.nan
        )

    estimator = DirectArgMax()

    @tf.function
    def gradient(logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = estimator.estimate(ProductCategorical(logits), nan_cost, seed=[0, 1]).value
        return tape.gradient(value, logits)

    logits = tf.constant([[[9.0, 0.0, 0.0], [0.0, 0.0, 0.0]]])
    assert np.isnan(gradient(logits)).all()
