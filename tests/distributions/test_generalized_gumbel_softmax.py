import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import InputError
from tfdiscrete.distributions import GeneralizedGumbelSoftmax, ProductCategorical, Truncated
from tfdiscrete.ops import gumbel_max, perturb

tfd = tfp.distributions


def of(x):
    return tf.convert_to_tensor(x, tf.float64)


def relaxed_poissons(rates=(0.5, 3.0, 9.0), temperature=0.5, high=12):
    return GeneralizedGumbelSoftmax(Truncated(tfd.Poisson(of(rates)), high=high), temperature)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtype_are_those_of_the_truncated_law(dtype):
    q = GeneralizedGumbelSoftmax(Truncated(tfd.Poisson(tf.ones([4, 5], dtype)), high=12), 0.5)
    assert (q.batch_shape, q.event_shape, q.dtype) == ((4, 5), (), dtype)
    np.testing.assert_array_equal(q.batch_shape_tensor(), [4, 5])
    np.testing.assert_array_equal(q.event_shape_tensor(), [])
    assert q.sample([2, 3], seed=[0, 1]).shape == (2, 3, 4, 5)
    assert q.sample_log([2, 3], seed=[0, 1]).shape == (2, 3, 4, 5, 13)
    vectors = GeneralizedGumbelSoftmax(Truncated(tfd.Multinomial(2.0, logits=tf.zeros([4, 3], dtype))), 0.5)
    assert vectors.sample(2, seed=[0, 1]).shape == (2, 4, 3)
    assert q.reparameterization_type == tfd.FULLY_REPARAMETERIZED


def test_samples_are_the_linear_transform_of_the_samples_on_the_simplex():
    q = relaxed_poissons()
    y = np.exp(q.sample_log(4, seed=[1, 2]))
    np.testing.assert_allclose(y.sum(-1), 1.0, rtol=1e-12)
    np.testing.assert_allclose(q.sample(4, seed=[1, 2]), y @ np.arange(13), rtol=1e-12)


def test_samples_at_temperature_1e_minus_3_have_the_truncated_pmf():
    q, count = relaxed_poissons(5.0, 1e-3, 8), 50_000
    z = q.sample(count, seed=[1, 2]).numpy()
    assert (np.abs(z - np.round(z)) < 1e-2).mean() > 0.98
    law = scipy.stats.poisson(5)
    expected = count * np.append(law.pmf(np.arange(8)), law.sf(7))
    argmax = np.argmax(q.sample_log(count, seed=[1, 2]), axis=-1)
    assert scipy.stats.chisquare(np.bincount(argmax, minlength=9), expected).pvalue > 1e-3
    np.testing.assert_allclose(np.bincount(np.round(z).astype(int), minlength=9), expected, atol=4.5 * count**0.5)


def test_samples_become_the_mean_of_the_outcomes_at_high_temperature():
    np.testing.assert_allclose(relaxed_poissons(temperature=1e4).sample(5, seed=[0, 1]), 6.0, atol=0.1)


def test_mean_of_samples_has_the_gradient_of_the_finite_difference_at_fixed_noise():
    def mean(rate):
        return tf.reduce_mean(relaxed_poissons(rate).sample(1000, seed=[1, 2]))

    rate, step = of(3.0), 1e-5
    with tf.GradientTape() as tape:
        tape.watch(rate)
        value = mean(rate)
    difference = (mean(rate + step) - mean(rate - step)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(value, rate), difference, rtol=1e-6)


