import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdiscrete import InputError
from tfdiscrete.bijectors import PlanarFlow


def parameters(dimension, batch=(), seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(scale=scale, size=(*batch, dimension)),
        rng.normal(size=(*batch, dimension)),
        rng.normal(size=batch),
    )


def planar(y, u, w, b):
    """The flow of one set of parameters and its log-det, by the formulas of the docstring."""
    wu = w @ u
    shift = u + (np.logaddexp(0.0, wu + np.log(np.e - 1.0)) - 1.0 - wu) * w / (w @ w)
    t = np.tanh(y @ w + b)
    return y + shift * t[..., None], np.log(np.abs(1.0 + (1.0 - t**2) * (shift @ w)))


def steep(product, dimension, dtype):
    """Parameters with `w.u = product`, `|w| = 1`, and `b = 0`."""
    w = np.ones(dimension) / np.sqrt(dimension)
    return PlanarFlow(tf.constant(product * w, dtype), tf.constant(w, dtype), tf.zeros([], dtype)), w


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dimension", [1, 2, 9])
def test_values_and_log_det_are_those_of_the_formulas(dimension, seed):
    u, w, b = parameters(dimension, seed=seed)
    y = np.random.default_rng(9).normal(size=(6, dimension))
    x, log_det = planar(y, u, w, b)
    np.testing.assert_allclose(PlanarFlow(u, w, b).forward(y), x, rtol=1e-12)
    np.testing.assert_allclose(PlanarFlow(u, w, b).forward_log_det_jacobian(y), log_det, rtol=1e-9, atol=1e-12)


def test_values_by_hand():
    # w.u = log((e^2 - 1) / (e - 1)), so that s = 2 and u^ = u + (1 - w.u) w / 4 = (3, 1 / 2)
    product = np.log((np.e**2 - 1.0) / (np.e - 1.0))
    u, w, b = np.array([3.0, product / 2.0]), np.array([0.0, 2.0]), np.array(0.0)
    x = PlanarFlow(u, w, b).forward(np.array([5.0, 0.25]))
    np.testing.assert_allclose(x, [5.0 + 3.0 * np.tanh(0.5), 0.25 + 0.5 * np.tanh(0.5)], rtol=1e-12)
    np.testing.assert_allclose(PlanarFlow(u, w, b).forward_log_det_jacobian(np.zeros(2)), np.log(2.0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [1e-6, 1e-3, 1.0, 100.0])
def test_a_small_u_is_a_small_shift_however_long_w_is(length, dtype):
    u, w, _ = parameters(9, seed=1)
    u, w = 1e-3 * u / np.linalg.norm(u), length * w / np.linalg.norm(w)
    flow = PlanarFlow(tf.constant(u, dtype), tf.constant(w, dtype), tf.constant(5.0, dtype))
    y = tf.constant(np.random.default_rng(0).normal(size=(6, 9)), dtype)
    moved = np.linalg.norm(flow.forward(y) - y, axis=-1)
    assert (moved <= 1.01e-3).all()
    assert (moved >= 0.5e-3 * np.abs(np.tanh(y.numpy() @ w + 5.0))).all()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 5.0]), dimension=st.sampled_from([1, 2, 9]))
def test_random_parameters_give_an_invertible_map(seed, scale, dimension):
    u, w, b = parameters(dimension, seed=seed, scale=scale)
    flow, rng = PlanarFlow(u, w, b), np.random.default_rng(seed)
    x = rng.normal(scale=5.0, size=(20, dimension))
    np.testing.assert_allclose(flow.forward(tf.identity(flow.inverse(x))), x, rtol=1e-9, atol=1e-9)
    assert np.isfinite(flow.forward_log_det_jacobian(x)).all()
    # Along w the offset increases, and so no two points meet.
    line = np.linspace(-10.0, 10.0, 201)[:, None] * w / (w @ w)
    assert (np.diff(flow.forward(line).numpy() @ w) > 0).all()


@pytest.mark.parametrize(("dtype", "product"), [("float32", -100.0), ("float64", -1000.0), ("float64", -30.0)])
@pytest.mark.parametrize("dimension", [1, 9])
def test_strongly_opposed_u_and_w_stay_monotone_with_a_finite_log_det(dimension, dtype, product):
    flow, w = steep(product, dimension, dtype)
    a = np.concatenate([np.linspace(-6.0, 6.0, 241), [0.0, 1e-6, 1e-15, 100.0, -100.0]])
    y = tf.constant(a[:, None] * w, dtype)
    x, log_det = flow.forward(y), flow.forward_log_det_jacobian(y).numpy()
    epsilon = np.finfo(dtype).eps
    # Up to the rounding of y + u^ tanh(a), whose terms are as long as u.
    assert (np.diff(x.numpy()[:241].astype("float64") @ w) > -100 * epsilon).all()
    assert np.isfinite(x).all()
    assert np.isfinite(log_det).all()
    # The slope along w is t^2 + s (1 - t^2), s = softplus(w.u + log(e - 1)) = (e - 1) e^(w.u), or next to it.
    t2 = np.tanh(a) ** 2
    s = np.maximum((np.e - 1.0) * np.exp(product), np.finfo(dtype).tiny)
    np.testing.assert_allclose(log_det, np.log(t2 + s * (1.0 - t2)), rtol=100 * epsilon, atol=100 * epsilon)


