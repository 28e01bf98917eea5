import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError, estimators, priors
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import Enumeration, GumbelSoftmax
from tfdiscrete.objectives import negative_elbo

SEED = [1, 2]
KLS = ("analytic", "sampled")
# One of each kind: what holds for all of the registry is in tests/estimators/test_contract.py.
NAMES = ["enumeration", "gumbel_softmax", "rebar", "score_function", "straight_through_gumbel_softmax"]
UNBIASED = [name for name in NAMES if estimators.REGISTRY[name].unbiased]


class MixtureOfTwo(priors.Prior):
    """Half uniform, half on the codes whose two variables agree; its KL has no closed form."""

    def log_prob(self, z):
        agree = tf.reduce_sum(z[..., 0, :] * z[..., 1, :], axis=-1)
        return tf.math.log(0.5 / 9.0 + 0.5 / 3.0 * agree)

    def sample(self, num_samples, seed):
        raise NotImplementedError


def elbo_and_gradients(model, logits, estimator, prior=None, **options):
    """The bound, and the gradients of loss, rate and distortion with respect to the logits."""
    logits = tf.constant(logits)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        bound = negative_elbo(
            ProductCategorical(logits),
            model.prior() if prior is None else prior,
            model.log_likelihood,
            estimator,
            seed=SEED,
            **options,
        )
    return bound, [tape.gradient(part, logits) for part in (bound.loss, bound.rate, bound.distortion)]


def assert_means_agree(first, second):
    """Within 4.5 standard errors in each coordinate, of draws that need not be independent."""
    difference = np.asarray(first) - np.asarray(second)
    error = difference.std(axis=0) / np.sqrt(len(difference))
    assert (np.abs(difference.mean(axis=0)) <= 4.5 * error + 1e-6).all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kl", KLS)
def test_loss_by_enumeration_is_numpy_s(model, logits, kl, training):
    bound, _ = elbo_and_gradients(model, logits, Enumeration(), kl=kl, training=training)
    np.testing.assert_allclose(bound.loss, -model.elbo(logits), rtol=1e-5)


@pytest.mark.parametrize("kl", KLS)
def test_loss_bounds_the_evidence_and_meets_it_at_the_exact_posterior(model, factorizing_model, logits, kl):
    for tiny in (model, factorizing_model):
        loose, _ = elbo_and_gradients(tiny, logits, Enumeration(), kl=kl)
        assert (loose.loss.numpy() > -tiny.log_evidence() + 1e-3).all()
    mean_field, _ = elbo_and_gradients(model, model.posterior_logits(), Enumeration(), kl=kl)
    assert (mean_field.loss.numpy() > -model.log_evidence() + 1e-6).all()
    tight, (gradient, *_) = elbo_and_gradients(
        factorizing_model, factorizing_model.posterior_logits(), Enumeration(), kl=kl
    )
    np.testing.assert_allclose(tight.loss, -factorizing_model.log_evidence(), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.zeros_like(logits), atol=1e-6)


@pytest.mark.parametrize("kl", KLS)
def test_gradient_by_enumeration_is_that_of_finite_differences_in_numpy(model, logits, kl):
    _, (gradient, *_) = elbo_and_gradients(model, logits, Enumeration(), kl=kl)
    expected, step = np.zeros_like(logits), 1e-5
    for n, k in np.ndindex(2, 3):
        shift = np.zeros_like(logits)
        shift[:, n, k] = step
        expected[:, n, k] = (model.elbo(logits - shift) - model.elbo(logits + shift)) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("name", NAMES)
def test_loss_is_rate_plus_distortion_which_carry_no_gradient(model, logits, name, kl, training):
    bound, gradients = elbo_and_gradients(model, logits, estimators.get(name), kl=kl, training=training)
    np.testing.assert_allclose(bound.loss, bound.rate + bound.distortion, rtol=1e-9)
    assert gradients[0] is not None
    assert gradients[1:] == [None, None]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_analytic_rate_is_the_kl_by_enumeration(model, logits, name, training):
    bound, _ = elbo_and_gradients(model, logits, estimators.get(name), training=training)
    np.testing.assert_allclose(bound.rate, model.rate(logits), rtol=1e-5)


@pytest.mark.parametrize("name", UNBIASED)
def test_analytic_and_sampled_kl_give_the_same_loss_rate_and_gradient_on_average(
    replicated_model, replicated_logits, name
):
    (analytic, analytic_gradients), (sampled, sampled_gradients) = (
        elbo_and_gradients(replicated_model, replicated_logits, estimators.get(name), kl=kl) for kl in KLS
    )
    assert_means_agree(analytic.loss, sampled.loss)
    assert_means_agree(analytic.rate, sampled.rate)
    assert_means_agree(analytic_gradients[0], sampled_gradients[0])


@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("name", UNBIASED)
def test_gradient_of_unbiased_estimators_averages_to_that_of_enumeration(replicated_model, replicated_logits, name, kl):
    _, (gradient, *_) = elbo_and_gradients(replicated_model, replicated_logits, estimators.get(name), kl=kl)
    _, (exact, *_) = elbo_and_gradients(replicated_model, replicated_logits, Enumeration(), kl="analytic")
    assert np.abs(exact).max() > 0.01
    assert_means_agree(gradient, exact)


@pytest.mark.parametrize("kl", KLS)
@pytest.mark.parametrize("name", NAMES)
def test_evaluation_averages_to_the_discrete_bound_for_every_estimator(replicated_model, replicated_logits, name, kl):
    bound, _ = elbo_and_gradients(replicated_model, replicated_logits, estimators.get(name), kl=kl, training=False)
    assert_means_agree(bound.loss, -replicated_model.elbo(replicated_logits))


def test_relaxed_training_has_the_likelihood_at_the_relaxed_sample_beside_the_exact_kl(model, logits):
    estimator = GumbelSoftmax(0.7, num_samples=3)
    bound, _ = elbo_and_gradients(model, logits, estimator)
    y = tf.exp(ProductCategorical(logits).relax(SEED, 3, 0.7))
    assert ((y > 0.01) & (y < 0.99)).numpy().any()
    expected = -tf.reduce_mean(model.log_likelihood(y), axis=0)
    np.testing.assert_allclose(bound.distortion, expected, rtol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_sampled_kl_serves_a_prior_without_a_closed_form(model, logits, training):
    prior = MixtureOfTwo()
    bound, _ = elbo_and_gradients(model, logits, Enumeration(), prior, kl="sampled", training=training)
    agree = np.eye(3).ravel()
    log_p = np.log(0.5 / 9 + 0.5 / 3 * agree)[:, None]
    assert np.exp(log_p).sum() == pytest.approx(1.0)
    log_q = model.log_q(logits)
    rate = (np.exp(log_q) * (log_q - log_p)).sum(0)
    np.testing.assert_allclose(bound.rate, rate, rtol=1e-5)
    np.testing.assert_allclose(bound.loss, -model.elbo(logits) - model.rate(logits) + rate, rtol=1e-5)


def test_analytic_kl_of_a_prior_without_a_closed_form_is_refused(model, logits):
    with pytest.raises(InputError, match="Use kl='sampled'"):
        elbo_and_gradients(model, logits, Enumeration(), MixtureOfTwo(), kl="analytic")
