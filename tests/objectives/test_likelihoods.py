import json

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.objectives import Bernoulli, Categorical, FixedGaussian, Gaussian, likelihoods

RNG = np.random.default_rng(0)
NAMES = sorted(likelihoods.REGISTRY)
ALL = [
    Bernoulli(),
    Bernoulli(grey=True),
    Gaussian(),
    Gaussian(0.5),
    Categorical(),
    Categorical(2),
    Categorical(5),
    FixedGaussian(),
    FixedGaussian(2.0),
]
IDS = [f"{type(likelihood).__name__}-{likelihood.get_config()}" for likelihood in ALL]


class TestBernoulli:
    def test_log_prob_is_scipy_s(self):
        x, logits = RNG.integers(2, size=(4, 6)).astype("float64"), RNG.normal(size=(4, 6), scale=3.0)
        expected = scipy.stats.bernoulli.logpmf(x, scipy.special.expit(logits))
        np.testing.assert_allclose(Bernoulli().log_prob(x, logits), expected, rtol=1e-9)

    def test_log_prob_of_certain_outcomes_is_finite_and_exact(self):
        logits = tf.constant([-1000.0, -1000.0, 1000.0, 1000.0])
        np.testing.assert_allclose(Bernoulli().log_prob(np.float32([0, 1, 0, 1]), logits), [0, -1000, -1000, 0])

    def test_of_grey_data_it_is_the_mean_over_binarizations(self):
        likelihood, x, logits = Bernoulli(grey=True), RNG.random((4, 6)), RNG.normal(size=(4, 6), scale=3.0)
        likelihood.check(x)
        of_bit = [scipy.stats.bernoulli.logpmf(bit, scipy.special.expit(logits)) for bit in (0, 1)]
        np.testing.assert_allclose(likelihood.log_prob(x, logits), (1 - x) * of_bit[0] + x * of_bit[1], rtol=1e-9)

    def test_grey_data_are_refused_unless_they_are_asked_for(self):
        x = np.float32([0.0, 0.5, 1.0])
        with pytest.raises(InputError, match=r"threshold them, .* or Bernoulli\(grey=True\)"):
            Bernoulli().check(x)
        Bernoulli(grey=True).check(x)
        with pytest.raises(InputError, match="grey data from 0 to 1. Received: data from 0 to 255; divide"):
            Bernoulli(grey=True).check(255.0 * x)
        with pytest.raises(InputError, match="grey must be True or False"):
            Bernoulli(grey=1)

    def test_mean_is_the_probability_of_one(self):
        logits = RNG.normal(size=(4, 6))
        np.testing.assert_allclose(Bernoulli().mean(tf.constant(logits)), scipy.special.expit(logits), rtol=1e-9)


class TestGaussian:
    @pytest.mark.parametrize("min_scale", [0.01, 1.0])
    def test_log_prob_is_scipy_s(self, min_scale):
        x, parameters = RNG.normal(size=(4, 6)), RNG.normal(size=(4, 6, 2), scale=2.0)
        scale = np.log1p(np.exp(parameters[..., 1])) + min_scale
        expected = scipy.stats.norm.logpdf(x, parameters[..., 0], scale)
        np.testing.assert_allclose(Gaussian(min_scale).log_prob(x, tf.constant(parameters)), expected, rtol=1e-9)

    def test_scale_stays_above_its_minimum(self):
        parameters = tf.constant([[0.5, -1000.0], [0.5, 1000.0]])
        expected = scipy.stats.norm.logpdf(0.4, 0.5, [0.1, 1000.1])
        np.testing.assert_allclose(Gaussian(0.1).log_prob(np.float32(0.4), parameters), expected, rtol=1e-5)

    def test_mean_is_the_first_parameter(self):
        parameters = RNG.normal(size=(4, 6, 2))
        np.testing.assert_array_equal(Gaussian().mean(tf.constant(parameters)), parameters[..., 0])

    @pytest.mark.parametrize("min_scale", [0, -1.0, float("nan"), "small"])
    def test_a_minimum_that_is_not_positive_is_refused(self, min_scale):
        with pytest.raises(InputError, match="min_scale must be a positive finite number"):
            Gaussian(min_scale)


class TestFixedGaussian:
    @pytest.mark.parametrize("scale", [0.25, 2.0])
    def test_log_prob_is_scipy_s_around_the_decoder_s_output(self, scale):
        x, mean = RNG.normal(size=(4, 6)), RNG.normal(size=(4, 6))
        likelihood = FixedGaussian(scale)
        expected = scipy.stats.norm.logpdf(x, mean, scale)
        np.testing.assert_allclose(likelihood.log_prob(x, tf.constant(mean)), expected, rtol=1e-9)
        np.testing.assert_array_equal(likelihood.mean(tf.constant(mean)), mean)

    @pytest.mark.parametrize("scale", [0, -1.0, float("nan"), "small"])
    def test_a_scale_that_is_not_positive_is_refused(self, scale):
        with pytest.raises(InputError, match="scale must be a positive finite number"):
            FixedGaussian(scale)


