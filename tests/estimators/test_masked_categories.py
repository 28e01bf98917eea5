"""Categories of a logit of -inf, which cannot occur: as if they were not there, for every estimator."""

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import estimators
from tfdiscrete.distributions import Family, ProductBernoulli, ProductCategorical
from tfdiscrete.estimators import Enumeration

SEED = [3, 4]
NAMES = sorted(name for name, cls in estimators.REGISTRY.items() if cls.takes is Family)
MASKS = {"last": [3], "first": [0], "two in front": [0, 1], "two behind": [2, 3], "all but one": [0, 1, 3]}
WEIGHTS = np.random.default_rng(0).normal(size=(5, 2, 4))


def cost(z):
    return tf.reduce_sum(z * WEIGHTS, axis=[-2, -1]) ** 2 + tf.reduce_prod(z[..., 2] + 0.5, axis=-1)


def estimated(name, logits):
    estimator, logits = estimators.get(name), tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = estimator.estimate(ProductCategorical(logits), cost, seed=SEED, context=tf.constant(WEIGHTS)).value
    return value.numpy(), tape.gradient(value, logits).numpy()


def logits_with(mask, masked_as):
    logits = np.random.default_rng(1).normal(size=(5, 2, 4))
    logits[:, 0, MASKS[mask]] = masked_as
    return logits


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", NAMES)
def test_masked_categories_are_as_very_unlikely_ones(name, mask):
    value, gradient = estimated(name, logits_with(mask, -np.inf))
    expected_value, expected = estimated(name, logits_with(mask, -1e4))
    np.testing.assert_allclose(value, expected_value, rtol=1e-9)
    expected[:, 0, MASKS[mask]] = 0.0  # of ARM noise, for what is not masked
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-12)
    assert gradient[:, 1].any()


def test_the_sum_over_all_codes_is_that_over_those_which_can_occur():
    logits = logits_with("two behind", -np.inf)
    value = Enumeration().estimate(ProductCategorical(logits), cost, seed=SEED).value
    pi = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    expected = np.zeros(5)
    for i, j in np.ndindex(2, 4):
        z = np.zeros((1, 5, 2, 4))
        z[..., 0, i] = z[..., 1, j] = 1.0
        expected += pi[:, 0, i] * pi[:, 1, j] * cost(z)[0]
    np.testing.assert_allclose(value, expected, rtol=1e-12)


def test_entropy_divergence_and_log_probability_are_those_of_the_possible_categories():
    logits = np.random.default_rng(1).normal(size=(5, 2, 4))
    masked = np.where(np.arange(4) > 1, -np.inf, logits)
    q, few = ProductCategorical(tf.constant(masked)), ProductCategorical(logits[..., :2])
    p, few_p = (ProductCategorical(tf.zeros([2, k], tf.float64)) for k in (4, 2))
    z = np.eye(4)[[[0, 1]] * 5]
    np.testing.assert_allclose(q.entropy(), few.entropy(), rtol=1e-12)
    np.testing.assert_allclose(q.log_prob(z), few.log_prob(z[..., :2]), rtol=1e-12)
    np.testing.assert_allclose(q.kl_divergence(p), few.kl_divergence(few_p) + 2.0 * np.log(2.0), rtol=1e-12)
    assert (np.exp(q.log_prob(np.eye(4)[[[0, 3]] * 5])) == 0.0).all()


def test_certain_bits_have_no_entropy_and_a_finite_gradient():
    log_odds = tf.constant([[np.inf, -np.inf, 0.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(log_odds)
        q = ProductBernoulli(log_odds)
        entropy, rate = q.entropy(), q.kl_divergence(ProductBernoulli(tf.zeros([3], tf.float64)))
        total = tf.reduce_sum(entropy + rate + q.log_prob([[1.0, 0.0, 1.0]]))
    np.testing.assert_allclose(entropy, [np.log(2.0)], rtol=1e-12)
    np.testing.assert_allclose(rate, [2.0 * np.log(2.0)], rtol=1e-12)
    np.testing.assert_allclose(tape.gradient(total, log_odds), [[0.0, 0.0, 0.5]], atol=1e-12)
