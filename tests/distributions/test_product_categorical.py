import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical, is_family
from tfdiscrete.ops import perturb

tfd = tfp.distributions

SHAPES = [(1, 1), (1, 4), (3, 2), (2, 5), (4, 2, 5), (3, 4, 2, 5)]


def random_logits(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape, scale=2.0)


def random_codes(*shape, seed=1):
    """One-hot `[*shape, K]` for `shape = (..., K)`."""
    index = np.random.default_rng(seed).integers(shape[-1], size=shape[:-1])
    return np.eye(shape[-1])[index]


def all_codes(latents, categories):
    return np.eye(categories)[list(itertools.product(range(categories), repeat=latents))]


def test_it_is_a_family_that_decodes_to_itself():
    q = ProductCategorical(random_logits(2, 3))
    assert is_family(q)
    y = tf.constant(random_codes(4, 2, 3))
    assert q.decode(y) is y


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtype_are_those_of_the_logits(shape, dtype):
    q = ProductCategorical(tf.constant(random_logits(*shape), dtype))
    sample = q.sample([2, 3], seed=[0, 1])
    assert q.event_shape == shape[-2:]
    assert q.batch_shape == shape[:-2]
    np.testing.assert_array_equal(q.event_shape_tensor(), shape[-2:])
    np.testing.assert_array_equal(q.batch_shape_tensor(), shape[:-2])
    assert sample.shape == (2, 3, *shape)
    assert sample.dtype == dtype
    assert q.log_prob(sample).shape == (2, 3, *shape[:-2])


@pytest.mark.parametrize("shape", SHAPES)
def test_log_prob_is_numpy_s_sum_over_rows(shape):
    logits, codes = random_logits(*shape), random_codes(7, *shape)
    expected = (codes * scipy.special.log_softmax(logits, axis=-1)).sum((-2, -1))
    np.testing.assert_allclose(ProductCategorical(logits).log_prob(codes), expected, rtol=1e-12, atol=1e-14)


def test_log_prob_is_scipy_s_for_a_single_variable():
    logits = random_logits(1, 4)
    multinomial = scipy.stats.multinomial(1, scipy.special.softmax(logits[0]))
    np.testing.assert_allclose(
        ProductCategorical(logits).log_prob(all_codes(1, 4)), multinomial.logpmf(np.eye(4)), rtol=1e-9
    )


def test_probabilities_of_all_codes_sum_to_one():
    total = tf.reduce_sum(ProductCategorical(random_logits(3, 4)).prob(all_codes(3, 4)))
    np.testing.assert_allclose(total, 1.0, rtol=1e-12)


