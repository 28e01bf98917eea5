import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tests.dtypes import FLOATS
from tfdiscrete import InputError
from tfdiscrete.distributions import BinaryConcrete, GumbelSoftmax
from tfdiscrete.ops import logistic_noise

tfd = tfp.distributions

TEMPERATURES = [0.3, 1.0, 2.5]
LOGITS = [-1.5, 0.0, 2.0]
X = np.linspace(0.01, 0.99, 50)
HALF = ["float16", "bfloat16"]

every_law = pytest.mark.parametrize(("temperature", "logit"), [(t, a) for t in TEMPERATURES for a in LOGITS])


def distribution(temperature, logit):
    return BinaryConcrete(temperature, tf.constant(logit, tf.float64))


@every_law
def test_log_prob_is_the_stated_density(temperature, logit):
    odds = np.exp(logit)
    density = (
        temperature
        * odds
        * X ** (-temperature - 1)
        * (1 - X) ** (-temperature - 1)
        / (odds * X**-temperature + (1 - X) ** -temperature) ** 2
    )
    np.testing.assert_allclose(distribution(temperature, logit).log_prob(X), np.log(density), rtol=1e-9, atol=1e-12)


@every_law
def test_log_prob_is_that_of_tfp(temperature, logit):
    expected = tfd.RelaxedBernoulli(tf.constant(temperature, tf.float64), tf.constant(logit, tf.float64)).log_prob(X)
    np.testing.assert_allclose(distribution(temperature, logit).log_prob(X), expected, rtol=1e-9, atol=1e-12)


@every_law
def test_log_prob_is_that_of_the_first_coordinate_of_two_relaxed_categories(temperature, logit):
    pair = GumbelSoftmax(tf.constant(temperature, tf.float64), tf.constant([logit, 0.0], tf.float64))
    expected = pair.log_prob(np.stack([X, 1 - X], axis=-1))
    np.testing.assert_allclose(distribution(temperature, logit).log_prob(X), expected, rtol=1e-9, atol=1e-12)


@every_law
def test_samples_have_the_law_of_the_first_coordinate_of_two_relaxed_categories(temperature, logit):
    pair = GumbelSoftmax(tf.constant(temperature, tf.float64), tf.constant([logit, 0.0], tf.float64))
    ours = distribution(temperature, logit).sample(20_000, seed=[1, 2])
    assert scipy.stats.ks_2samp(ours, pair.sample(20_000, seed=[3, 4])[:, 0]).pvalue > 1e-3


@every_law
def test_density_of_the_logit_is_a_logistic_and_both_densities_integrate_to_one(temperature, logit):
    relaxed = distribution(temperature, logit)
    t = np.linspace(-20.0, 20.0, 41)
    expected = scipy.stats.logistic(loc=logit / temperature, scale=1 / temperature).logpdf(t)
    np.testing.assert_allclose(relaxed.log_prob_of_logit(t), expected, rtol=1e-9)

    def density_of_x(t):
        x = scipy.special.expit(t)
        return float(np.exp(relaxed.log_prob(x)) * x * scipy.special.expit(-t))

    law = scipy.stats.logistic(loc=logit / temperature, scale=1 / temperature)
    integral = scipy.integrate.quad(density_of_x, -30.0, 30.0, points=[logit / temperature], limit=200)[0]
    assert integral == pytest.approx(law.cdf(30.0) - law.cdf(-30.0), abs=1e-6)
    assert integral > 0.99


@every_law
def test_cdf_is_the_integral_of_the_density_and_quantile_its_inverse(temperature, logit):
    relaxed = distribution(temperature, logit)
    between = scipy.integrate.quad(lambda x: float(tf.exp(relaxed.log_prob(x))), 0.2, 0.7)[0]
    assert float(relaxed.cdf(0.7) - relaxed.cdf(0.2)) == pytest.approx(between, abs=1e-8)
    np.testing.assert_array_equal(relaxed.cdf([-0.5, 0.0, 1.0, 1.5]), [0.0, 0.0, 1.0, 1.0])
    np.testing.assert_allclose(relaxed.quantile(relaxed.cdf(X)), X, rtol=1e-9)


@every_law
def test_samples_follow_the_cdf_and_their_logits_a_logistic(temperature, logit):
    relaxed = distribution(temperature, logit)
    sample, t = relaxed.sample(20_000, seed=[1, 2]), relaxed.sample_logit(20_000, [1, 2])
    assert scipy.stats.kstest(sample, lambda x: relaxed.cdf(x).numpy()).pvalue > 1e-3
    assert scipy.stats.kstest(t, scipy.stats.logistic(loc=logit / temperature, scale=1 / temperature).cdf).pvalue > 1e-3
    above = (sample.numpy() > 0.5).sum()
    assert scipy.stats.binomtest(int(above), 20_000, scipy.special.expit(logit)).pvalue > 1e-3


def test_samples_are_the_sigmoid_of_logits_plus_logistic_noise():
    logits = np.random.default_rng(0).normal(size=(4, 3))
    noise = logistic_noise([2, 4, 3], [1, 2], dtype=tf.float64).numpy()
    expected = scipy.special.expit((logits + noise) / 0.7)
    np.testing.assert_allclose(BinaryConcrete(0.7, logits).sample(2, seed=[1, 2]), expected, rtol=1e-12)


