import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tests.dtypes import FLOATS
from tfdiscrete import InputError
from tfdiscrete.distributions import StraightThroughOneHot

tfd = tfp.distributions

LOGITS = np.array([0.5, -1.0, 0.2, 0.0, 2.0])
BATCH = np.random.default_rng(0).normal(size=(4, 3))
TENSOR = tf.constant(BATCH)  # TFP would make float32 of an array


def test_samples_are_exactly_one_hot_with_the_frequencies_of_the_softmax():
    sample = StraightThroughOneHot(LOGITS).sample(100_000, seed=[1, 2]).numpy()
    np.testing.assert_array_equal(np.sort(sample, axis=-1), np.broadcast_to([0, 0, 0, 0, 1], sample.shape))
    assert scipy.stats.chisquare(sample.sum(0), 100_000 * scipy.special.softmax(LOGITS)).pvalue > 1e-3


def test_gradient_of_samples_is_that_of_the_probabilities_so_exact_for_linear_functions():
    weights = np.random.default_rng(1).normal(size=(4, 3))
    logits, step = tf.constant(BATCH), 1e-6
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = tf.reduce_sum(weights * StraightThroughOneHot(logits).sample(2, seed=[1, 2])) / 2

    def expectation(logits):
        """Over all categories, of the linear function."""
        return np.sum(weights * scipy.special.softmax(logits, axis=-1))

    exact = np.zeros_like(BATCH)
    for index in np.ndindex(*BATCH.shape):
        d = np.zeros_like(BATCH)
        d[index] = step
        exact[index] = (expectation(BATCH + d) - expectation(BATCH - d)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(value, logits), exact, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", ["entropy", "mean", "mode"])
def test_statistics_are_those_of_tfp(method):
    ours, theirs = StraightThroughOneHot(BATCH), tfd.OneHotCategorical(TENSOR, dtype=tf.float64)
    np.testing.assert_allclose(getattr(ours, method)(), getattr(theirs, method)(), rtol=1e-9)


def test_log_prob_is_that_of_tfp_and_its_gradient_passes_through_the_sample():
    q, z = StraightThroughOneHot(BATCH), np.eye(3)[[0, 2, 1, 1]]
    np.testing.assert_allclose(q.log_prob(z), tfd.OneHotCategorical(TENSOR).log_prob(z), rtol=1e-9)
    with tf.GradientTape() as tape:
        leaf = tf.constant(z)
        tape.watch(leaf)
        log_prob = q.log_prob(leaf)
    np.testing.assert_allclose(tape.gradient(log_prob, leaf), scipy.special.log_softmax(BATCH, axis=-1), rtol=1e-9)


KINDS = [StraightThroughOneHot, tfd.OneHotCategorical]


@pytest.mark.parametrize("p_kind", KINDS)
@pytest.mark.parametrize("q_kind", KINDS)
def test_kl_is_that_of_the_categorical_laws(q_kind, p_kind):
    prior = np.random.default_rng(1).normal(size=3)
    log_q, log_p = scipy.special.log_softmax(BATCH, axis=-1), scipy.special.log_softmax(prior)
    expected = np.sum(np.exp(log_q) * (log_q - log_p), axis=-1)
    kl = tfd.kl_divergence(q_kind(logits=TENSOR), p_kind(logits=tf.constant(prior)))
    np.testing.assert_allclose(kl, expected, rtol=1e-9)


def test_kl_of_an_impossible_category_counts_it_as_zero():
    q = tfd.OneHotCategorical(probs=tf.constant([0.5, 0.5, 0.0], tf.float64))
    assert float(tfd.kl_divergence(q, StraightThroughOneHot(np.zeros(3)))) == pytest.approx(np.log(1.5))


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("categories", [1, 2, 10_000])
def test_values_and_gradients_are_finite_for_extreme_logits(categories, dtype, jit_compile):
    signs = np.where(np.arange(categories) % 2, 1.0, -1.0)
    logits = tf.constant(100.0 * np.stack([signs, -signs, np.zeros(categories)]), dtype)

    @tf.function(jit_compile=jit_compile)
    def run(logits):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            q = StraightThroughOneHot(logits)
            z = q.sample(2, seed=[1, 2])
            kl = q.kl_divergence(StraightThroughOneHot(tf.reverse(logits, [0])))
            results = [z, q.log_prob(z), q.entropy(), q.mean(), kl]
            weighted = [tf.cast(tf.random.stateless_normal(z.shape, [1, 2]), dtype) * z, *results[1:]]
        return results, [tape.gradient(result, logits) for result in weighted]

    results, gradients = run(logits)
    assert [result.dtype for result in (*results, *gradients)] == [dtype] * 10
    assert all(np.isfinite(np.asarray(value, "float64")).all() for value in (*results, *gradients))
    np.testing.assert_allclose(np.asarray(results[2][2], "float64"), np.log(categories), rtol=0.01)
    np.testing.assert_allclose(np.asarray(results[3], "float64").sum(-1), 1.0, rtol=0.01)


@pytest.mark.parametrize("sample_shape", [3, [3], [2, 3], []])
def test_shapes_are_sample_then_batch_then_event(sample_shape):
    q = StraightThroughOneHot(tf.zeros([4, 5]))
    expected = (*np.atleast_1d(np.array(sample_shape, int)), 4, 5)
    assert q.batch_shape == (4,)
    assert q.event_shape == (5,)
    np.testing.assert_array_equal(q.batch_shape_tensor(), [4])
    np.testing.assert_array_equal(q.event_shape_tensor(), [5])
    sample = q.sample(sample_shape, seed=[0, 1])
    assert sample.shape == q.decode(sample).shape == expected
    assert q.log_prob(sample).shape == expected[:-1]
    assert q.reparameterization_type == tfd.FULLY_REPARAMETERIZED


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(jit_compile):
    def run(logits):
        q = StraightThroughOneHot(logits)
        z = q.sample(2, seed=[1, 2])
        return z, q.log_prob(z)

    signature = [tf.TensorSpec([None, 3], tf.float64)]
    traced = tf.function(run, jit_compile=jit_compile, input_signature=signature)
    for ours, expected in zip(traced(BATCH), run(BATCH), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_logits_without_categories_are_refused(shape):
    with pytest.raises(InputError, match=r"logits must have shape \[\*batch, K\] with K >= 1 static. Received: shape"):
        StraightThroughOneHot(tf.zeros(shape))
