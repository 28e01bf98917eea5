"""ARM and DisARM beside each other: the formulas of the papers, and that one is the other's conditional expectation."""

import functools
import itertools

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.estimators.problems import COSTS, SEED, estimate_and_gradient, quadratic, random_problem, replicated
from tfdiscrete.distributions import ProductBernoulli
from tfdiscrete.estimators import ARM, DisARM
from tfdiscrete.ops import uniform

SIZES = [(1, 2), (3, 2), (1, 3), (3, 3), (1, 7), (3, 7)]
DRAWS = 20_000


def codes_of(bits):
    """The first bit that is 1: `[..., K-1]` to one-hot `[..., K]`."""
    return np.eye(bits.shape[-1] + 1)[np.argmax(np.append(bits, np.ones_like(bits[..., :1]), axis=-1), axis=-1)]


def of_numpy(cls, problem, num_samples, batch, keep_decided=False):
    """The gradient for the logits, `[B, N, K]`, bit by bit."""
    latents, categories = problem.logits.shape
    pi = scipy.special.softmax(problem.logits, axis=-1)
    left = np.cumsum(pi[:, ::-1], axis=-1)[:, ::-1]
    a = np.log(pi[:, :-1]) - np.log(left[:, 1:])
    u = uniform([num_samples, batch, latents, categories - 1], SEED, dtype=tf.float64).numpy()
    b, mirrored = (u > scipy.special.expit(-a)).astype(float), (u < scipy.special.expit(a)).astype(float)
    z, z_mirrored = codes_of(b), codes_of(mirrored)
    parameters = np.broadcast_to(problem.parameters, (batch, *problem.parameters.shape))
    difference = problem.cost(np, z, parameters) - problem.cost(np, z_mirrored, parameters)
    of_disarm = 0.5 * (-1.0) ** mirrored * (b != mirrored) * scipy.special.expit(np.abs(a))
    weights = u - 0.5 if cls is ARM else of_disarm
    gradient = np.zeros((batch, latents, categories))
    for i in range(categories - 1):
        undecided = (z[..., :i].sum(-1) == 0) | (z_mirrored[..., :i].sum(-1) == 0) | keep_decided
        of_bit = (difference[..., None] * weights[..., i] * undecided).mean(axis=0)
        gradient[..., i] += of_bit
        gradient[..., i + 1 :] -= of_bit[..., None] * pi[:, i + 1 :] / left[:, i + 1, None]
    return gradient


@functools.cache
def draws(cls, cost, latents, categories):
    """The estimate, and gradients `[R, coordinates]`, of the same noise for both classes."""
    return estimate_and_gradient(cls(), cost, *replicated(random_problem(cost, latents, categories), DRAWS))


@pytest.mark.parametrize("num_samples", [1, 3])
@pytest.mark.parametrize(("latents", "categories"), SIZES)
@pytest.mark.parametrize("cls", [ARM, DisARM])
def test_gradient_is_the_paper_s(cls, latents, categories, num_samples):
    problem = random_problem(quadratic, latents, categories)
    _, gradient = estimate_and_gradient(cls(num_samples), quadratic, *replicated(problem, 50))
    expected = of_numpy(cls, problem, num_samples, 50)
    of_logits = gradient[:, : latents * categories]
    np.testing.assert_allclose(of_logits, expected.reshape(50, -1), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("cls", [ARM, DisARM])
def test_terms_of_bits_that_follow_both_codes_have_no_expectation_and_only_add_variance(cls):
    problem = random_problem(quadratic, 2, 6)
    short, full = (of_numpy(cls, problem, 1, DRAWS, keep_decided) for keep_decided in (False, True))
    difference = (full - short).reshape(DRAWS, -1)
    assert (np.abs(difference.mean(axis=0)) < 4.5 * difference.std(axis=0) / np.sqrt(DRAWS) + 1e-12).all()
    assert full.var(axis=0).sum() > 1.02 * short.var(axis=0).sum()


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize(("latents", "categories"), SIZES)
def test_variance_of_disarm_is_at_or_below_that_of_arm(cost, latents, categories):
    coordinates = latents * categories
    arm, disarm = (draws(cls, cost, latents, categories)[1].numpy()[:, :coordinates] for cls in (ARM, DisARM))
    # Of each coordinate, but for the error of 20,000 draws.
    assert (disarm.var(axis=0) <= 1.05 * arm.var(axis=0)).all()
    assert disarm.var(axis=0).sum() < arm.var(axis=0).sum()


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("categories", [2, 3, 7])
def test_disarm_is_the_mean_of_arm_given_both_codes(cost, categories):
    (estimate, arm), (same, disarm) = (draws(cls, cost, 1, categories) for cls in (ARM, DisARM))
    np.testing.assert_array_equal(estimate.sample, same.sample)
    first, second = np.argmax(estimate.sample, axis=-1)[:, :, 0]
    difference = (arm - disarm).numpy()[:, :categories]
    pairs = itertools.permutations(range(categories), 2)
    sizes = []
    for pair in pairs:
        group = difference[(first == pair[0]) & (second == pair[1])]
        sizes.append(len(group))
        if len(group) >= 100:
            bound = 4.5 * group.std(axis=0, ddof=1) / np.sqrt(len(group)) + 1e-12
            assert (np.abs(group.mean(axis=0)) < bound).all(), pair
    assert max(sizes) >= 100
    np.testing.assert_allclose(difference[first == second], 0.0, atol=1e-12)


@pytest.mark.parametrize("a", [-3.0, 0.0, 0.4, 2.0])
def test_weight_of_disarm_is_the_mean_of_arm_s_over_the_noise_that_gives_the_bits(a):
    u = (np.arange(400_000) + 0.5) / 400_000
    b, mirrored = u > scipy.special.expit(-a), u < scipy.special.expit(a)
    bit_logits = tf.constant([a], tf.float64)
    for pair in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        chosen = (b == pair[0]) & (mirrored == pair[1])
        if chosen.any():
            bits = [tf.constant([bit], tf.float64) for bit in pair]
            weight = DisARM()._weights(None, *bits, bit_logits).numpy()[0]
            arms = ARM()._weights(tf.constant(u[chosen]), *bits, bit_logits).numpy()
            assert weight == pytest.approx(arms.mean(), abs=1e-5)


def test_for_a_bit_the_order_of_the_categories_does_not_matter():
    problem = random_problem(quadratic, 2, 2)
    logits, parameters = replicated(problem, DRAWS)
    variances = [
        estimate_and_gradient(DisARM(), quadratic, logits[..., order], parameters[..., order])[1]
        .numpy()[:, place]
        .var()
        for order, place in (([0, 1], 0), ([1, 0], 1))
    ]
    assert variances[0] == pytest.approx(variances[1], rel=0.05)


def test_bernoulli_variables_get_the_formula_of_the_paper():
    logits = np.random.default_rng(0).normal(size=(50, 4))
    weights = np.array([1.0, -2.0, 0.5, 3.0])
    log_odds = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(log_odds)
        estimate = DisARM().estimate(
            ProductBernoulli(log_odds), lambda z: (tf.linalg.matvec(z, weights) - 0.4) ** 2, seed=SEED
        )
    b, mirrored = estimate.sample.numpy()
    difference = (b @ weights - 0.4) ** 2 - (mirrored @ weights - 0.4) ** 2
    expected = 0.5 * difference[:, None] * (-1.0) ** mirrored * (b != mirrored) * scipy.special.expit(np.abs(logits))
    np.testing.assert_allclose(tape.gradient(estimate.value, log_odds), expected, rtol=1e-9, atol=1e-12)
