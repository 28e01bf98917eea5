import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete.ops import reinmax, snap, step, straight_through, with_gradient_of


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


def value_and_gradient(function, x, weights):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y, tape.gradient(y, x, output_gradients=tf.cast(weights, y.dtype))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_step_is_one_from_zero_on_with_the_gradient_of_the_identity(dtype):
    weights = [1.0, -2.0, 3.0, 4.0, 5.0]
    y, gradient = value_and_gradient(step, tf.constant([-100.0, -1e-3, 0.0, 1e-3, 100.0], dtype), weights)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(gradient, np.array(weights))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_snap_is_the_one_hot_maximum_with_the_gradient_of_the_identity(dtype):
    weights = [[1.0, -2.0, 3.0], [4.0, 5.0, 6.0]]
    y, gradient = value_and_gradient(snap, tf.constant([[-100.0, 3.0, 3.0], [100.0, 0.0, -1.0]], dtype), weights)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, [[0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(gradient, np.array(weights))


def jacobian_of_softmax(p):
    return np.diag(p) - np.outer(p, p)


class TestReinMax:
    """The expectation over all one-hot samples, and its gradient, in NumPy: f(z) = z A z / 2 + b z."""

    def problem(self, categories, seed=0):
        rng = np.random.default_rng([seed, categories])
        return (rng.normal(size=shape) for shape in ([categories], [categories, categories], [categories]))

    def expected_gradient(self, estimator, logits, a, b):
        """sum_z pi(z) times the estimated gradient at z."""
        pi = scipy.special.softmax(logits)
        leaf = tf.constant(logits)
        with tf.GradientTape() as tape:
            tape.watch(leaf)
            z = estimator(leaf, tf.eye(len(logits), dtype=tf.float64))
            f = tf.einsum("sk,kj,sj->s", z, a, z) / 2 + tf.linalg.matvec(z, b)
        return tape.gradient(f, leaf, output_gradients=pi).numpy()

    def exact_gradient(self, logits, a, b):
        f = np.diag(a) / 2 + b
        return jacobian_of_softmax(scipy.special.softmax(logits)) @ f

    @pytest.mark.parametrize("categories", [1, 2, 3, 7])
    def test_expected_gradient_is_exact_for_quadratic_functions(self, categories):
        for seed in range(5):
            logits, a, b = self.problem(categories, seed)
            exact = self.exact_gradient(logits, a, b)
            np.testing.assert_allclose(self.expected_gradient(reinmax, logits, a, b), exact, rtol=1e-10, atol=1e-12)

    def test_straight_through_is_exact_for_linear_functions_and_not_for_quadratic_ones(self):
        def estimator(logits, hard):
            return straight_through(hard, tf.broadcast_to(tf.nn.softmax(logits), hard.shape))

        logits, a, b = self.problem(3)
        linear = self.expected_gradient(estimator, logits, 0 * a, b)
        np.testing.assert_allclose(linear, self.exact_gradient(logits, 0 * a, b), rtol=1e-12)
        assert abs(self.expected_gradient(estimator, logits, a, b) - self.exact_gradient(logits, a, b)).max() > 0.01

    @pytest.mark.parametrize("temperature", [0.5, 2.0])
    def test_gradient_at_a_temperature_is_the_stated_one(self, temperature):
        logits, _, weights = self.problem(4)
        pi, tempered = scipy.special.softmax(logits), scipy.special.softmax(logits / temperature)
        halfway = (np.eye(4)[2] + tempered) / 2
        expected = (2 * jacobian_of_softmax(halfway) - jacobian_of_softmax(pi) / 2) @ weights
        hard = tf.one_hot(2, 4, dtype=tf.float64)
        _, gradient = value_and_gradient(lambda x: reinmax(x, hard, temperature), tf.constant(logits), weights)
        np.testing.assert_allclose(gradient, expected, rtol=1e-10)

    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
    @pytest.mark.parametrize("categories", [1, 2, 10_000])
    def test_value_is_exactly_the_hard_one_and_the_gradient_finite_for_extreme_logits(
        self, categories, dtype, jit_compile
    ):
        signs = np.where(np.arange(categories) % 2, 1.0, -1.0)
        logits = tf.constant(100.0 * np.stack([signs, -signs, np.zeros(categories)]), dtype)
        hard = tf.one_hot([0, 0, categories - 1], categories, dtype=dtype)
        weights = tf.random.stateless_normal(hard.shape, [1, 2])
        run = tf.function(lambda x: value_and_gradient(lambda x: reinmax(x, hard), x, weights), jit_compile=jit_compile)
        y, gradient = run(logits)
        assert y.dtype == gradient.dtype == dtype
        np.testing.assert_array_equal(y, hard)
        assert np.isfinite(tf.cast(gradient, tf.float64)).all()
