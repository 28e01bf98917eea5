import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import InputError
from tfdiscrete.distributions import GumbelSoftmax

tfd = tfp.distributions

LOGITS = {1: [0.3], 2: [0.5, -1.0], 3: [0.5, -1.0, 0.2], 5: [0.5, -1.0, 0.2, 0.0, 2.0]}
TEMPERATURES = [0.3, 1.0, 2.5]


def distribution(categories, temperature):
    return GumbelSoftmax(tf.constant(temperature, tf.float64), tf.constant(LOGITS[categories], tf.float64))


def interior_points(categories, count=50):
    return np.random.default_rng(0).dirichlet(np.ones(categories), size=count)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("categories", [2, 3, 5])
def test_log_prob_is_the_stated_density(categories, temperature):
    x, pi = interior_points(categories), scipy.special.softmax(LOGITS[categories])
    density = (
        scipy.special.factorial(categories - 1)
        * temperature ** (categories - 1)
        * np.prod(pi * x ** (-temperature - 1), axis=-1)
        / np.sum(pi * x**-temperature, axis=-1) ** categories
    )
    np.testing.assert_allclose(distribution(categories, temperature).log_prob(x), np.log(density), rtol=1e-9)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("categories", [2, 3, 5])
def test_log_prob_is_that_of_tfp(categories, temperature):
    x = interior_points(categories)
    logits = tf.constant(LOGITS[categories], tf.float64)
    expected = tfd.RelaxedOneHotCategorical(tf.constant(temperature, tf.float64), logits).log_prob(x)
    np.testing.assert_allclose(distribution(categories, temperature).log_prob(x), expected, rtol=1e-9)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("categories", [2, 3])
def test_density_integrates_to_one(categories, temperature):
    relaxed = distribution(categories, temperature)

    def integrand(t):
        """The density at softmax([t, 0]), times |dx/dt| = prod_k x_k, over all t in R^(K-1)."""
        log_x = scipy.special.log_softmax(np.concatenate([t, np.zeros((len(t), 1))], axis=-1), axis=-1)
        return np.exp(relaxed.log_prob_of_log(log_x).numpy() + log_x.sum(-1))

    bound = 60.0 / min(temperature, 1.0)
    limits = np.full(categories - 1, bound)
    integral = scipy.integrate.cubature(integrand, -limits, limits, rtol=1e-7)
    assert integral.status == "converged"
    assert integral.estimate == pytest.approx(1.0, abs=1e-6)


def test_a_single_category_is_certain():
    relaxed = distribution(1, 0.5)
    np.testing.assert_array_equal(relaxed.sample(3, seed=[0, 1]), np.ones((3, 1)))
    np.testing.assert_array_equal(relaxed.log_prob(np.ones((3, 1))), np.zeros(3))


@pytest.mark.parametrize("temperature", [0.01, *TEMPERATURES])
def test_argmax_of_samples_has_the_frequencies_of_the_softmax(temperature):
    count = 100_000
    sample = distribution(5, temperature).sample(count, seed=[1, 2]).numpy()
    counts = np.bincount(sample.argmax(-1), minlength=5)
    assert scipy.stats.chisquare(counts, count * scipy.special.softmax(LOGITS[5])).pvalue > 1e-3


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_log_ratio_of_two_categories_is_logistic(temperature):
    log_x = distribution(2, temperature).sample_log(50_000, [1, 2]).numpy()
    standard = temperature * (log_x[:, 0] - log_x[:, 1]) - (LOGITS[2][0] - LOGITS[2][1])
    assert scipy.stats.kstest(standard, "logistic").pvalue > 1e-3


def test_samples_are_the_exponentials_of_their_logarithms():
    relaxed = distribution(5, 0.5)
    np.testing.assert_allclose(relaxed.sample(4, seed=[1, 2]), tf.exp(relaxed.sample_log(4, [1, 2])), rtol=1e-12)


def test_gradient_of_samples_is_that_of_finite_differences():
    logits, step = np.array(LOGITS[3]), 1e-6

    def sample(logits):
        return GumbelSoftmax(tf.constant(0.7, tf.float64), logits).sample(4, seed=[1, 2])

    with tf.GradientTape() as tape:
        leaf = tf.constant(logits)
        tape.watch(leaf)
        y = sample(leaf)
    differences = [(sample(logits + d) - sample(logits - d)) / (2 * step) for d in step * np.eye(3)]
    np.testing.assert_allclose(tape.jacobian(y, leaf), np.stack(differences, axis=-1), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("categories", [1, 2, 10_000])
def test_log_samples_and_their_density_are_finite_at_the_edges(categories, temperature):
    signs = np.where(np.arange(categories) % 2, 1.0, -1.0)
    logits = tf.constant(100.0 * np.stack([signs, -signs, np.zeros(categories)]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        relaxed = GumbelSoftmax(temperature, logits)
        log_x = relaxed.sample_log([2], [1, 2])
        log_prob = relaxed.log_prob_of_log(log_x)
    assert log_x.shape == (2, 3, categories)
    assert log_prob.shape == (2, 3)
    assert np.isfinite(log_x).all()
    assert np.isfinite(log_prob).all()
    assert np.isfinite(tape.gradient(log_prob, logits)).all()


@pytest.mark.parametrize("sample_shape", [3, [3], [2, 3], []])
def test_shapes_are_sample_then_batch_then_event(sample_shape):
    relaxed = GumbelSoftmax(0.5, tf.zeros([4, 5]))
    expected = (*np.atleast_1d(np.array(sample_shape, int)), 4, 5)
    assert relaxed.batch_shape == (4,)
    assert relaxed.event_shape == (5,)
    np.testing.assert_array_equal(relaxed.batch_shape_tensor(), [4])
    np.testing.assert_array_equal(relaxed.event_shape_tensor(), [5])
    assert relaxed.sample(sample_shape, seed=[0, 1]).shape == expected
    assert relaxed.sample_log(sample_shape, [0, 1]).shape == expected
    assert relaxed.log_prob(relaxed.sample(sample_shape, seed=[0, 1])).shape == expected[:-1]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(jit_compile):
    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 5], tf.float64)])
    def traced(logits):
        relaxed = GumbelSoftmax(tf.constant(0.5, tf.float64), logits)
        log_x = relaxed.sample_log([2], [1, 2])
        return log_x, relaxed.log_prob_of_log(log_x)

    logits = np.random.default_rng(0).normal(size=(4, 5))
    relaxed = GumbelSoftmax(tf.constant(0.5, tf.float64), logits)
    log_x, log_prob = traced(logits)
    np.testing.assert_allclose(log_x, relaxed.sample_log([2], [1, 2]), rtol=1e-9)
    np.testing.assert_allclose(log_prob, relaxed.log_prob_of_log(log_x), rtol=1e-9)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_logits_without_categories_are_refused(shape):
    with pytest.raises(InputError, match=r"logits must have shape \[\*batch, K\] with K >= 1 static. Received: shape"):
        GumbelSoftmax(0.5, tf.zeros(shape))
