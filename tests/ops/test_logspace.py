import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete.ops import log_mean_exp


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
