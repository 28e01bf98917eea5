"""Objectives that weigh the rate, against their definitions in NumPy and these definitions' finite differences."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.conftest import PRIOR, central_difference
from tfdiscrete import InputError, estimators, families, priors
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import Enumeration
from tfdiscrete.objectives import ELBO, BetaELBO, CapacityELBO, FreeBits
from tfdiscrete.objectives.rate_per_latent import rate_per_latent

SEED = [1, 2]
SCHEDULE = keras.optimizers.schedules.PolynomialDecay(0.0, decay_steps=10, end_learning_rate=2.0)


def distortion(model, logits):
    return -model.elbo(logits) - model.rate(logits)


def rates(logits):
    """KL of each variable, [B, 2]."""
    pi = np.exp(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))
    return (pi * np.log(pi / PRIOR)).sum(-1)


def mean_loss_and_gradient(objective, model, logits, estimator=None, **options):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        found = objective(
            ProductCategorical(logits),
            model.double_prior(),
            model.log_likelihood,
            estimator or Enumeration(),
            seed=SEED,
            **options,
        )
        loss = tf.reduce_mean(found.loss)
    return loss.numpy(), tape.gradient(loss, logits).numpy(), found


def assert_is(definition, objective, model, logits, **options):
    """Value and gradient of the batch's mean loss are those of `definition(model, logits)`."""
    loss, gradient, found = mean_loss_and_gradient(objective, model, logits, **options)
    np.testing.assert_allclose(loss, definition(model, logits), rtol=1e-6)
    expected = central_difference(lambda at: definition(model, at), logits)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.rate, model.rate(logits), rtol=1e-6)
    np.testing.assert_allclose(found.distortion, distortion(model, logits), rtol=1e-6)


class TestBeta:
    @pytest.mark.parametrize("kl", ["analytic", "sampled"])
    @pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
    def test_loss_is_distortion_plus_beta_times_the_rate(self, model, logits, beta, kl):
        def definition(model, logits):
            return np.mean(distortion(model, logits) + beta * model.rate(logits))

        assert_is(definition, BetaELBO(beta), model, logits, kl=kl)

    @pytest.mark.parametrize("kl", ["analytic", "sampled"])
    def test_of_one_is_the_elbo(self, model, logits, kl):
        one, elbo = (mean_loss_and_gradient(each, model, logits, kl=kl) for each in (BetaELBO(1.0), ELBO()))
        assert one[0] == elbo[0]
        np.testing.assert_array_equal(one[1], elbo[1])

    def test_schedule_rises_with_the_estimator_s_updates(self, model, logits):
        estimator = Enumeration()
        for step in range(12):
            loss, _, found = mean_loss_and_gradient(BetaELBO(SCHEDULE), model, logits, estimator)
            expected = np.mean(distortion(model, logits) + min(step / 5, 2.0) * model.rate(logits))
            np.testing.assert_allclose(loss, expected, rtol=1e-6)
            estimator.update(found.estimate)

    def test_scheduled_weights_below_zero_count_as_zero(self, model, logits):
        falling = keras.optimizers.schedules.PolynomialDecay(-1.0, decay_steps=10, end_learning_rate=-2.0)
        loss = mean_loss_and_gradient(BetaELBO(falling), model, logits)[0]
        np.testing.assert_allclose(loss, distortion(model, logits).mean(), rtol=1e-6)


class TestCapacity:
    @pytest.mark.parametrize("weight", [0.0, 0.5, 30.0])
    @pytest.mark.parametrize("capacity", [0.0, 0.4, 3.0])
    def test_loss_is_distortion_plus_the_distance_of_the_mean_rate(self, model, logits, capacity, weight):
        def definition(model, logits):
            return distortion(model, logits).mean() + weight * abs(model.rate(logits).mean() - capacity)

        assert_is(definition, CapacityELBO(capacity, weight), model, logits)

    def test_capacity_between_the_examples_rates_is_the_batch_s(self, model, logits):
        rate = model.rate(logits)
        capacity = float(rate.mean()) + 0.01
        assert rate.min() < capacity < rate.max()
        loss = mean_loss_and_gradient(CapacityELBO(capacity, 10.0), model, logits)[0]
        np.testing.assert_allclose(loss, distortion(model, logits).mean() + 0.1, rtol=1e-5)

    def test_schedule_moves_the_capacity(self, model, logits):
        estimator = Enumeration()
        for _ in range(5):
            estimator.update(mean_loss_and_gradient(ELBO(), model, logits)[2].estimate)
        loss = mean_loss_and_gradient(CapacityELBO(SCHEDULE, 2.0), model, logits, estimator)[0]
        expected = distortion(model, logits).mean() + 2.0 * abs(model.rate(logits).mean() - 1.0)
        np.testing.assert_allclose(loss, expected, rtol=1e-6)