def test_gradient_of_samples_is_that_of_finite_differences():
    logits, step = np.array(LOGITS), 1e-6

    def sample(logits, temperature):
        return BinaryConcrete(temperature, logits).sample(4, seed=[1, 2])

    with tf.GradientTape(persistent=True) as tape:
        leaf, temperature = tf.constant(logits), tf.constant(0.7, tf.float64)
        tape.watch([leaf, temperature])
        y = sample(leaf, temperature)
    differences = [(sample(logits + d, 0.7) - sample(logits - d, 0.7)) / (2 * step) for d in step * np.eye(3)]
    np.testing.assert_allclose(tape.jacobian(y, leaf), np.stack(differences, axis=-1), rtol=1e-6, atol=1e-9)
    difference = (sample(logits, 0.7 + step) - sample(logits, 0.7 - step)) / (2 * step)
    np.testing.assert_allclose(tape.jacobian(y, temperature), difference, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("temperature", [1e-3, 0.1, 10.0])
@pytest.mark.parametrize("dtype", FLOATS)
def test_values_and_gradients_are_finite_at_the_edges(dtype, temperature, jit_compile):
    logits = tf.constant([-100.0, -1.0, 0.0, 1.0, 100.0], dtype)

    @tf.function(jit_compile=jit_compile)
    def run(logits):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            relaxed = BinaryConcrete(temperature, logits)
            t, x = relaxed.sample_logit(50, [1, 2]), relaxed.sample(50, seed=[1, 2])
            edges = tf.constant([[0.0], [0.5], [1.0]], dtype)
            value = tf.stop_gradient(x) if dtype == "float16" else x
            results = [t, relaxed.log_prob_of_logit(t), x, relaxed.log_prob(value), relaxed.log_prob(edges)]
            results.append(relaxed.cdf(edges))
        return results, [tape.gradient(result, logits) for result in results]

    results, gradients = run(logits)
    assert [result.dtype for result in results[2:]] == [dtype] * 4
    assert all(np.isfinite(np.asarray(result, "float64")).all() for result in results)
    assert all(np.isfinite(np.asarray(gradient, "float64")).all() for gradient in gradients)


@pytest.mark.parametrize("dtype", HALF)
def test_half_types_are_computed_in_float32(dtype):
    logits = tf.constant(LOGITS, dtype)
    half, full = (BinaryConcrete(1e-3, tf.cast(logits, kind)) for kind in (dtype, tf.float32))
    np.testing.assert_array_equal(half.sample_logit(100, [1, 2]), full.sample_logit(100, [1, 2]))
    np.testing.assert_array_equal(half.sample(100, seed=[1, 2]), tf.cast(full.sample(100, seed=[1, 2]), dtype))
    np.testing.assert_array_equal(half.log_prob([0.25] * 3), tf.cast(full.log_prob([0.25] * 3), dtype))


def test_gradient_of_the_density_in_the_sample_is_finite_down_to_where_it_is_cut_off():
    x = tf.constant(2.0 ** -np.arange(150.0), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_prob = BinaryConcrete(10.0, 0.0).log_prob(x)
    assert np.isfinite(log_prob).all()
    assert np.isfinite(tape.gradient(log_prob, x)).all()


def test_density_outside_of_the_interval_is_zero():
    np.testing.assert_array_equal(distribution(0.5, 0.0).log_prob([-0.1, 1.1]), [-np.inf, -np.inf])


@pytest.mark.parametrize("sample_shape", [3, [3], [2, 3], []])
def test_shapes_are_sample_then_batch(sample_shape):
    relaxed = BinaryConcrete(0.5, tf.zeros([4, 5]))
    expected = (*np.atleast_1d(np.array(sample_shape, int)), 4, 5)
    assert relaxed.batch_shape == (4, 5)
    assert relaxed.event_shape == ()
    np.testing.assert_array_equal(relaxed.batch_shape_tensor(), [4, 5])
    np.testing.assert_array_equal(relaxed.event_shape_tensor(), [])
    assert relaxed.sample(sample_shape, seed=[0, 1]).shape == expected
    assert relaxed.sample_logit(sample_shape, [0, 1]).shape == expected
    assert relaxed.log_prob(relaxed.sample(sample_shape, seed=[0, 1])).shape == expected
    assert relaxed.reparameterization_type == tfd.FULLY_REPARAMETERIZED


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(jit_compile):
    def run(logits):
        relaxed = BinaryConcrete(0.5, logits)
        t = relaxed.sample_logit([2], [1, 2])
        return t, relaxed.log_prob_of_logit(t)

    logits = np.random.default_rng(0).normal(size=(4, 5))
    signature = [tf.TensorSpec([None, 5], tf.float64)]
    for ours, expected in zip(
        tf.function(run, jit_compile=jit_compile, input_signature=signature)(logits), run(logits), strict=True
    ):
        np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_kl_is_refused_with_what_works_and_that_agrees_with_quadrature():
    q, p = distribution(0.5, 1.0), distribution(0.8, -0.5)
    with pytest.raises(InputError, match=r"KL\(BinaryConcrete \|\| BinaryConcrete\) has no closed form.*sample_logit"):
        q.kl_divergence(p)
    t = q.sample_logit(100_000, [1, 2])
    ratios = (q.log_prob_of_logit(t) - p.log_prob_of_logit(t)).numpy()
    ours, theirs = (scipy.stats.logistic(loc=a / tau, scale=1 / tau) for a, tau in ((1.0, 0.5), (-0.5, 0.8)))
    expected = ours.expect(lambda t: ours.logpdf(t) - theirs.logpdf(t), lb=-60, ub=60)
    assert abs(ratios.mean() - expected) < 4.5 * ratios.std() / np.sqrt(len(ratios))