def test_log_prob_is_linear_on_the_simplex():
    q = ProductCategorical(random_logits(2, 3))
    codes, weights = all_codes(2, 3), np.random.default_rng(0).dirichlet(np.ones(9))
    point = np.tensordot(weights, codes, axes=1)
    np.testing.assert_allclose(q.log_prob(point), weights @ q.log_prob(codes).numpy(), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_mean_mode_and_entropy_agree_with_tfp(shape):
    logits = tf.constant(random_logits(*shape))
    q, rows = ProductCategorical(logits), tfd.OneHotCategorical(logits, dtype=tf.float64)
    np.testing.assert_allclose(q.mean(), tf.nn.softmax(logits), rtol=1e-12)
    np.testing.assert_array_equal(q.mode(), rows.mode())
    np.testing.assert_allclose(q.entropy(), tf.reduce_sum(rows.entropy(), axis=-1), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("of_q", "of_p"),
    [((2, 3), (2, 3)), ((5, 2, 3), (5, 2, 3)), ((5, 2, 3), (2, 3)), ((2, 3), (5, 2, 3)), ((4, 1, 2, 3), (5, 2, 3))],
)
def test_kl_is_that_of_tfp_and_of_hand_and_broadcasts(of_q, of_p):
    logits_q, logits_p = random_logits(*of_q), random_logits(*of_p, seed=1)
    kl = ProductCategorical(logits_q).kl_divergence(ProductCategorical(logits_p))
    log_q, log_p = (scipy.special.log_softmax(logits, axis=-1) for logits in (logits_q, logits_p))
    np.testing.assert_allclose(kl, (np.exp(log_q) * (log_q - log_p)).sum((-2, -1)), rtol=1e-12)
    rows = tfd.kl_divergence(*(tfd.OneHotCategorical(tf.constant(logits)) for logits in (logits_q, logits_p)))
    np.testing.assert_allclose(kl, tf.reduce_sum(rows, axis=-1), rtol=1e-12)


def test_kl_of_equal_distributions_is_zero_for_logits_that_differ_by_a_constant():
    logits = random_logits(5, 2, 3)
    kl = ProductCategorical(logits).kl_divergence(ProductCategorical(logits + 7.0))
    np.testing.assert_allclose(kl, np.zeros(5), atol=1e-14)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_samples_are_one_hot_and_have_the_codes_frequencies(dtype):
    logits, count = tf.constant(random_logits(2, 3), dtype), 20_000
    sample = ProductCategorical(logits).sample(count, seed=[1, 2])
    assert sample.dtype == dtype
    sample = tf.cast(sample, tf.float64).numpy()
    np.testing.assert_array_equal(np.unique(sample), [0.0, 1.0])
    np.testing.assert_array_equal(sample.sum(-1), np.ones((count, 2)))
    index = sample.argmax(-1) @ [3, 1]
    pi = scipy.special.softmax(tf.cast(logits, tf.float64), axis=-1)
    expected = count * np.outer(pi[0], pi[1]).ravel()
    assert scipy.stats.chisquare(np.bincount(index, minlength=9), expected).pvalue > 1e-3


def test_argmax_of_a_relaxed_sample_has_the_codes_frequencies_at_any_temperature():
    logits, count = random_logits(2, 3), 100_000
    pi = scipy.special.softmax(logits, axis=-1)
    for temperature in (0.01, 1.0, 10.0):
        log_y = ProductCategorical(logits).relax([1, 2], count, temperature).numpy()
        index = log_y.argmax(-1) @ [3, 1]
        expected = count * np.outer(pi[0], pi[1]).ravel()
        assert scipy.stats.chisquare(np.bincount(index, minlength=9), expected).pvalue > 1e-3
        np.testing.assert_allclose(np.exp(log_y).sum(-1), 1.0, rtol=1e-12)


def test_relaxed_and_hard_samples_of_one_seed_share_their_noise():
    q = ProductCategorical(random_logits(5, 2, 3))
    index = tf.argmax(q.relax([1, 2], 4, 0.7), axis=-1)
    np.testing.assert_array_equal(index, tf.argmax(perturb(q.logits, 4, [1, 2]), axis=-1))
    np.testing.assert_array_equal(index, tf.argmax(q.sample(4, seed=[1, 2]), axis=-1))


@pytest.mark.parametrize("categories", [1, 2, 10_000])
@pytest.mark.parametrize("scale", [0.0, 100.0])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nothing_is_nan_or_infinite_at_the_edges(dtype, scale, categories):
    signs = np.where(np.arange(categories) % 2, 1.0, -1.0)
    logits = tf.constant(scale * np.stack([signs, -signs])[None], dtype)
    for temperature in (1e-3, 10.0):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            q = ProductCategorical(logits)
            y = tf.exp(q.relax([1, 2], 3, temperature))
            results = [
                tf.reduce_sum(y * tf.linspace(tf.zeros([], y.dtype), tf.ones([], y.dtype), categories)),
                q.log_prob(q.sample(3, seed=[1, 2])),
                q.kl_divergence(ProductCategorical(tf.zeros_like(logits))),
                q.entropy(),
            ]
        for result in results:
            assert np.isfinite(tf.cast(result, tf.float64)).all()
            assert np.isfinite(tf.cast(tape.gradient(result, logits), tf.float64)).all()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(jit_compile):
    shapes = {}

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 2, 3], tf.float64)])
    def traced(logits):
        q = ProductCategorical(logits)
        prior = ProductCategorical(tf.zeros([2, 3], tf.float64))
        results = {
            "sample": q.sample(4, seed=[1, 2]),
            "relaxed": q.relax([1, 2], 4, 0.5),
            "log_prob": q.log_prob(q.sample(4, seed=[1, 2])),
            "kl": q.kl_divergence(prior),
            "entropy": q.entropy(),
        }
        shapes.update({name: result.shape.as_list() for name, result in results.items()})
        return results

    logits = random_logits(5, 2, 3)
    results = traced(logits)
    assert shapes == {
        "sample": [4, None, 2, 3],
        "relaxed": [4, None, 2, 3],
        "log_prob": [4, None],
        "kl": [None],
        "entropy": [None],
    }
    q = ProductCategorical(logits)
    np.testing.assert_array_equal(results["sample"], q.sample(4, seed=[1, 2]))
    np.testing.assert_allclose(results["relaxed"], q.relax([1, 2], 4, 0.5), rtol=1e-9)
    np.testing.assert_allclose(results["kl"], q.kl_divergence(ProductCategorical(np.zeros((2, 3)))), rtol=1e-9)


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (3, 0)])
def test_logits_without_latent_variables_or_categories_are_refused(shape):
    with pytest.raises(InputError, match=r"logits must have shape \[\*batch, N, K\] .* Received: logits of shape"):
        ProductCategorical(tf.zeros(shape))


@pytest.mark.parametrize("shape", [[2, None], [None, 3], None])
def test_logits_with_an_unknown_event_are_refused(shape):
    traced = tf.function(lambda logits: ProductCategorical(logits).mean())
    with pytest.raises(InputError, match=r"logits must have shape \[\*batch, N, K\]"):
        traced.get_concrete_function(tf.TensorSpec(shape, tf.float32))
