import numpy as np
import pytest
import scipy.integrate
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.bijectors import SoftmaxPlusPlus

tfd = tfp.distributions

PARAMETERS = [(1.0, 1.0), (0.5, 0.1), (0.1, 3.0), (4.0, 1e-3)]


def points(dimension, count=6, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=(count, dimension)))


def float64(temperature, delta):
    return SoftmaxPlusPlus(temperature, delta, dtype=tf.float64)


@pytest.mark.parametrize(("temperature", "delta"), PARAMETERS)
@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_forward_is_the_stated_formula(dimension, temperature, delta):
    y = points(dimension).numpy()
    exponentials = np.concatenate([np.exp(y / temperature), np.full((len(y), 1), delta)], axis=-1)
    expected = exponentials / exponentials.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(float64(temperature, delta).forward(y), expected, rtol=1e-12)


@pytest.mark.parametrize(("temperature", "delta"), PARAMETERS)
@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_log_det_is_that_of_the_autodiff_jacobian(dimension, temperature, delta):
    bijector, y = float64(temperature, delta), points(dimension)
    with tf.GradientTape() as tape:
        tape.watch(y)
        x = bijector.forward(tf.identity(y))[..., :-1]
    expected = np.linalg.slogdet(tape.batch_jacobian(x, y))[1]
    np.testing.assert_allclose(bijector.forward_log_det_jacobian(y), expected, rtol=1e-9)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(bijector.forward(y)), -expected, rtol=1e-9)


@pytest.mark.parametrize(("temperature", "delta"), PARAMETERS)
@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_inverse_undoes_forward_and_forward_undoes_inverse(dimension, temperature, delta):
    y = points(dimension)
    # Two instances, since a bijector remembers its last arguments.
    x = float64(temperature, delta).forward(y)
    np.testing.assert_allclose(float64(temperature, delta).inverse(tf.identity(x)), y, rtol=1e-9, atol=1e-9)
    x = tf.nn.softmax(points(dimension + 1, seed=1))
    y = float64(temperature, delta).inverse(x)
    np.testing.assert_allclose(float64(temperature, delta).forward(tf.identity(y)), x, rtol=1e-9)


@pytest.mark.parametrize(("temperature", "delta"), [*PARAMETERS, (1e-3, 1e-30), (1e-3, 1e30)])
def test_image_sums_to_one_and_nothing_overflows_in_float32(temperature, delta):
    y = tf.constant([[0.0, 0.0], [100.0, -100.0], [-100.0, -100.0], [100.0, 100.0]])
    with tf.GradientTape() as tape:
        tape.watch(y)
        bijector = SoftmaxPlusPlus(temperature, delta)
        x, log_det = bijector.forward(y), bijector.forward_log_det_jacobian(y)
        total = tf.reduce_sum(x * tf.constant([1.0, 2.0, 3.0])) + tf.reduce_sum(log_det)
    np.testing.assert_allclose(tf.reduce_sum(x, axis=-1), np.ones(4), atol=1e-6)
    assert np.isfinite(log_det).all()
    assert np.isfinite(tape.gradient(total, y)).all()


@pytest.mark.parametrize(("temperature", "delta"), [(1.0, 1.0), (0.5, 0.1)])
def test_density_of_a_transformed_normal_integrates_to_one(temperature, delta):
    normal = tfd.MultivariateNormalDiag(tf.constant([0.3, -0.5], tf.float64), tf.constant([0.7, 0.4], tf.float64))
    transformed = tfd.TransformedDistribution(normal, float64(temperature, delta))

    def density(corner):
        """At x_1 = u and x_2 = (1 - u) v for (u, v) in the unit square, whose Jacobian is 1 - u."""
        u, v = corner.T
        x = np.stack([u, (1 - u) * v, (1 - u) * (1 - v)], axis=-1)
        return transformed.prob(x).numpy() * (1 - u)

    integral = scipy.integrate.cubature(density, [1e-12, 1e-12], [1 - 1e-12, 1 - 1e-12], rtol=1e-5)
    assert integral.status == "converged"
    assert integral.estimate == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize(
    ("temperature_shape", "delta_shape", "y_shape"),
    [((4, 1), (), (3,)), ((), (4, 1), (3,)), ((2, 1, 1), (4, 1), (4, 3))],
)
def test_parameters_broadcast_with_the_batch(temperature_shape, delta_shape, y_shape):
    rng = np.random.default_rng(0)
    temperature, delta = rng.uniform(0.5, 2.0, temperature_shape), rng.uniform(0.5, 2.0, delta_shape)
    y = rng.normal(size=y_shape)
    batch = np.broadcast_shapes(temperature_shape[:-1], delta_shape[:-1], y_shape[:-1])
    bijector = float64(temperature, delta)
    x, log_det = bijector.forward(y), bijector.forward_log_det_jacobian(y)
    assert x.shape == (*batch, 4)
    assert log_det.shape == batch
    temperatures = np.broadcast_to(temperature, (*batch, 1))
    deltas = np.broadcast_to(delta, (*batch, 1))
    ys = np.broadcast_to(y, (*batch, 3))
    for index in np.ndindex(*batch):
        single = float64(temperatures[index][0], deltas[index][0])
        np.testing.assert_allclose(x[index], single.forward(ys[index]), rtol=1e-12)
        np.testing.assert_allclose(log_det[index], single.forward_log_det_jacobian(ys[index]), rtol=1e-12)


def test_event_gains_one_dimension_statically_and_dynamically():
    bijector = SoftmaxPlusPlus()
    assert bijector.forward_event_shape([5, 3]) == [5, 4]
    assert bijector.inverse_event_shape([5, 4]) == [5, 3]
    np.testing.assert_array_equal(bijector.forward_event_shape_tensor([5, 3]), [5, 4])
    np.testing.assert_array_equal(bijector.inverse_event_shape_tensor([5, 4]), [5, 3])
    assert bijector.forward_event_shape([None]).as_list() == [None]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(jit_compile):
    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 3], tf.float64)])
    def traced(y):
        bijector = float64(0.5, 0.7)
        return bijector.forward(y), bijector.forward_log_det_jacobian(y)

    y = points(3)
    x, log_det = traced(y)
    np.testing.assert_allclose(x, float64(0.5, 0.7).forward(y), rtol=1e-12)
    np.testing.assert_allclose(log_det, float64(0.5, 0.7).forward_log_det_jacobian(y), rtol=1e-12)