@pytest.mark.parametrize(("dtype", "product"), [("float32", -100.0), ("float64", -1000.0)])
@pytest.mark.parametrize("dimension", [1, 9])
def test_strongly_opposed_u_and_w_keep_an_inverse_with_finite_gradients(dimension, dtype, product):
    flow, w = steep(product, dimension, dtype)
    a = np.array([-5.0, -1.0, -0.1, -1e-3, 0.0, 1e-10, 0.3, 2.0, 50.0])
    x = tf.constant(a[:, None] * w, dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = flow.inverse(x)
    np.testing.assert_allclose(flow.forward(tf.identity(y)), x, atol=300 * np.finfo(dtype).eps * 50)
    assert np.isfinite(tape.gradient(y, x)).all()


@pytest.mark.parametrize("b", [0.0, 3.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_zero_w_is_the_identity_with_finite_gradients(dtype, b):
    leaves = [tf.constant(value, dtype) for value in ([1.0, -2.0, 3.0], [0.0, 0.0, 0.0], b)]
    y = tf.constant(np.random.default_rng(0).normal(size=(4, 3)), dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([*leaves, y])
        flow = PlanarFlow(*leaves)
        x, log_det, back = flow.forward(y), flow.forward_log_det_jacobian(y), flow.inverse(tf.identity(y))
    np.testing.assert_array_equal(x, y)
    np.testing.assert_array_equal(back, y)
    np.testing.assert_allclose(log_det, np.zeros(4), atol=1e-6)
    for result in (x, log_det, back):
        assert all(np.isfinite(g).all() for g in tape.gradient(result, [*leaves, y]) if g is not None)
    np.testing.assert_array_equal(tape.gradient(x, y), np.ones((4, 3)))


def test_some_latent_variables_may_have_zero_w():
    u, w, b = parameters(4, batch=(3,))
    w[1] = 0.0
    y = np.random.default_rng(1).normal(size=(5, 3, 4))
    x = PlanarFlow(u, w, b).forward(y).numpy()
    np.testing.assert_array_equal(x[:, 1], y[:, 1])
    np.testing.assert_allclose(x[:, 2], planar(y[:, 2], u[2], w[2], b[2])[0], rtol=1e-12)


def test_every_latent_variable_has_its_own_flow():
    u, w, b = parameters(4, batch=(3,))
    y = np.random.default_rng(1).normal(size=(5, 3, 4))
    flow = PlanarFlow(u, w, b)
    x, log_det = flow.forward(y), flow.forward_log_det_jacobian(y)
    back = flow.inverse(tf.identity(x))
    for n in range(3):
        expected, expected_log_det = planar(y[:, n], u[n], w[n], b[n])
        np.testing.assert_allclose(x[:, n], expected, rtol=1e-12)
        np.testing.assert_allclose(log_det[:, n], expected_log_det, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(back[:, n], y[:, n], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(
            PlanarFlow(u[n], w[n], b[n]).inverse(np.asarray(x)[:, n]), y[:, n], rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("method", ["forward", "inverse", "forward_log_det_jacobian", "inverse_log_det_jacobian"])
def test_gradients_are_those_of_finite_differences(method):
    step, weights = 1e-6, np.random.default_rng(3).normal(size=(5, 3))
    values = [np.random.default_rng(2).normal(size=(5, 3)), *parameters(3)]

    def total(y, u, w, b):
        result = getattr(PlanarFlow(u, w, b), method)(tf.identity(y))
        return tf.reduce_sum(result * (weights if result.shape.rank == 2 else weights[:, 0]))

    leaves = [tf.constant(value) for value in values]
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        result = total(*leaves)
    for position, gradient in enumerate(tape.gradient(result, leaves)):
        expected = np.zeros_like(values[position])
        for index in np.ndindex(expected.shape):
            shifted = []
            for sign in (1.0, -1.0):
                moved = [np.array(value) for value in values]
                moved[position][index] += sign * step
                shifted.append(total(*moved))
            expected[index] = (shifted[0] - shifted[1]) / (2.0 * step)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("u", "w"), [((2,), (3,)), ((), (2,)), ((2,), ()), ((4, 1), (4, 2))])
def test_u_and_w_of_other_lengths_are_refused(u, w):
    with pytest.raises(InputError, match=r"u and w must have shape \[\*batch, D\] with one D. Received: u of shape"):
        PlanarFlow(np.ones(u), np.ones(w), 0.0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_other_types_than_float32_and_float64_are_refused(dtype):
    with pytest.raises(InputError, match=f"u must be float32 or float64. Received: dtype='{dtype}'"):
        PlanarFlow(tf.ones([2], dtype), tf.ones([2], dtype), tf.zeros([], dtype))
