import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.objectives import discrete_bounds, relaxed_elbo

SEED = [1, 2]


def bound(model, logits, num_samples, seed=SEED):
    return bounds(model, logits, num_samples, seed=seed).importance_weighted


def bounds(model, logits, num_samples, seed=SEED, kl="analytic"):
    q = ProductCategorical(tf.constant(logits))
    return discrete_bounds(q, model.prior(), model.log_likelihood, seed=seed, num_samples=num_samples, kl=kl)


def standard_error(draws):
    return draws.std() / np.sqrt(len(draws))


def test_one_sample_gives_its_log_weight(model, logits):
    index = ProductCategorical(logits).sample(1, seed=SEED).numpy()[0].argmax(-1) @ [3, 1]
    expected = (model.log_joint() - model.log_q(logits))[index, np.arange(5)]
    np.testing.assert_allclose(bound(model, logits, 1), expected, rtol=1e-5)


def test_more_samples_give_the_log_mean_of_their_weights(model, logits):
    index = ProductCategorical(logits).sample(7, seed=SEED).numpy().argmax(-1) @ [3, 1]
    weights = np.exp(model.log_joint() - model.log_q(logits))[index, np.arange(5)]
    np.testing.assert_allclose(bound(model, logits, 7), np.log(weights.mean(0)), rtol=1e-5)


def test_one_sample_averages_to_the_elbo(replicated_model, replicated_logits):
    draws = bound(replicated_model, replicated_logits, 1).numpy()
    assert abs(draws.mean() - replicated_model.elbo(replicated_logits)[0]) < 4.5 * standard_error(draws)


def test_bound_rises_with_the_samples_and_stays_below_the_evidence(replicated_model, replicated_logits):
    evidence = replicated_model.log_evidence()[0]
    draws = [
        bound(replicated_model, replicated_logits, num_samples, seed=[num_samples, 3]).numpy()
        for num_samples in (1, 2, 4, 16, 64)
    ]
    means, errors = np.array([d.mean() for d in draws]), np.array([standard_error(d) for d in draws])
    assert (np.diff(means) > 4.5 * np.hypot(errors[1:], errors[:-1])).all()
    assert (means < evidence + 4.5 * errors).all()
    assert evidence - means[-1] < 0.1 * (evidence - means[0])


def test_its_exponential_averages_to_the_evidence(replicated_model, replicated_logits):
    for num_samples in (1, 5):
        draws = np.exp(bound(replicated_model, replicated_logits, num_samples).numpy())
        assert abs(draws.mean() - np.exp(replicated_model.log_evidence()[0])) < 4.5 * standard_error(draws)


@pytest.mark.parametrize("num_samples", [1, 5])
def test_every_draw_is_the_evidence_under_the_exact_posterior(factorizing_model, num_samples):
    logits = factorizing_model.posterior_logits()
    for seed in ([0, 0], [0, 1], [0, 2]):
        draws = bound(factorizing_model, logits, num_samples, seed=seed)
        np.testing.assert_allclose(draws, factorizing_model.log_evidence(), rtol=1e-6)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_give_the_eager_value(model, logits, jit_compile):
    traced = tf.function(lambda: bound(model, logits, 7), jit_compile=jit_compile)
    np.testing.assert_allclose(traced(), bound(model, logits, 7), rtol=1e-9)


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
def test_elbo_rate_and_distortion_average_to_those_of_enumeration(replicated_model, replicated_logits, kl):
    found = bounds(replicated_model, replicated_logits, 3, kl=kl)
    np.testing.assert_allclose(found.elbo, -(found.rate + found.distortion), rtol=1e-9)
    elbo, rate = replicated_model.elbo(replicated_logits)[0], replicated_model.rate(replicated_logits)[0]
    for draws, exact in ((found.elbo, elbo), (found.rate, rate), (found.distortion, -elbo - rate)):
        draws = draws.numpy()
        assert abs(draws.mean() - exact) < 4.5 * standard_error(draws) + 1e-6
    # In closed form every draw is exact; sampled ones scatter.
    assert (found.rate.numpy().std() < 1e-9) == (kl == "analytic")


def test_the_relaxed_elbo_tends_to_the_discrete_one_as_the_temperature_falls(replicated_model, replicated_logits):
    q = ProductCategorical(tf.constant(replicated_logits))
    elbo = replicated_model.elbo(replicated_logits)[0]

    def gap(temperature):
        draws = relaxed_elbo(
            q,
            replicated_model.prior(),
            replicated_model.log_likelihood,
            seed=SEED,
            num_samples=2,
            temperature=temperature,
            kl="analytic",
        ).numpy()
        return abs(draws.mean() - elbo), standard_error(draws)

    (warm, warm_error), (cold, cold_error) = gap(1.0), gap(1e-3)
    assert cold < 4.5 * cold_error
    assert warm > 10 * warm_error