class TestFreeBits:
    @pytest.mark.parametrize("per", ["latent", 1, 2])
    @pytest.mark.parametrize("nats", [0.0, 0.3, 0.5, 2.0])
    def test_loss_is_distortion_plus_the_larger_of_each_group_s_rate_and_nats(self, model, logits, nats, per):
        def definition(model, logits):
            groups = rates(logits).reshape(5, -1, 1 if per == "latent" else per).sum(-1).mean(0)
            return distortion(model, logits).mean() + np.maximum(nats, groups).sum()

        assert_is(definition, FreeBits(nats, per), model, logits)

    def test_a_threshold_parts_the_two_variables(self, model, logits):
        first, second = rates(logits).mean(0)
        assert min(first, second) < 0.5 < max(first, second)

    def test_maximum_is_of_the_batch_and_not_of_each_example(self, model, logits):
        nats = float(rates(logits)[:, 0].mean())
        loss = mean_loss_and_gradient(FreeBits(nats), model, logits)[0]
        each = distortion(model, logits).mean() + np.maximum(nats, rates(logits)).mean(0).sum()
        assert loss < each - 1e-3

    def test_groups_that_do_not_divide_the_variables_are_refused(self, model, logits):
        with pytest.raises(InputError, match=r"per=3 variables must divide their number. Received: 2 variables"):
            mean_loss_and_gradient(FreeBits(0.5, 3), model, logits)

    def test_a_prior_of_dependent_variables_is_refused(self, model, logits):
        class Coupled(priors.Prior):
            has_analytic_kl = True

            def log_prob(self, z):
                raise NotImplementedError

            def sample(self, num_samples, seed):
                raise NotImplementedError

        q = ProductCategorical(tf.constant(logits))
        with pytest.raises(InputError, match=r"needs a prior of independent variables.*Coupled with .*Categorical"):
            FreeBits()(q, Coupled(), model.log_likelihood, Enumeration(), seed=SEED)


@pytest.mark.parametrize(
    "family",
    [families.Categorical(3), families.InvertibleGaussian(3, "planar"), families.Gaussian(), families.Bernoulli()],
    ids=lambda family: family.name,
)
def test_rates_of_the_variables_sum_to_the_rate_for_every_family(family):
    shape = (5, 4, family.num_parameters)
    family.build((None, *shape[1:]))
    prior = priors.Learned()
    prior.build(family)
    q = family.distribution(tf.constant(np.random.default_rng(0).normal(size=shape), tf.float32))
    each = rate_per_latent(q, prior)
    assert each.shape == [5, 4]
    np.testing.assert_allclose(tf.reduce_sum(each, axis=-1), prior.kl_divergence(q), rtol=1e-5)


@pytest.mark.parametrize("cls", [CapacityELBO, FreeBits])
@pytest.mark.parametrize("kl", ["sampled", "relaxed"])
def test_what_is_not_linear_in_the_rate_needs_it_in_closed_form(model, logits, cls, kl):
    with pytest.raises(InputError, match=rf"{cls.__name__} takes kl in 'analytic' or 'auto'. Received: kl='{kl}'"):
        mean_loss_and_gradient(cls(), model, logits, estimators.GumbelSoftmax(), kl=kl)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BetaELBO(-1.0), r"beta must be a finite number of at least 0, or a keras.optimizers.schedules"),
        (lambda: BetaELBO("warm"), r"Received: beta='warm'"),
        (lambda: BetaELBO(True), r"Received: beta=True"),
        (lambda: CapacityELBO(float("nan")), r"capacity must be a finite number.*Received: capacity=nan"),
        (lambda: CapacityELBO(1.0, -2.0), r"weight must be .*Received: weight=-2.0"),
        (lambda: FreeBits(-0.1), r"nats must be .*Received: nats=-0.1"),
        (lambda: FreeBits(0.1, "group"), r"per must be 'latent' or the number .*Received: per='group'"),
        (lambda: FreeBits(0.1, 0), r"per must be an integer of at least 1"),
        (lambda: ELBO("yes"), r"sticking_the_landing must be True or False"),
        (lambda: ELBO(prior_temperature=0.0), r"prior_temperature must be a positive"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_free_bits_of_hard_samples_of_invertible_gaussians_are_those_of_their_probabilities():
    family = families.InvertibleGaussian(3)
    family.build((None, 2, 4))
    prior = priors.Learned()
    prior.build(family)
    parameters = np.random.default_rng(0).normal(size=(5, 2, 4)).astype("float32")
    q = family.hard(family.distribution(parameters))
    rates = rate_per_latent(q, prior)
    pi, p = (np.exp(np.asarray(law.log_probabilities)) for law in (q, prior.law_for(q)))
    np.testing.assert_allclose(rates, (pi * np.log(pi / p)).sum(-1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(rates, axis=-1), prior.kl_divergence(q), rtol=1e-5)
