import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.conftest import assert_mean_is, random_model
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductBernoulli, ProductCategorical, ProductNormal
from tfdiscrete.objectives import discrete_bounds, log_evidence, log_mean_exp_error, prior_sampling_bound
from tfdiscrete.ops import log_mean_exp

SEED = [1, 2]
Q = ProductCategorical(tf.zeros([5, 2, 3], tf.float64))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("chunk_size", [1, 4, 9, 256])
def test_evidence_is_the_sum_over_all_codes_in_chunks_of_any_size(seed, chunk_size):
    model = random_model(seed)
    found = log_evidence(Q, model.double_prior(), model.log_likelihood, chunk_size=chunk_size)
    np.testing.assert_allclose(found, model.log_evidence(), rtol=0, atol=1e-12)


def test_evidence_of_bits_is_that_of_their_values():
    weights = np.random.default_rng(0).normal(size=4)

    class Fair:
        def log_prob(self, z):
            return tf.fill(tf.shape(z)[:-1], tf.constant(-4 * np.log(2.0), z.dtype))

    found = log_evidence(
        ProductBernoulli(tf.zeros([3, 4], tf.float64)), Fair(), lambda z: tf.linalg.matvec(z, weights), chunk_size=5
    )
    np.testing.assert_allclose(found, np.full(3, np.logaddexp(0.0, weights).sum() - 4 * np.log(2.0)), atol=1e-12)


