import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.ops import straight_through, with_gradient_of


def hard_and_soft(dtype):
    soft = tf.nn.softmax(3.0 * tf.random.stateless_normal([500, 7], [1, 2], dtype=tf.float64), axis=-1)
    return tf.one_hot(tf.argmax(soft, axis=-1), 7, dtype=dtype), tf.cast(soft, dtype)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_value_is_exactly_the_hard_one(dtype, jit_compile):
    hard, soft = hard_and_soft(dtype)
    value = tf.function(straight_through, jit_compile=jit_compile)(hard, soft)
    assert value.dtype == dtype
    np.testing.assert_array_equal(value, hard)
    assert ((hard + soft) - soft != hard).numpy().any(), "these numbers would not show a wrong order of the terms"


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradient_is_the_soft_one_s_alone(jit_compile):
    hard, soft = hard_and_soft("float64")
    weights = tf.random.stateless_normal(soft.shape, [3, 4], dtype=tf.float64)

    @tf.function(jit_compile=jit_compile)
    def gradients(hard, soft):
        with tf.GradientTape() as tape:
            tape.watch([hard, soft])
            value = tf.reduce_sum(weights * tf.square(straight_through(hard, soft)))
        return tape.gradient(value, [hard, soft], unconnected_gradients="zero")

    of_hard, of_soft = gradients(hard, soft)
    np.testing.assert_array_equal(of_hard, np.zeros_like(hard))
    np.testing.assert_allclose(of_soft, 2 * weights * hard, rtol=1e-12)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_carrier_is_exactly_zero_with_the_tensor_s_gradient(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def value_and_gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            carrier = with_gradient_of(tf.square(x))
        return carrier, tape.gradient(carrier, x)

    x = tf.constant([1e-30, -3.0, 1e10], tf.float64)
    value, gradient = value_and_gradient(x)
    np.testing.assert_array_equal(value, [0.0, 0.0, 0.0])
    np.testing.assert_allclose(gradient, 2 * x.numpy(), rtol=1e-15)
