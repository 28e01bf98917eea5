import itertools

import mpmath
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.bijectors import SoftmaxPlusPlus

CATEGORIES = [2, 3, 10, 200]
TEMPERATURES = [0.01, 0.1, 0.67, 1.0, 10.0]
DELTAS = [0.1, 1.0, 10.0]

every_delta = pytest.mark.parametrize("delta", DELTAS)
every_temperature = pytest.mark.parametrize("temperature", TEMPERATURES)
every_size = pytest.mark.parametrize("categories", CATEGORIES)


def float64(temperature, delta):
    return SoftmaxPlusPlus(temperature, delta, dtype=tf.float64)


def point(categories, temperature, largest, seed=0):
    """A point whose `y / temperature` goes from `-largest` to `largest`, or for one dimension to one of the two."""
    scaled = np.random.default_rng(seed).uniform(-largest, largest, size=categories - 1)
    scaled[0], scaled[-1] = -largest, largest
    return temperature * scaled


def exact_log_det(y, temperature, delta):
    """log det of (diag(g) - g g^T) / temperature, by elimination in as many digits as the least g takes."""
    with mpmath.workdps(3000):
        exponentials = [mpmath.exp(mpmath.mpf(value) / mpmath.mpf(temperature)) for value in y]
        total = mpmath.fsum(exponentials) + mpmath.mpf(delta)
        g, size = [value / total for value in exponentials], len(y)
        matrix = mpmath.matrix(size, size)
        for i in range(size):
            for j in range(size):
                matrix[i, j] = ((g[i] if i == j else 0) - g[i] * g[j]) / mpmath.mpf(temperature)
        return float(mpmath.log(mpmath.det(matrix)))


@every_delta
@every_temperature
@every_size
def test_forward_is_the_stated_formula(categories, temperature, delta):
    y = point(categories, temperature, 10.0)
    exponentials = np.append(np.exp(y / temperature), delta)
    np.testing.assert_allclose(float64(temperature, delta).forward(y), exponentials / exponentials.sum(), rtol=1e-12)


@every_delta
@every_temperature
@every_size
def test_log_dets_are_those_of_the_autodiff_jacobian(categories, temperature, delta):
    bijector, size = float64(temperature, delta), categories - 1
    y = tf.constant(point(categories, temperature, 10.0))
    # One copy of the point for each row of the Jacobian.
    copies = tf.tile(y[None], [size, 1])
    with tf.GradientTape() as tape:
        tape.watch(copies)
        x = bijector.forward(copies)
    jacobian = tape.gradient(x, copies, output_gradients=tf.eye(size, size + 1, dtype=tf.float64))
    expected = np.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(y), expected, rtol=1e-9)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(tf.identity(x[0])), -expected, rtol=1e-9)


@every_delta
@every_temperature
@pytest.mark.parametrize(("categories", "largest"), [(2, 300.0), (3, 40.0), (3, 300.0), (6, 300.0)])
def test_log_dets_of_distant_points_are_those_of_many_digits(categories, largest, temperature, delta):
    bijector, y = float64(temperature, delta), point(categories, temperature, largest)
    expected = exact_log_det(y, temperature, delta)
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(y), expected, rtol=1e-12)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(bijector.forward(y)), -expected, rtol=1e-12)


