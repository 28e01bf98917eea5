import itertools

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import InputError
from tfdiscrete.distributions import BinaryConcrete, ProductBernoulli, ProductCategorical, is_family
from tfdiscrete.estimators import Enumeration, ScoreFunction
from tfdiscrete.ops import logistic_noise

tfd = tfp.distributions

SHAPES = [(1,), (4,), (2, 5), (3, 4, 5)]


def random_logits(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape, scale=2.0)


def random_bits(*shape, seed=1):
    return np.random.default_rng(seed).integers(2, size=shape).astype(float)


def all_bits(latents):
    return np.array(list(itertools.product([0.0, 1.0], repeat=latents)))


def as_categorical(q):
    return ProductCategorical(q.logits)


def test_it_is_a_family_of_two_categories_of_which_the_second_is_the_value_one():
    logits = random_logits(5, 3)
    q = ProductBernoulli(logits)
    assert is_family(q)
    np.testing.assert_array_equal(q.logits, np.stack([np.zeros_like(logits), logits], axis=-1))
    assert q.logits_shape == q.logits.shape == (5, 3, 2)
    np.testing.assert_array_equal(q.bernoulli_logits, logits)
    np.testing.assert_array_equal(q.decode(tf.constant([[0.0, 1.0], [1.0, 0.0], [0.25, 0.75]])), [1.0, 0.0, 0.75])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtype_are_those_of_the_logits(shape, dtype):
    q = ProductBernoulli(tf.constant(random_logits(*shape), dtype))
    sample = q.sample([2, 3], seed=[0, 1])
    assert q.event_shape == shape[-1:]
    assert q.batch_shape == shape[:-1]
    np.testing.assert_array_equal(q.event_shape_tensor(), shape[-1:])
    np.testing.assert_array_equal(q.batch_shape_tensor(), shape[:-1])
    assert sample.shape == (2, 3, *shape)
    assert sample.dtype == dtype
    assert q.log_prob(sample).shape == (2, 3, *shape[:-1])


@pytest.mark.parametrize("shape", SHAPES)
def test_log_prob_is_that_of_scipy_and_of_tfp(shape):
    logits, bits = random_logits(*shape), random_bits(7, *shape)
    log_prob = ProductBernoulli(logits).log_prob(bits)
    scipys = scipy.stats.bernoulli(scipy.special.expit(logits)).logpmf(bits.astype(int))
    np.testing.assert_allclose(log_prob, scipys.sum(-1), rtol=1e-9, atol=1e-12)
    independent = tfd.Independent(tfd.Bernoulli(tf.constant(logits), dtype=tf.float64), 1)
    np.testing.assert_allclose(log_prob, independent.log_prob(bits), rtol=1e-12, atol=1e-14)


def test_log_prob_keeps_its_precision_in_both_tails():
    q = ProductBernoulli(tf.constant([[40.0], [-40.0]], tf.float64))
    expected = [[-40.0, -np.exp(-40.0)], [-np.exp(-40.0), -40.0]]
    for bit in (0, 1):
        log_prob = q.log_prob(tf.fill([2, 1], tf.constant(bit, tf.float64)))
        np.testing.assert_allclose(log_prob, np.array(expected)[:, bit], rtol=1e-12)


def test_probabilities_of_all_codes_sum_to_one():
    total = tf.reduce_sum(ProductBernoulli(random_logits(3)).prob(all_bits(3)))
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


def test_log_prob_is_linear_between_the_codes():
    q = ProductBernoulli(random_logits(3))
    codes, weights = all_bits(3), np.random.default_rng(0).dirichlet(np.ones(8))
    np.testing.assert_allclose(q.log_prob(weights @ codes), weights @ q.log_prob(codes).numpy(), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_moments_mode_and_entropy_agree_with_tfp(shape):
    logits = random_logits(*shape)
    q, bits = ProductBernoulli(logits), tfd.Bernoulli(tf.constant(logits), dtype=tf.float64)
    np.testing.assert_allclose(q.mean(), bits.mean(), rtol=1e-12)
    np.testing.assert_allclose(q.variance(), bits.variance(), rtol=1e-12)
    np.testing.assert_array_equal(q.mode(), bits.mode())
    np.testing.assert_allclose(q.entropy(), tf.reduce_sum(bits.entropy(), axis=-1), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("of_q", "of_p"), [((3,), (3,)), ((5, 3), (5, 3)), ((5, 3), (3,)), ((3,), (5, 3)), ((4, 1, 3), (5, 3))]
)
def test_kl_is_that_of_tfp_and_of_hand_and_broadcasts(of_q, of_p):
    logits_q, logits_p = random_logits(*of_q), random_logits(*of_p, seed=1)
    kl = ProductBernoulli(logits_q).kl_divergence(ProductBernoulli(logits_p))
    q, p = scipy.special.expit(logits_q), scipy.special.expit(logits_p)
    expected = (q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))).sum(-1)
    np.testing.assert_allclose(kl, expected, rtol=1e-9)
    bits = tfd.kl_divergence(*(tfd.Bernoulli(tf.constant(logits)) for logits in (logits_q, logits_p)))
    np.testing.assert_allclose(kl, tf.reduce_sum(bits, axis=-1), rtol=1e-9)


