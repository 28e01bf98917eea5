import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import estimators, priors
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import Enumeration, GumbelSoftmax, ScoreFunction
from tfdiscrete.objectives import KL_CHOICES, negative_elbo

SEED = [1, 2]


class MixtureOfTwo(priors.Prior):
    """Half uniform, half on the codes whose two variables agree; its KL has no closed form."""

    def log_prob(self, z):
        agree = tf.reduce_sum(z[..., 0, :] * z[..., 1, :], axis=-1)
        return tf.math.log(0.5 / 9.0 + 0.5 / 3.0 * agree)

    def sample(self, num_samples, seed):
        raise NotImplementedError


def elbo_and_gradient(model, logits, estimator, prior=None, **options):
    logits = tf.constant(logits)
    prior = model.prior() if prior is None else prior
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        q = ProductCategorical(logits)
        bound = negative_elbo(q, prior, model.log_likelihood, estimator, seed=SEED, **options)
    return bound, tape.gradient(bound.loss, logits), tape


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kl", KL_CHOICES)
def test_loss_by_enumeration_is_numpy_s(model, logits, kl, training):
    bound, _, _ = elbo_and_gradient(model, logits, Enumeration(), kl=kl, training=training)
    np.testing.assert_allclose(bound.loss, -model.elbo(logits), rtol=1e-5)


@pytest.mark.parametrize("kl", KL_CHOICES)
def test_loss_bounds_the_evidence_and_meets_it_at_the_exact_posterior(model, factorizing_model, logits, kl):
    for tiny in (model, factorizing_model):
        loose, _, _ = elbo_and_gradient(tiny, logits, Enumeration(), kl=kl)
        assert (loose.loss.numpy() > -tiny.log_evidence() + 1e-3).all()
    mean_field, _, _ = elbo_and_gradient(model, model.posterior_logits(), Enumeration(), kl=kl)
    assert (mean_field.loss.numpy() > -model.log_evidence() + 1e-6).all()
    tight, gradient, _ = elbo_and_gradient(
        factorizing_model, factorizing_model.posterior_logits(), Enumeration(), kl=kl
    )
    np.testing.assert_allclose(tight.loss, -factorizing_model.log_evidence(), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.zeros_like(logits), atol=1e-6)


@pytest.mark.parametrize("kl", KL_CHOICES)
def test_gradient_by_enumeration_is_that_of_finite_differences_in_numpy(model, logits, kl):
    _, gradient, _ = elbo_and_gradient(model, logits, Enumeration(), kl=kl)
    expected, step = np.zeros_like(logits), 1e-5
    for n, k in np.ndindex(2, 3):
        shift = np.zeros_like(logits)
        shift[:, n, k] = step
        expected[:, n, k] = (model.elbo(logits - shift) - model.elbo(logits + shift)) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kl", KL_CHOICES)
@pytest.mark.parametrize("name", sorted(estimators.REGISTRY))
def test_loss_is_rate_plus_distortion_and_those_carry_no_gradient(model, logits, name, kl, training):
    bound, gradient, tape = elbo_and_gradient(model, logits, estimators.get(name), kl=kl, training=training)
    np.testing.assert_allclose(bound.loss, bound.rate + bound.distortion, rtol=1e-9)
    watched = tape.watched_variables()
    assert watched == ()
    assert tape.gradient(bound.rate, bound.estimate.sample) is None
    assert np.abs(gradient).max() > 0


@pytest.mark.parametrize("name", sorted(estimators.REGISTRY))
def test_analytic_rate_is_the_kl_by_enumeration(model, logits, name):
    bound, _, _ = elbo_and_gradient(model, logits, estimators.get(name))
    log_q = model.log_q(logits)
    log_p = model.log_joint() - model._replace(weights=model.weights).log_joint()
    del log_p
    log_prior = np.log((np.eye(3)[np.indices((3, 3)).reshape(2, -1).T] * [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]).sum(-1))
    expected = (np.exp(log_q) * (log_q - log_prior.sum(-1)[:, None])).sum(0)
    np.testing.assert_allclose(bound.rate, expected, rtol=1e-5)