@every_temperature
@every_size
def test_inverse_undoes_forward_for_wide_spreads(categories, temperature):
    for delta, largest in itertools.product(DELTAS, (10.0, 300.0)):
        bijector = float64(temperature, delta)
        y = np.stack([point(categories, temperature, largest), -point(categories, temperature, largest, seed=1)])
        # A bijector remembers its last arguments: identity makes them strangers.
        back = bijector.inverse(tf.identity(bijector.forward(y)))
        np.testing.assert_allclose(back, y, rtol=1e-9, atol=1e-12 * temperature)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_det_is_finite_and_right_at_a_million(dtype):
    y = np.array([[1e6, -1e6], [1e6, 1e6], [-1e6, -1e6]], dtype)
    # sum_k log g_k - 2 log tau for g = (1, e^-8e6, e^-4e6), (1/2, 1/2, e^-4e6 / 2) and (e^-4e6, e^-4e6, 1)
    expected = np.array([-12e6, -4e6 - 3 * np.log(2), -8e6]) - 2 * np.log(0.25)
    log_det = SoftmaxPlusPlus(0.25, 1.0, dtype=dtype).forward_log_det_jacobian(y)
    np.testing.assert_allclose(log_det, expected, rtol=1e-6 if dtype == "float32" else 1e-14)


@pytest.mark.parametrize(
    ("y", "temperature", "delta", "determinant"),
    [
        # g = 1/3 each: (1/3 - 1/9)^2 - (1/9)^2 = 1/27, times (1 / tau)^2; a determinant with factors y_k is 0 here.
        ([0.0, 0.0], 0.5, 1.0, 4 / 27),
        # g = (2/3, 1/3): g_1 g_2 / tau
        ([0.5 * np.log(2.0)], 0.5, 1.0, 4 / 9),
        # g = (1/6, 1/3, 1/2)
        ([0.0, 2.0 * np.log(2.0)], 2.0, 3.0, 1 / 144),
    ],
)
def test_determinant_is_that_by_hand(y, temperature, delta, determinant):
    bijector = float64(temperature, delta)
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(np.array(y)), np.log(determinant), rtol=1e-12)


def test_log_det_is_on_the_first_coordinates_and_lacks_the_constant_of_the_centered_softmax():
    # On all K coordinates, sqrt(det J^T J) is sqrt(K) times that on the first K - 1.
    bijector, y = float64(0.7, 2.0), np.array([0.3, -1.0, 0.5])
    copies = tf.tile(tf.constant(y)[None], [4, 1])
    with tf.GradientTape() as tape:
        tape.watch(copies)
        x = bijector.forward(copies)
    jacobian = tape.gradient(x, copies, output_gradients=tf.eye(4, dtype=tf.float64)).numpy()
    surface = 0.5 * np.linalg.slogdet(jacobian.T @ jacobian)[1]
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(y), surface - 0.5 * np.log(4.0), rtol=1e-9)


@pytest.mark.parametrize(
    ("temperature_shape", "delta_shape", "y_shape"),
    [((4, 1), (), (3,)), ((), (4, 1), (3,)), ((2, 1, 1), (4, 1), (4, 3))],
)
def test_temperature_and_delta_of_other_shapes_broadcast(temperature_shape, delta_shape, y_shape):
    rng = np.random.default_rng(0)
    temperature, delta = rng.uniform(0.5, 2.0, temperature_shape), rng.uniform(0.5, 2.0, delta_shape)
    y = rng.normal(size=y_shape)
    batch = np.broadcast_shapes(temperature_shape[:-1], delta_shape[:-1], y_shape[:-1])
    x = float64(temperature, delta).forward(y)
    assert x.shape == (*batch, 4)
    log_det = float64(temperature, delta).forward_log_det_jacobian(y)
    assert log_det.shape == batch
    exponentials = np.exp(y / temperature)
    exponentials = np.broadcast_to(exponentials, (*batch, 3))
    weights = np.concatenate([exponentials, np.broadcast_to(delta, (*batch, 1))], axis=-1)
    g = weights / weights.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(x, g, rtol=1e-12)
    expected = np.log(g).sum(-1) - 3 * np.log(np.broadcast_to(temperature, (*batch, 1))[..., 0])
    np.testing.assert_allclose(log_det, expected, rtol=1e-12)


def test_event_of_unknown_length_stays_unknown():
    assert SoftmaxPlusPlus().forward_event_shape([None]).as_list() == [None]
    assert SoftmaxPlusPlus().inverse_event_shape([None]).as_list() == [None]