def test_it_is_the_product_of_two_categories_at_the_same_logits():
    q, bits = ProductBernoulli(random_logits(5, 3)), random_bits(4, 5, 3)
    y = np.stack([1 - bits, bits], axis=-1)
    np.testing.assert_allclose(q.log_prob(bits), as_categorical(q).log_prob(y), rtol=1e-12)
    np.testing.assert_allclose(q.entropy(), as_categorical(q).entropy(), rtol=1e-12)
    np.testing.assert_allclose(q.mean(), q.decode(as_categorical(q).mean()), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_samples_are_bits_and_have_the_codes_frequencies(dtype):
    logits, count = tf.constant(random_logits(3), dtype), 20_000
    sample = ProductBernoulli(logits).sample(count, seed=[1, 2])
    assert sample.dtype == dtype
    sample = tf.cast(sample, tf.float64).numpy()
    np.testing.assert_array_equal(np.unique(sample), [0.0, 1.0])
    index = (sample @ [4, 2, 1]).astype(int)
    p = scipy.special.expit(tf.cast(logits, tf.float64))
    expected = count * np.prod(np.where(all_bits(3) > 0, p, 1 - p), axis=-1)
    assert scipy.stats.chisquare(np.bincount(index, minlength=8), expected).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_relaxed_sample_is_the_binary_concrete_of_one_logistic_noise(temperature):
    logits = random_logits(5, 3)
    q = ProductBernoulli(logits)
    y = np.exp(q.relax([1, 2], 4, temperature))
    noise = logistic_noise([4, 5, 3], [1, 2], dtype=tf.float64).numpy()
    log_odds = (logits + noise) / temperature
    np.testing.assert_allclose(y, scipy.special.expit(np.stack([-log_odds, log_odds], axis=-1)), rtol=1e-9)
    concrete = BinaryConcrete(temperature, logits).sample(4, seed=[1, 2])
    np.testing.assert_allclose(q.decode(y), concrete, rtol=1e-9)


def test_relaxed_pair_has_the_law_of_the_gumbel_softmax_of_two_categories():
    q = ProductBernoulli(tf.constant([0.7], tf.float64))
    ours, gumbels = (law.relax([1, 2], 20_000, 0.7).numpy()[:, 0, 1] for law in (q, as_categorical(q)))
    assert scipy.stats.ks_2samp(ours, gumbels).pvalue > 1e-3


def test_relaxed_and_hard_samples_of_one_seed_share_their_noise():
    q = ProductBernoulli(random_logits(5, 3))
    index = tf.argmax(q.relax([1, 2], 4, 0.7), axis=-1)
    np.testing.assert_array_equal(index, q.sample(4, seed=[1, 2]))
    np.testing.assert_array_equal(index, tf.argmax(q.sample_one_hot([1, 2], 4), axis=-1))


def test_relaxed_sample_is_differentiable_in_the_logits_and_the_hard_one_is_not():
    logits, temperature = tf.constant(random_logits(5, 3)), 0.5
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        q = ProductBernoulli(logits)
        relaxed = q.decode(tf.exp(q.relax([1, 2], 4, temperature)))
        hard = q.sample(4, seed=[1, 2])
    slope = (relaxed * (1 - relaxed)).numpy().sum(axis=0) / temperature
    np.testing.assert_allclose(tape.gradient(relaxed, logits), slope, rtol=1e-9)
    assert tape.gradient(hard, logits) is None


def test_an_estimator_s_gradient_averages_to_that_of_the_sum_over_all_codes():
    logits, weights = random_logits(3), np.array([1.0, -2.0, 0.5])

    def gradient(estimator, replicates):
        batch = tf.constant(np.broadcast_to(logits, (replicates, 3)))
        with tf.GradientTape() as tape:
            tape.watch(batch)
            estimate = estimator.estimate(
                ProductBernoulli(batch), lambda z: (tf.linalg.matvec(z, weights) - 0.4) ** 2, seed=[1, 2]
            )
        return tape.gradient(estimate.value, batch).numpy()

    # For one bit among others: p' (E[f | 1] - E[f | 0]).
    p, codes = scipy.special.expit(logits), all_bits(3)
    q = np.prod(np.where(codes > 0, p, 1 - p), axis=-1)
    costs = (codes @ weights - 0.4) ** 2
    by_hand = [np.sum(q * costs * np.where(codes[:, n] > 0, 1 - p[n], -p[n])) for n in range(3)]
    np.testing.assert_allclose(gradient(Enumeration(), 1)[0], by_hand, rtol=1e-9)
    draws = gradient(ScoreFunction(), 20_000)
    error = np.abs(draws.mean(axis=0) - by_hand)
    assert (error < 4.5 * draws.std(axis=0) / np.sqrt(len(draws))).all()


@pytest.mark.parametrize("scale", [0.0, 100.0])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nothing_is_nan_or_infinite_at_the_edges(dtype, scale):
    logits = tf.constant(scale * np.array([[1.0, -1.0, 1.0]]), dtype)
    for temperature in (1e-3, 10.0):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            q = ProductBernoulli(logits)
            results = [
                tf.exp(q.relax([1, 2], 3, temperature)),
                q.log_prob(q.sample(3, seed=[1, 2])),
                q.kl_divergence(ProductBernoulli(-logits)),
                q.kl_divergence(ProductBernoulli(tf.zeros_like(logits))),
                q.entropy(),
            ]
        for result in results:
            assert np.isfinite(tf.cast(result, tf.float64)).all()
            assert np.isfinite(tf.cast(tape.gradient(result, logits), tf.float64)).all()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(jit_compile):
    shapes = {}

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 3], tf.float64)])
    def traced(logits):
        q = ProductBernoulli(logits)
        results = {
            "sample": q.sample(4, seed=[1, 2]),
            "relaxed": q.relax([1, 2], 4, 0.5),
            "log_prob": q.log_prob(q.sample(4, seed=[1, 2])),
            "kl": q.kl_divergence(ProductBernoulli(tf.zeros([3], tf.float64))),
            "entropy": q.entropy(),
        }
        shapes.update({name: result.shape.as_list() for name, result in results.items()})
        return results

    logits = random_logits(5, 3)
    results = traced(logits)
    assert shapes == {
        "sample": [4, None, 3],
        "relaxed": [4, None, 3, 2],
        "log_prob": [4, None],
        "kl": [None],
        "entropy": [None],
    }
    q = ProductBernoulli(logits)
    np.testing.assert_array_equal(results["sample"], q.sample(4, seed=[1, 2]))
    np.testing.assert_allclose(results["relaxed"], q.relax([1, 2], 4, 0.5), rtol=1e-9)
    np.testing.assert_allclose(results["kl"], q.kl_divergence(ProductBernoulli(np.zeros(3))), rtol=1e-9)


def test_it_may_be_made_of_the_output_of_a_layer_under_a_half_policy():
    logits = keras.layers.Dense(3, dtype="mixed_float16")(tf.ones([2, 4]))
    assert ProductBernoulli(logits).sample(seed=[0, 1]).dtype == tf.float16


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_logits_without_latent_variables_are_refused(shape):
    with pytest.raises(InputError, match=r"logits must have shape \[\*batch, N\] .* Received: logits of shape"):
        ProductBernoulli(tf.zeros(shape))


@pytest.mark.parametrize("shape", [[2, None], None])
def test_logits_with_an_unknown_event_are_refused(shape):
    traced = tf.function(lambda logits: ProductBernoulli(logits).mean())
    with pytest.raises(InputError, match=r"logits must have shape \[\*batch, N\]"):
        traced.get_concrete_function(tf.TensorSpec(shape, tf.float32))