def test_evidence_of_ten_thousand_nats_neither_under_nor_overflows(model):
    for shift in (-1e4, 1e4):
        found = log_evidence(Q, model.double_prior(), lambda z, shift=shift: model.log_likelihood(z) + shift)
        np.testing.assert_allclose(found, model.log_evidence() + shift, rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_give_the_eager_values_of_any_batch(model, jit_compile):
    def both(x, logits):
        def log_likelihood(z):
            return model._replace(x=x).log_likelihood(tf.cast(z, tf.float64))

        bound = prior_sampling_bound(
            model.prior(), log_likelihood, seed=SEED, num_samples=7, batch_size=tf.shape(x)[0], chunk_size=3
        )
        return log_evidence(ProductCategorical(logits), model.prior(), log_likelihood, chunk_size=4), *bound

    spec = [tf.TensorSpec([None, 4], tf.float64), tf.TensorSpec([None, 2, 3], tf.float64)]
    traced = tf.function(both, input_signature=spec, jit_compile=jit_compile)
    logits = tf.zeros([5, 2, 3], tf.float64)
    eager = both(tf.constant(model.x), logits)
    assert eager[0].dtype == tf.float64
    for one, other in zip(traced(model.x, logits), eager, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_too_many_codes_are_refused_and_counted(model):
    with pytest.raises(InputError, match=r"4\^9 = 10\^5\.4 codes, more than max_codes=65536"):
        log_evidence(ProductCategorical(tf.zeros([5, 9, 4])), model.prior(), model.log_likelihood)


def test_a_law_without_codes_is_refused(model):
    with pytest.raises(InputError, match="codes of categorical variables can be enumerated.* `discrete_bounds`"):
        log_evidence(ProductNormal(tf.zeros([5, 3]), tf.ones([5, 3])), model.prior(), model.log_likelihood)


@pytest.mark.parametrize(("num_samples", "chunk_size"), [(7, 3), (6, 3), (5, 100), (2, 1)])
def test_the_exponential_of_the_prior_bound_averages_to_the_evidence(model, num_samples, chunk_size):
    found = prior_bound(model.replicated(1), num_samples, chunk_size=chunk_size)
    assert_mean_is(np.exp(model.log_evidence()[1]), np.exp(found.value))


def prior_bound(model, num_samples, **options):
    return prior_sampling_bound(
        model.prior(), model.log_likelihood, seed=SEED, num_samples=num_samples, batch_size=len(model.x), **options
    )


def test_samples_of_the_prior_are_other_ones_for_each_example_and_chunk(model):
    one = model._replace(x=np.broadcast_to(model.x[1], (1000, 4)))
    assert len(np.unique(prior_bound(one, 8, chunk_size=4).value)) > 100
    # The spread falls as 1/S: no chunk repeats another's samples.
    spread = [np.std(np.exp(prior_bound(one, n, chunk_size=4).value)) for n in (4, 64)]
    assert spread[0] / spread[1] == pytest.approx(4.0, rel=0.15)


def test_standard_errors_are_the_spread_of_the_bounds(replicated_model, replicated_logits):
    model = replicated_model._replace(x=replicated_model.x[:2000])
    found = prior_bound(model, 200)
    assert np.mean(found.standard_error) == pytest.approx(np.std(found.value), rel=0.08)
    q = ProductCategorical(tf.constant(replicated_logits[:2000]))
    bounds = discrete_bounds(q, model.prior(), model.log_likelihood, seed=SEED, num_samples=200, kl="analytic")
    assert np.mean(bounds.standard_error) == pytest.approx(np.std(bounds.importance_weighted), rel=0.08)


def test_standard_error_of_a_log_mean_is_the_slope_times_that_of_the_mean():
    weights = np.random.default_rng(0).uniform(1.0, 2.0, size=(50, 3))
    expected = weights.std(0, ddof=1) / np.sqrt(50) / weights.mean(0)
    for shift in (0.0, -900.0):
        np.testing.assert_allclose(log_mean_exp_error(tf.constant(np.log(weights) + shift)), expected, rtol=1e-9)
    assert np.isnan(log_mean_exp_error(tf.zeros([1])))


def assert_bounds(evidence, draws):
    """The mean of `draws` is below the evidence, up to 4.5 standard errors."""
    draws = np.asarray(draws)
    assert draws.mean() <= evidence + 4.5 * draws.std() / np.sqrt(len(draws)) + 1e-9, "above the evidence"


def log_weights(model, logits, num_samples, law=None):
    q = ProductCategorical(tf.constant(np.broadcast_to(logits, (20_000, 2, 3))))
    z = (law or q).sample(num_samples, seed=SEED)
    return model.log_likelihood(z), q.log_prob(z) - model.prior().log_prob(z)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
class TestBounds:
    def test_each_rises_with_the_samples_and_stays_below_the_evidence(self, seed, logits):
        model = random_model(seed)
        evidence, replicated = model.log_evidence()[0], model.replicated(0)
        sampled = [prior_bound(replicated, n).value.numpy() for n in (2, 8, 32)]
        q = ProductCategorical(tf.constant(np.broadcast_to(logits[0], (20_000, 2, 3))))
        weighted = []
        for n in (1, 4, 16):
            bounds = discrete_bounds(
                q, model.prior(), replicated.log_likelihood, seed=[n, 2], num_samples=n, kl="analytic"
            )
            assert_bounds(evidence, bounds.elbo)
            weighted.append(bounds.importance_weighted.numpy())
        for draws in (sampled, weighted):
            for each in draws:
                assert_bounds(evidence, each)
            for low, high in itertools.pairwise(draws):
                error = np.sqrt((low.var() + high.var()) / 20_000)
                assert high.mean() > low.mean() + 4.5 * error

    def test_a_flipped_kl_is_found(self, seed, logits):
        model = random_model(seed)
        log_p_x, log_ratio = log_weights(model.replicated(0), 0.3 * model.posterior_logits()[0], 1)
        assert_bounds(model.log_evidence()[0], (log_p_x - log_ratio)[0])
        with pytest.raises(AssertionError, match="above the evidence"):
            assert_bounds(model.log_evidence()[0], (log_p_x + log_ratio)[0])

    def test_a_missing_log_of_the_samples_is_found(self, seed, logits):
        model = random_model(seed)
        log_p_x, log_ratio = log_weights(model.replicated(0), logits[0], 16)
        assert_bounds(model.log_evidence()[0], log_mean_exp(log_p_x - log_ratio))
        with pytest.raises(AssertionError, match="above the evidence"):
            assert_bounds(model.log_evidence()[0], tf.reduce_logsumexp(log_p_x - log_ratio, axis=0))

    def test_samples_of_another_law_are_found(self, seed, logits):
        model = random_model(seed)
        posterior = np.broadcast_to(3.0 * model.posterior_logits()[0], (20_000, 2, 3))
        log_p_x, log_ratio = log_weights(
            model.replicated(0), np.zeros((2, 3)), 16, law=ProductCategorical(tf.constant(posterior))
        )
        with pytest.raises(AssertionError, match="above the evidence"):
            assert_bounds(model.log_evidence()[0], log_mean_exp(log_p_x - log_ratio))
