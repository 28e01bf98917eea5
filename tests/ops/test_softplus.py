"""Against the plain sum of softplus in float64, by NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.ops.softplus import sum_softplus

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(3,), (2, 5, 7), (4, 28, 28), (2, 101), (2, 1), (2, 997), (2, 0)])
def test_is_the_sum(shape):
    x = RNG.normal(scale=5.0, size=shape)
    rank = max(1, len(shape) - 1)
    expected = np.logaddexp(0.0, x).sum(axis=tuple(range(-rank, 0)))
    np.testing.assert_allclose(sum_softplus(tf.constant(x), rank), expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(sum_softplus(tf.constant(x, tf.float32), rank), expected, rtol=2e-6, atol=1e-6)


def test_a_hundred_zeros_do_not_overflow():
    assert sum_softplus(tf.zeros([784]), 1).numpy() == pytest.approx(784 * np.log(2.0), rel=1e-6)


def test_extremes():
    x = tf.constant([[1e4, -1e4], [np.inf, 0.0], [-np.inf, -np.inf], [np.nan, 0.0]], tf.float32)
    np.testing.assert_array_equal(sum_softplus(x, 1), [1e4, np.inf, 0.0, np.nan])


def test_half_precision_is_summed_in_float32():
    total = sum_softplus(tf.fill([1000], tf.constant(9.0, tf.float16)), 1)
    assert total.dtype == tf.float32
    assert total.numpy() == pytest.approx(1000 * np.logaddexp(0.0, 9.0), rel=1e-6)


@pytest.mark.parametrize("jit", [False, True])
def test_a_dynamic_batch(jit):
    x = RNG.normal(size=(3, 7, 30)).astype("float32")
    total = tf.function(lambda x: sum_softplus(x, 2), input_signature=[tf.TensorSpec([None, 7, 30])], jit_compile=jit)
    np.testing.assert_allclose(total(x), np.logaddexp(0.0, x).sum((1, 2)), rtol=1e-5)


def test_there_is_no_gradient():
    x = tf.zeros([3])
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = sum_softplus(x, 1)
    assert tape.gradient(total, x) is None
