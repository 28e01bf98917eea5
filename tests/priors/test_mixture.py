import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.priors.arbitrary import all_codes, arbitrary, build, make_family
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.priors import Learned, Mixture
from tfdiscrete.priors.finite_mixture import log_prob_of_each


def descend(prior, loss, steps, rate):
    for _ in range(steps):
        with tf.GradientTape() as tape:
            value = loss()
        weights = prior.trainable_variables
        for weight, gradient in zip(weights, tape.gradient(value, [w.value for w in weights]), strict=True):
            weight.assign_sub(rate * gradient)
    return float(value)


@pytest.mark.parametrize("family", ["categorical", "gaussian"])
def test_one_component_is_trained_as_the_learned_prior(family):
    family = make_family(family)
    one, learned = build(Mixture(1), family), build(Learned(), family)
    z = learned.sample(20, [0, 1]) * 0.7
    for steps in (1, 5):
        np.testing.assert_allclose(one.log_prob(z), learned.log_prob(z), rtol=1e-5)
        losses = [
            descend(prior, lambda prior=prior: -tf.reduce_mean(prior.log_prob(z)), steps, 0.3)
            for prior in (one, learned)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_log_prob_is_that_of_the_weighted_components_on_the_whole_simplex():
    family = make_family("categorical")
    prior = arbitrary("mixture", family)
    logits, parameters = (np.asarray(weight, np.float64) for weight in prior.weights)
    y = np.random.default_rng(0).dirichlet([0.5] * 3, size=(7, 5, 3))
    each = (y[:, :, None] * scipy.special.log_softmax(parameters, axis=-1)).sum((-2, -1))
    expected = scipy.special.logsumexp(scipy.special.log_softmax(logits) + each, axis=-1)
    np.testing.assert_allclose(prior.log_prob(tf.constant(y, tf.float32)), expected, rtol=1e-5)


@pytest.mark.parametrize("family", ["categorical", "explicit counts", "gaussian"])
def test_components_begin_apart_with_the_family_s_own_prior_as_their_mean(family):
    family = make_family(family)
    parameters = build(Mixture(6, seed=2), family).parameters().numpy()
    np.testing.assert_allclose(parameters.mean(0), family.prior_parameters(), atol=1e-6)
    distances = np.abs(parameters[:, None] - parameters).max((-2, -1)) + np.eye(6)
    assert distances.min() > 0.1
    np.testing.assert_array_equal(build(Mixture(6, seed=2), family).parameters(), parameters)
    assert (build(Mixture(6, seed=3), family).parameters().numpy() != parameters).all()


def test_it_learns_variables_that_depend_on_each_other():
    family = make_family("categorical")
    z = tf.constant(np.eye(3)[np.repeat([[0, 0, 0], [1, 1, 1], [2, 2, 2]], 3, axis=0)], tf.float32)
    losses = [
        descend(prior, lambda prior=prior: -tf.reduce_mean(prior.log_prob(z)), 60, 3.0)
        for prior in (build(Mixture(4), family), build(Learned(), family))
    ]
    assert losses[0] < np.log(3) + 0.2
    assert losses[1] > 3 * np.log(3) - 0.01


def test_each_component_s_log_prob_and_gradient_are_those_of_its_law():
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(scale=5.0, size=(50, 4, 3)), tf.float32)
    z = tf.constant(np.eye(3)[rng.integers(3, size=(2, 30, 4))], tf.float32)
    weight = tf.constant(rng.normal(size=(2, 30, 50)), tf.float32)
    results = []
    for each in (log_prob_of_each, lambda law, z: law.log_prob(z[..., None, :, :])):
        with tf.GradientTape() as tape:
            tape.watch([logits, z])
            log_prob = each(ProductCategorical(logits), z)
            loss = tf.reduce_sum(weight * log_prob)
        results.append([log_prob, *tape.gradient(loss, [logits, z])])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_mixture_of_all_codes_scores_the_rarest_of_them():
    family = make_family("bernoulli")
    prior = build(Mixture(2), family)
    prior.set_weights([np.zeros(2), np.array([[[60.0]] * 3, [[-60.0]] * 3])])
    codes = all_codes(family)
    log_prob = prior.log_prob(codes).numpy()
    np.testing.assert_allclose(log_prob[[0, -1]], -np.log(2), rtol=1e-5)
    np.testing.assert_allclose(np.sort(log_prob)[:6], -60.0, atol=1.5)


@pytest.mark.parametrize("wrong", [{"num_components": 0}, {"num_components": 2.5}, {"seed": -1}])
def test_arguments_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=f"{name} must be an integer of at least"):
        Mixture(**wrong)
