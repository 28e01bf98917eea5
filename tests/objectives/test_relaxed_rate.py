"""The densities of the relaxed samples, against TFP's, quadrature, and the closed form."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tests.objectives.conftest import assert_mean_is
from tfdiscrete import InputError, estimators, families, priors
from tfdiscrete.distributions import ProductCategorical, ProductInvertibleGaussian
from tfdiscrete.objectives import ELBO, ImportanceWeighted, relaxed_elbo
from tfdiscrete.objectives.relaxed_rate import relaxed_log_ratio, relaxes

tfd = tfp.distributions
SEED = [1, 2]


class Point:
    """A law in the place of a prior."""

    has_analytic_kl = True

    def __init__(self, law):
        self.law = law

    def distribution(self):
        return self.law

    def kl_divergence(self, q):
        return tfd.kl_divergence(q, self.law)


@pytest.mark.parametrize("prior_temperature", [None, 0.5])
def test_ratio_of_gumbel_softmax_samples_is_that_of_tfp_s_densities(logits, prior_temperature):
    q, p = ProductCategorical(tf.constant(logits)), ProductCategorical(tf.constant(logits[0][::-1].copy()))
    found = relaxed_log_ratio(
        q, Point(p), seed=SEED, num_samples=4, temperature=0.7, prior_temperature=prior_temperature
    )
    log_y = q.relax(SEED, 4, 0.7)
    log_q, log_p = (
        tfd.ExpRelaxedOneHotCategorical(tf.constant(tau, tf.float64), logits=law.logits).log_prob(log_y)
        for law, tau in ((q, 0.7), (p, prior_temperature or 0.7))
    )
    np.testing.assert_allclose(found, tf.reduce_sum(log_q - log_p, axis=-1), rtol=1e-9)


def test_ratio_is_finite_where_the_samples_round_to_corners(logits):
    q = ProductCategorical(tf.constant(logits, tf.float32))
    assert (tf.exp(q.relax(SEED, 100, 1e-3)) == 0.0).numpy().any()
    prior = Point(ProductCategorical(tf.zeros([2, 3])))
    assert np.isfinite(relaxed_log_ratio(q, prior, seed=SEED, num_samples=100, temperature=1e-3)).all()


@pytest.mark.parametrize("flow", ["none", "planar", "stick_breaking"])
def test_ratio_of_invertible_gaussians_averages_to_their_kl_with_any_flow(flow):
    family = families.InvertibleGaussian(4, flow)
    family.build((None, 2, 6))
    prior = priors.Fixed()
    prior.build(family)
    parameters = np.broadcast_to(np.random.default_rng(0).normal(size=(2, 6)) / 2, (20_000, 2, 6))
    q = family.distribution(tf.constant(parameters, tf.float32))
    found = relaxed_log_ratio(q, prior, seed=SEED, num_samples=1, temperature=0.3)[0]
    assert found.shape == [20_000]
    assert_mean_is(prior.kl_divergence(q)[0], found)


@pytest.mark.parametrize("flow", ["none", "planar"])
def test_sampled_kl_of_invertible_gaussians_in_the_relaxed_elbo_averages_to_the_analytic_one(flow):
    family = families.InvertibleGaussian(4, flow)
    family.build((None, 2, 6))
    prior = priors.Mixture(1)  # as its only component, but without a closed form
    prior.build(family)
    one = priors.Fixed()
    one.build(family)
    parameters = np.broadcast_to(np.random.default_rng(0).normal(size=(2, 6)) / 2, (20_000, 2, 6))
    q = family.distribution(tf.constant(parameters, tf.float32))
    options = {"seed": SEED, "num_samples": 1, "temperature": 0.3}
    sampled, exact = (
        relaxed_elbo(q, p, lambda z: tf.reduce_sum(z[..., 0], -1), kl=kl, **options)
        for p, kl in ((prior, "sampled"), (one, "analytic"))
    )
    assert_mean_is(0.0, sampled - exact)


def test_ratio_of_invertible_gaussians_is_that_of_the_densities_on_the_simplex():
    rng = np.random.default_rng(0)
    q, p = (
        ProductInvertibleGaussian(rng.normal(size=shape), rng.uniform(0.5, 2.0, size=shape), temperature=0.6)
        for shape in ((5, 2, 3), (2, 3))
    )
    log_y = q.relax(SEED, 4, 0.6)
    found = relaxed_log_ratio(q, Point(p), seed=SEED, num_samples=4, temperature=0.6)
    np.testing.assert_allclose(found, q.log_prob_of_log(log_y) - p.log_prob_of_log(log_y), rtol=1e-8)


def log_likelihood(z):
    """Of one variable of two categories, with z the weight of the first."""
    return -2.0 * tf.square(z[..., 0, 0] - 0.2) - 1.0


def evidence_of_relaxed(density):
    """int p(x|y) p~(y) dy, on the line of log-odds t."""

    def integrand(t):
        return np.exp(-2.0 * (scipy.special.expit(t) - 0.2) ** 2 - 1.0) * density(t)

    return scipy.integrate.quad(integrand, -60.0, 60.0, limit=500)[0]


def concrete(log_odds, tau):
    """The density of (log odds + logistic) / tau."""
    return lambda t: tau * scipy.stats.logistic.pdf(tau * t - log_odds)


def gumbel_problem():
    q = ProductCategorical(tf.constant(np.broadcast_to([[0.5, 0.0]], (20_000, 1, 2))))
    return q, Point(ProductCategorical(tf.constant([[-0.3, 0.0]], tf.float64)))


class TestBoundOfTheRelaxedModel:
    @pytest.mark.parametrize("prior_temperature", [None, 0.5])
    @pytest.mark.parametrize("num_samples", [1, 6])
    def test_weights_of_gumbel_softmax_samples_average_to_the_relaxed_evidence(self, num_samples, prior_temperature):
        estimator = estimators.GumbelSoftmax(0.8, num_samples=num_samples)
        objective = ImportanceWeighted(prior_temperature=prior_temperature)
        loss = objective(*gumbel_problem(), log_likelihood, estimator, seed=SEED).loss
        exact = evidence_of_relaxed(concrete(-0.3, prior_temperature or 0.8))
        assert_mean_is(exact, np.exp(-loss))
        hard = scipy.special.expit(-0.3) * np.exp(-2 * 0.64 - 1) + scipy.special.expit(0.3) * np.exp(-2 * 0.04 - 1)
        assert abs(exact - hard) > 0.01

    def test_weights_of_invertible_gaussians_average_to_the_relaxed_evidence(self):
        def law(loc, scale, *batch):
            parameters = (tf.constant(np.full((*batch, 1, 1), each)) for each in (loc, scale))
            return ProductInvertibleGaussian(*parameters)

        estimator = estimators.InvertibleGaussian(0.8, num_samples=3)
        problem = law(0.3, 0.7, 20_000), Point(law(-0.2, 1.1))
        loss = ImportanceWeighted()(*problem, log_likelihood, estimator, seed=SEED).loss
        exact = evidence_of_relaxed(scipy.stats.norm(-0.2 / 0.8, 1.1 / 0.8).pdf)
        assert_mean_is(exact, np.exp(-loss))

    def test_elbo_with_the_relaxed_kl_is_below_it(self):
        q, prior = gumbel_problem()
        exact = np.log(evidence_of_relaxed(concrete(-0.3, 0.8)))
        relaxed = ELBO()(q, prior, log_likelihood, estimators.GumbelSoftmax(0.8), seed=SEED, kl="relaxed")
        error = np.std(relaxed.loss) / np.sqrt(20_000)
        assert -np.mean(relaxed.loss) < exact - 4.5 * error
        same = relaxed_elbo(q, prior, log_likelihood, seed=SEED, num_samples=1, temperature=0.8, kl="relaxed")
        np.testing.assert_allclose(same, -relaxed.loss, rtol=1e-6)


def test_just_the_estimators_at_relaxed_samples_alone_take_it():
    assert {name for name in estimators.REGISTRY if relaxes(estimators.get(name))} == {
        "generalized_gumbel_softmax",
        "gumbel_softmax",
        "invertible_gaussian",
    }
    assert not relaxes(estimators.InvertibleGaussian(straight_through=True))
    assert not relaxes(estimators.GeneralizedGumbelSoftmax(rao_blackwell=True))


def test_a_posterior_or_prior_without_a_density_is_refused(model, logits):
    class Bare(priors.Prior):
        def log_prob(self, z):
            return tf.zeros(tf.shape(z)[:-2], z.dtype)

        def sample(self, num_samples, seed):
            raise NotImplementedError

    estimator, q = estimators.GumbelSoftmax(), ProductCategorical(tf.constant(logits))
    with pytest.raises(InputError, match=r"which priors of independent variables .* Bare has not\. Use kl='sampled'"):
        ELBO()(q, Bare(), model.log_likelihood, estimator, seed=SEED, kl="relaxed")
    with pytest.raises(InputError, match=r"needs a posterior whose relaxation has a density"):
        relaxed_log_ratio(tfd.Normal(0.0, 1.0), model.prior(), seed=SEED, num_samples=1, temperature=1.0)