class TestDensity:
    def test_of_two_outcomes_it_integrates_to_the_frequencies_of_samples(self):
        q = GeneralizedGumbelSoftmax(Truncated(tfd.Poisson(of(3.0)), 2, 3), 0.7)
        z = q.sample(50_000, seed=[1, 2]).numpy()
        edges = np.linspace(2, 3, 11)
        masses = [scipy.integrate.quad(lambda x: float(q.prob(x)), *ends)[0] for ends in itertools.pairwise(edges)]
        np.testing.assert_allclose(np.sum(masses), 1.0, rtol=1e-5)
        assert (
            scipy.stats.chisquare(np.histogram(z, edges)[0], len(z) * np.array(masses) / np.sum(masses)).pvalue > 1e-3
        )

    def test_of_two_outcomes_it_is_scaled_by_their_distance_and_nothing_beyond_them(self):
        pair = tfd.FiniteDiscrete(of([0.0, 1.0]), probs=of([0.3, 0.7]))
        near = GeneralizedGumbelSoftmax(Truncated(pair), 0.7)
        y = tf.math.log(of([0.6, 0.4]))
        np.testing.assert_allclose(near.log_prob(0.4), near.relaxed.log_prob_of_log(y), rtol=1e-12)
        np.testing.assert_array_equal(near.prob([-1.0, 0.0, 1.0, 2.0]), np.zeros(4))

    def test_of_more_it_is_refused_and_the_exact_one_named(self):
        q = relaxed_poissons()
        with pytest.raises(InputError, match=r"more than two outcomes has no density.*q\.relaxed\.log_prob_of_log"):
            q.log_prob([1.0, 2.0, 3.0])
        assert q.relaxed.log_prob_of_log(q.sample_log(4, seed=[0, 1])).shape == (4, 3)
        with pytest.raises(InputError, match="no density"):
            GeneralizedGumbelSoftmax(Truncated(tfd.Multinomial(2.0, probs=of([0.5, 0.5]))), 0.5).prob([1.0, 1.0])


def test_a_kl_is_refused_and_that_of_the_discrete_laws_named():
    q = relaxed_poissons()
    for one, other in ((q, q), (q, q.distribution), (q.distribution, q), (tfd.Poisson(of(3.0)), q)):
        with pytest.raises(
            InputError, match=r"q\.distribution\.kl_divergence\(p\.distribution\), which beside a relaxed"
        ):
            tfd.kl_divergence(one, other)


def test_another_family_is_relaxed_too():
    logits = np.random.default_rng(0).normal(size=(5, 2, 3))
    q = GeneralizedGumbelSoftmax(ProductCategorical(logits), 1e-3)
    assert (q.batch_shape, q.event_shape) == ((5,), (2, 3))
    np.testing.assert_allclose(q.sample(4, seed=[1, 2]), gumbel_max(perturb(of(logits), 4, [1, 2])), atol=0.05)


@pytest.mark.parametrize("temperature", [1e-3, 1.0, 10.0])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_values_and_gradients_are_finite_at_the_edges(dtype, temperature):
    rate = tf.constant([1e-4, 1.0, 1e4], dtype)
    with tf.GradientTape() as tape:
        tape.watch(rate)
        z = GeneralizedGumbelSoftmax(Truncated(tfd.Poisson(rate), high=4000), temperature).sample(4, seed=[1, 2])
    assert np.isfinite(z).all()
    assert np.isfinite(tf.cast(tape.gradient(z, rate), tf.float32)).all()


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(jit_compile):
    shapes = []

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 2], tf.float64)])
    def traced(rate):
        z = relaxed_poissons(rate).sample(4, seed=[1, 2])
        shapes.append(z.shape.as_list())
        return z

    rates = np.random.default_rng(0).uniform(0.1, 9.0, size=(5, 2))
    np.testing.assert_allclose(traced(rates), relaxed_poissons(rates).sample(4, seed=[1, 2]), rtol=1e-8)
    assert shapes == [[4, None, 2]]


def test_what_is_no_family_is_refused_and_truncated_named():
    with pytest.raises(InputError, match=r"For a count law wrap it: Truncated\(law, high=\.\.\.\)"):
        GeneralizedGumbelSoftmax(tfd.Poisson(3.0), 0.5)


def test_validate_args_reports_nan_and_a_temperature_that_is_not_positive():
    law = Truncated(tfd.Poisson([1.0, np.nan]), high=9)
    for distribution, temperature in ((law, 0.5), (relaxed_poissons().distribution, -1.0)):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must be"):
            GeneralizedGumbelSoftmax(distribution, temperature, validate_args=True).sample(seed=[0, 1])
