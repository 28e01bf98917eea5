import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.conftest import PRIOR, assert_means_agree
from tfdiscrete import InputError, estimators, families, priors
from tfdiscrete.distributions import Family, ProductCategorical, ProductNormal
from tfdiscrete.estimators import REGISTRY
from tfdiscrete.objectives import ELBO
from tfdiscrete.objectives.sticking_the_landing import along_the_path

SEED = [1, 2]
HARD = sorted(name for name, cls in REGISTRY.items() if cls.takes is Family and "hard" in cls.needs)


def gradient(stuck, law, parameters, prior, log_likelihood, estimator, kl="sampled", objective=ELBO):
    """Of each example's loss with respect to the parameters `[B, ...]`, and the loss."""
    parameters = tf.constant(parameters)
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        loss = objective(sticking_the_landing=stuck)(
            law(parameters), prior, log_likelihood, estimator, seed=SEED, kl=kl, context=parameters
        ).loss
    return tape.gradient(loss, parameters).numpy(), loss.numpy()


class TestGaussian:
    """x ~ Normal(z, 1), z ~ Normal(0, 1): the posterior is Normal(x/2, 1/2)."""

    X = 1.4

    def gradient(self, stuck, mean, scale, samples=1):
        family = families.Gaussian()
        family.build((None, 1, 2))
        prior = priors.Fixed()
        prior.build(family)
        return gradient(
            stuck,
            lambda parameters: ProductNormal(parameters[:, :1], parameters[:, 1:]),
            np.broadcast_to(np.float32([mean, scale]), (20_000, 2)),
            prior,
            lambda z: -0.5 * tf.square(self.X - z[..., 0]) - 0.5 * np.log(2 * np.pi),
            estimators.Pathwise(samples),
        )[0]

    def test_gradient_at_the_exact_posterior_is_zero_in_every_draw(self):
        np.testing.assert_allclose(self.gradient(True, self.X / 2, np.sqrt(0.5)), 0.0, atol=1e-5)
        assert self.gradient(False, self.X / 2, np.sqrt(0.5)).std(axis=0).max() > 0.5

    @pytest.mark.parametrize("samples", [1, 3])
    def test_mean_gradient_elsewhere_is_that_of_the_live_one(self, samples):
        stuck, live = (self.gradient(each, 0.1, 1.3, samples) for each in (True, False))
        assert np.abs(stuck - live).max() > 0.1
        assert_means_agree(stuck, live)


class TestDiscrete:
    def test_gradient_of_the_score_function_at_the_exact_posterior_is_zero_in_every_draw(self, factorizing_model):
        model, logits = factorizing_model, factorizing_model.posterior_logits()
        arguments = ProductCategorical, logits, model.double_prior(), model.log_likelihood
        stuck, loss = gradient(True, *arguments, estimators.ScoreFunction(num_samples=3))
        np.testing.assert_allclose(stuck, np.zeros_like(logits), atol=1e-9)
        np.testing.assert_allclose(loss, -model.log_evidence(), rtol=1e-9)
        assert np.abs(gradient(False, *arguments, estimators.ScoreFunction(num_samples=3))[0]).max() > 0.1

    @pytest.mark.parametrize("name", HARD)
    def test_mean_gradient_is_that_of_the_live_one_for_every_estimator_at_hard_samples(
        self, name, replicated_model, replicated_logits
    ):
        few = slice(None, None, 20 if name == "direct_arg_max" else 4)
        model = replicated_model._replace(x=replicated_model.x[few])
        arguments = ProductCategorical, replicated_logits[few], model.prior(), model.log_likelihood
        (stuck, value), (live, same) = (gradient(each, *arguments, estimators.get(name)) for each in (True, False))
        np.testing.assert_allclose(value, same, rtol=1e-9)
        assert_means_agree(stuck, live)


class TestRelaxed:
    @pytest.mark.parametrize("tau", [0.5, 2.0])
    def test_gradient_at_the_exact_relaxed_posterior_is_zero_in_every_draw(self, model, tau):
        # The likelihood tells nothing, so that the posterior is the prior.
        logits = np.broadcast_to(np.log(PRIOR), (20, 2, 3))
        arguments = ProductCategorical, logits, model.double_prior(), lambda z: 0.0 * z[..., 0, 0]
        stuck, live = (
            gradient(each, *arguments, estimators.GumbelSoftmax(tau), kl="relaxed")[0] for each in (True, False)
        )
        np.testing.assert_allclose(stuck, np.zeros_like(logits), atol=1e-9)
        assert np.abs(live).max() > 0.1

    def test_mean_gradient_elsewhere_is_that_of_the_live_one(self, replicated_model, replicated_logits):
        model = replicated_model
        arguments = ProductCategorical, replicated_logits, model.prior(), model.log_likelihood
        stuck, live = (
            gradient(each, *arguments, estimators.GumbelSoftmax(0.7, num_samples=2), kl="relaxed")[0]
            for each in (True, False)
        )
        assert np.abs(stuck - live).max() > 0.1
        assert_means_agree(stuck, live)

    def test_the_linear_extension_is_refused_since_there_the_mean_would_be_another(self, model, logits):
        q, estimator = ProductCategorical(tf.constant(logits)), estimators.GumbelSoftmax()
        arguments = q, model.prior(), model.log_likelihood, estimator
        with pytest.raises(InputError, match=r"extends probabilities linearly. Use kl='relaxed'"):
            ELBO(sticking_the_landing=True)(*arguments, seed=SEED, kl="sampled")
        assert ELBO(sticking_the_landing=True).choose_kl("auto", model.prior(), estimator) == "relaxed"


def test_the_analytic_kl_has_no_log_q_to_stop(model, logits):
    arguments = ProductCategorical(tf.constant(logits)), model.prior(), model.log_likelihood, REGISTRY["nvil"]()
    with pytest.raises(InputError, match=r"takes kl in 'relaxed', 'sampled' or 'auto' with sticking_the_landing"):
        ELBO(sticking_the_landing=True)(*arguments, seed=SEED, kl="analytic")


def test_value_is_that_of_the_density_and_gradient_that_of_the_point():
    mean, point = tf.constant([1.0, 2.0]), tf.constant([[0.5, 3.0]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([mean, point])
        value = along_the_path(lambda z: -0.5 * tf.square(z - mean), point)
    np.testing.assert_allclose(value, [[-0.125, -0.5]])
    np.testing.assert_allclose(tape.gradient(value, point), [[0.5, -1.0]])
    np.testing.assert_allclose(tape.gradient(value, mean), [0.0, 0.0])
