import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete.ops import log_mean_exp
from tfdiscrete.ops.logspace import finite_log_odds, finite_logits


def exact(values, axis):
    return scipy.special.logsumexp(values, axis=axis) - np.log(values.shape[axis])


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_value_is_scipy_s_at_any_offset(axis, offset):
    values = np.random.default_rng(0).normal(size=(5, 4, 3)) + offset
    np.testing.assert_allclose(log_mean_exp(tf.constant(values), axis=axis), exact(values, axis), rtol=1e-13)


def test_the_samples_axis_is_the_default():
    values = np.random.default_rng(0).normal(size=(5, 4))
    np.testing.assert_allclose(log_mean_exp(tf.constant(values)), exact(values, 0), rtol=1e-13)


def test_minus_infinity_counts_as_zero_and_keeps_the_gradient_finite():
    values = tf.constant([[0.0, -np.inf], [-np.inf, -np.inf], [1.0, 2.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(values)
        result = log_mean_exp(values)
    np.testing.assert_allclose(result, np.log([(1 + np.e) / 3, np.exp(2) / 3]), rtol=1e-14)
    expected = [[1 / (1 + np.e), 0.0], [0.0, 0.0], [np.e / (1 + np.e), 1.0]]
    np.testing.assert_allclose(tape.gradient(result, values), expected, rtol=1e-14)


def test_the_count_may_be_unknown_when_traced():
    values = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    traced = tf.function(log_mean_exp, input_signature=[tf.TensorSpec([None, 4])])
    np.testing.assert_allclose(traced(values), exact(values, 0), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e3])
def test_a_masked_category_has_probability_0_and_the_others_theirs(dtype, scale):
    rng = np.random.default_rng(0)
    logits = tf.cast(scale * rng.normal(size=(6, 5)), dtype)
    mask = rng.random((6, 5)) < 0.4
    mask[:, 2] = False
    masked = tf.where(mask, tf.constant(-np.inf, logits.dtype), logits)
    found = finite_logits(masked)
    assert np.isfinite(tf.cast(found, tf.float64)).all()
    pi = tf.nn.softmax(found, axis=-1)
    np.testing.assert_array_equal(pi, tf.nn.softmax(masked, axis=-1))
    assert not np.any(np.asarray(pi)[mask])


@pytest.mark.parametrize("largest", [1e30, -1e30, 1e8])
def test_a_masked_category_stays_below_logits_of_any_size(largest):
    found = finite_logits(tf.constant([-np.inf, largest, 2.0 * largest]))
    assert found[0] < min(largest, 2.0 * largest) - 0.9e9
    np.testing.assert_array_equal(found[1:], tf.constant([largest, 2.0 * largest]))


def test_no_gradient_passes_to_or_from_a_masked_category():
    logits = tf.constant([[1.0, -np.inf, 3.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total = tf.reduce_sum(finite_logits(logits) * [5.0, 7.0, 11.0])
    np.testing.assert_array_equal(tape.gradient(total, logits), [[5.0, 0.0, 11.0]])


def test_nan_and_plus_infinity_stay():
    np.testing.assert_array_equal(finite_logits(tf.constant([np.nan, 1.0]))[:1], [np.nan])
    np.testing.assert_array_equal(finite_logits(tf.constant([np.inf, 1.0])), [np.inf, 1.0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_certain_bits_have_finite_log_odds_and_stay_certain(dtype):
    found = finite_log_odds(tf.cast([-np.inf, -2.0, np.inf], dtype))
    assert np.isfinite(tf.cast(found, tf.float64)).all()
    np.testing.assert_array_equal(tf.cast(tf.sigmoid(found), tf.float64)[::2], [0.0, 1.0])
    assert found[1] == -2.0


def test_a_row_without_a_possible_category_is_no_law_and_stays_so():
    found = finite_logits(tf.constant([[-np.inf, -np.inf], [-np.inf, 0.0]]))
    assert np.isneginf(found[0]).all()
    assert np.isfinite(found[1]).all()
