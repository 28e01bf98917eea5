"""What ARM and DisARM share: categories as bits."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.estimators.problems import SEED
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import ARM, DisARM
from tfdiscrete.estimators.antithetic_bits import first_one, stick_breaking_logits
from tfdiscrete.ops import log_stick_breaking

BOTH = pytest.mark.parametrize("cls", [ARM, DisARM])


def random_logits(*shape, scale=2.0):
    return np.random.default_rng(0).normal(size=shape, scale=scale)


@pytest.mark.parametrize("categories", [2, 3, 4, 5, 8, 9, 100])
def test_bits_logits_are_the_log_odds_of_each_category_against_all_later_ones(categories):
    logits = random_logits(4, categories)
    pi = scipy.special.softmax(logits, axis=-1)
    expected = [np.log(pi[:, i]) - np.log(pi[:, i + 1 :].sum(axis=-1)) for i in range(categories - 1)]
    np.testing.assert_allclose(stick_breaking_logits(tf.constant(logits)), np.stack(expected, axis=-1), rtol=1e-9)


def test_of_two_categories_the_bit_s_logit_is_their_difference():
    logits = random_logits(4, 2)
    np.testing.assert_array_equal(stick_breaking_logits(tf.constant(logits))[..., 0], logits[:, 0] - logits[:, 1])


def test_breaking_the_stick_at_the_bits_logits_gives_the_probabilities_back():
    logits = random_logits(4, 7)
    log_pi = log_stick_breaking(stick_breaking_logits(tf.constant(logits)))
    np.testing.assert_allclose(log_pi, scipy.special.log_softmax(logits, axis=-1)[:, :-1], rtol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 2.0])
@pytest.mark.parametrize("categories", [2, 3, 6])
def test_jacobian_of_the_bits_logits_is_one_less_the_later_categories_shares(categories, scale):
    logits = tf.constant(random_logits(categories, scale=scale))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        bit_logits = stick_breaking_logits(logits)
    pi, expected = scipy.special.softmax(logits), np.zeros((categories - 1, categories))
    for i in range(categories - 1):
        expected[i, i] = 1.0
        expected[i, i + 1 :] = -pi[i + 1 :] / pi[i + 1 :].sum()
    np.testing.assert_allclose(tape.jacobian(bit_logits, logits), expected, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_logits_of_impossible_and_certain_categories_are_exact_and_their_gradient_finite(dtype):
    rows = np.array([[100.0, -100.0, 100.0, -100.0], [-1e9, -2.0, -1e9, -3.0], [0.0, 0.0, -1e9, -1e9]])
    logits = tf.constant(rows, dtype)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        bit_logits = stick_breaking_logits(logits)
    later = [scipy.special.logsumexp(rows[:, i + 1 :], axis=-1) for i in range(3)]
    np.testing.assert_allclose(bit_logits, rows[:, :-1] - np.stack(later, axis=-1), rtol=1e-6)
    assert np.isfinite(tape.gradient(bit_logits, logits)).all()


@pytest.mark.parametrize(
    ("bits", "place"), [([1, 0, 0], 0), ([1, 1, 1], 0), ([0, 1, 0], 1), ([0, 1, 1], 1), ([0, 0, 1], 2), ([0, 0, 0], 3)]
)
def test_category_is_the_first_bit_that_is_one_and_the_last_if_none_is(bits, place):
    np.testing.assert_array_equal(first_one(tf.constant(bits, tf.float32)), np.eye(4)[place])


@BOTH
@pytest.mark.parametrize("categories", [2, 3, 5])
def test_both_codes_of_a_pair_have_the_law_q_and_differ_more_often_than_two_independent_ones(cls, categories):
    logits, count = random_logits(categories, scale=1.0), 20_000
    q = ProductCategorical(tf.constant(np.broadcast_to(logits, (count, 1, categories))))
    sample = cls(num_samples=2).estimate(q, lambda z: z[..., 0, 0], seed=SEED).sample.numpy()[:, :, 0]
    pi = scipy.special.softmax(logits)
    error = np.abs(sample.mean(axis=1) - pi)
    assert sample.shape == (4, count, categories)
    assert (error < 4.5 * np.sqrt(pi * (1 - pi) / count)).all()
    mirrored_differ = (sample[:2] != sample[2:]).any(axis=-1).mean()
    pairs_differ = (sample[0] != sample[1]).any(axis=-1).mean()
    independent = 1 - np.sum(pi**2)
    bound = 4.5 * np.sqrt(independent / count)
    assert mirrored_differ > independent + bound
    assert abs(pairs_differ - independent) < bound


@BOTH
def test_value_is_the_mean_of_all_evaluations(cls):
    values = random_logits(2, 3)
    q = ProductCategorical(tf.constant(random_logits(5, 2, 3)))
    estimate = cls(num_samples=3).estimate(q, lambda z: tf.reduce_sum(z * values, axis=[-2, -1]), seed=SEED)
    expected = (estimate.sample.numpy() * values).sum((-2, -1))
    assert expected.shape == (6, 5)
    np.testing.assert_allclose(estimate.value, expected.mean(axis=0), rtol=1e-12)


@BOTH
def test_thousands_of_categories_are_drawn_and_differentiated(cls):
    logits = tf.constant(random_logits(3, 1, 4096), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        estimate = cls().estimate(ProductCategorical(logits), lambda z: z[..., 0, 5] - z[..., 0, 7], seed=SEED)
    assert np.isfinite(tape.gradient(estimate.value, logits)).all()
    np.testing.assert_array_equal(tf.reduce_sum(estimate.sample, axis=-1), np.ones((2, 3, 1)))