class TestCategorical:
    @pytest.mark.parametrize("num_levels", [2, 5, 256])
    def test_log_prob_is_that_of_the_nearest_level(self, num_levels):
        level = RNG.integers(num_levels, size=(4, 6))
        x = level / (num_levels - 1) + RNG.uniform(-0.4, 0.4, size=(4, 6)) / (num_levels - 1)
        logits = RNG.normal(size=(4, 6, num_levels))
        result = Categorical(num_levels).log_prob(x, tf.constant(logits))
        expected = np.take_along_axis(scipy.special.log_softmax(logits, axis=-1), level[..., None], axis=-1)[..., 0]
        np.testing.assert_allclose(result, expected, rtol=1e-9)
        entropy = tf.keras.losses.sparse_categorical_crossentropy(level, logits, from_logits=True)
        np.testing.assert_allclose(result, -entropy.numpy(), rtol=1e-6)

    def test_all_levels_of_eight_bit_images_are_told_apart_in_float32(self):
        x = np.arange(256, dtype="float32") / np.float32(255)
        logits = RNG.normal(size=256).astype("float32")
        result = Categorical().log_prob(x, np.broadcast_to(logits, (256, 256)))
        np.testing.assert_allclose(result, scipy.special.log_softmax(logits), rtol=1e-5)

    def test_mean_is_the_expected_level(self):
        logits = RNG.normal(size=(4, 6, 5))
        expected = scipy.special.softmax(logits, axis=-1) @ [0.0, 0.25, 0.5, 0.75, 1.0]
        np.testing.assert_allclose(Categorical(5).mean(tf.constant(logits)), expected, rtol=1e-9)

    @pytest.mark.parametrize("num_levels", [0, 1, 2.0, True])
    def test_fewer_than_two_levels_are_refused(self, num_levels):
        with pytest.raises(InputError, match="num_levels must be an integer of at least 2"):
            Categorical(num_levels)


class TestSums:
    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_half_precision_is_summed_in_float32(self, dtype):
        x = RNG.integers(2, size=(6, 784)).astype("float32")
        logits = tf.cast(6.5 * (2 * x - 1) + RNG.normal(scale=0.1, size=x.shape), dtype)
        expected = scipy.stats.bernoulli.logpmf(x, scipy.special.expit(logits.numpy().astype(float))).sum(-1)
        np.testing.assert_allclose(Bernoulli().sum_log_prob(tf.cast(x, dtype), logits, 1), expected, atol=2e-3)

    def test_a_subclass_keeps_its_own_density(self):
        class Constant(Bernoulli):
            def log_prob(self, x, parameters):
                return tf.zeros_like(x * parameters) - 2.0

        np.testing.assert_array_equal(Constant().sum_log_prob(tf.ones([4, 3]), tf.ones([4, 3]), 1), -6.0)


@pytest.mark.parametrize("likelihood", ALL, ids=IDS)
class TestAll:
    def test_samples_and_batches_broadcast_against_the_data(self, likelihood):
        x = RNG.integers(2, size=(4, 2, 3)).astype("float32")
        shape = likelihood.parameter_shape((2, 3))
        assert shape[:2] == (2, 3)
        parameters = tf.constant(RNG.normal(size=(5, 4, *shape)), tf.float32)
        log_prob = likelihood.log_prob(x, parameters)
        assert log_prob.shape == (5, 4, 2, 3)
        assert log_prob.dtype == tf.float32
        for s in range(5):
            np.testing.assert_allclose(log_prob[s], likelihood.log_prob(x, parameters[s]), rtol=1e-6)
        assert likelihood.mean(parameters).shape == (5, 4, 2, 3)

    def test_the_sum_is_that_of_the_log_densities(self, likelihood):
        x = RNG.integers(2, size=(5, 4, 3)).astype("float32")
        parameters = tf.constant(RNG.normal(size=(2, 5, *likelihood.parameter_shape((4, 3)))), tf.float32)
        expected = tf.reduce_sum(likelihood.log_prob(x, parameters), [-2, -1])
        np.testing.assert_allclose(likelihood.sum_log_prob(x, parameters, 2), expected, rtol=1e-5)

    def test_config_survives_json(self, likelihood):
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(likelihood)))
        restored = keras.saving.deserialize_keras_object(config)
        assert type(restored) is type(likelihood)
        assert restored.get_config() == likelihood.get_config()
        assert keras.saving.get_registered_name(type(likelihood)).startswith("tfdiscrete.objectives>")


class TestRegistry:
    @pytest.mark.parametrize("name", NAMES)
    def test_get_makes_the_named_likelihood_and_passes_one_through(self, name):
        likelihood = likelihoods.get(name)
        assert type(likelihood) is likelihoods.REGISTRY[name]
        assert likelihoods.get(likelihood) is likelihood

    def test_an_unknown_name_is_refused_and_the_nearest_named(self):
        with pytest.raises(InputError, match=r"unknown likelihood 'gauss'\. Did you mean 'gaussian'"):
            likelihoods.get("gauss")

    def test_every_registered_likelihood_is_tested(self):
        assert {type(likelihood) for likelihood in ALL} == set(likelihoods.REGISTRY.values())
