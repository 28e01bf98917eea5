"""What every prior of `priors.REGISTRY` promises, against enumeration in NumPy."""

import itertools
import json

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError, priors
from tfdiscrete.distributions import ProductCategorical

NAMES = sorted(priors.REGISTRY)
PROBABILITIES = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
CODES = np.eye(3)[list(itertools.product(range(3), repeat=2))]  # [9, 2, 3]
SEED = [1, 2]


def uniform(name):
    prior = priors.get(name)
    prior.build((2, 3))
    return prior


def skewed_fixed():
    prior = priors.Fixed(PROBABILITIES)
    prior.build((2, 3))
    return prior


def skewed_learned():
    prior = uniform("learned")
    prior.set_weights([np.log(PROBABILITIES) + 3.0])
    return prior


# name -> the prior with PROBABILITIES
SKEWED = {"fixed": skewed_fixed, "learned": skewed_learned}


def probabilities_of_codes():
    return (CODES * PROBABILITIES).sum(-1).prod(-1)


def test_every_prior_is_tested():
    assert sorted(SKEWED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_prior_is_uniform_at_the_start(name):
    np.testing.assert_allclose(uniform(name).log_prob(tf.constant(CODES, tf.float32)), -2 * np.log(3), rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_prob_is_that_of_independent_rows_in_the_dtype_of_z(name, dtype):
    z = tf.reshape(tf.constant(CODES, dtype), [3, 3, 2, 3])
    log_prob = SKEWED[name]().log_prob(z)
    assert log_prob.dtype == dtype
    np.testing.assert_allclose(log_prob, np.log(probabilities_of_codes()).reshape(3, 3), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kl_is_the_sum_over_all_codes(name, dtype):
    logits = np.random.default_rng(0).normal(size=(5, 2, 3))
    q = ProductCategorical(tf.constant(logits, dtype))
    q_of_codes = np.exp((CODES[:, None] * (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))).sum((-2, -1)))
    expected = (q_of_codes * (np.log(q_of_codes) - np.log(probabilities_of_codes())[:, None])).sum(0)
    kl = SKEWED[name]().kl_divergence(q)
    assert kl.dtype == dtype
    np.testing.assert_allclose(kl, expected, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [50_000, tf.constant(50_000)], ids=["integer", "tensor"])
def test_samples_are_one_hot_codes_with_their_frequencies(name, count):
    sample = SKEWED[name]().sample(count, SEED).numpy()
    assert sample.shape == (50_000, 2, 3)
    np.testing.assert_array_equal(np.unique(sample), [0.0, 1.0])
    np.testing.assert_array_equal(sample.sum(-1), np.ones((50_000, 2)))
    counts = np.bincount(sample.argmax(-1) @ [3, 1], minlength=9)
    assert scipy.stats.chisquare(counts, 50_000 * probabilities_of_codes()).pvalue > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_number_of_samples_may_be_unknown_when_traced(name):
    prior = SKEWED[name]()
    traced = tf.function(prior.sample, input_signature=[tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)])
    np.testing.assert_array_equal(traced(4, tf.constant(SEED)), prior.sample(4, SEED))


@pytest.mark.parametrize("name", NAMES)
def test_config_survives_json_and_makes_the_same_prior(name):
    prior = SKEWED[name]()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(prior)))
    restored = keras.saving.deserialize_keras_object(config)
    restored.build((2, 3))
    restored.set_weights(prior.get_weights())
    assert type(restored) is type(prior)
    assert restored.get_config() == prior.get_config()
    np.testing.assert_array_equal(restored.sample(100, SEED), prior.sample(100, SEED))
    np.testing.assert_array_equal(restored.log_prob(CODES), prior.log_prob(CODES))


@pytest.mark.parametrize("name", NAMES)
def test_saved_name_has_the_package_of_the_priors(name):
    cls = priors.REGISTRY[name]
    assert keras.saving.get_registered_name(cls) == f"tfdiscrete.priors>{cls.__name__}"
    assert cls.__name__ in priors.__all__


@pytest.mark.parametrize("name", NAMES)
def test_get_makes_the_named_prior_and_passes_a_prior_through(name):
    prior = priors.get(name)
    assert type(prior) is priors.REGISTRY[name]
    assert priors.get(prior) is prior


def test_an_unknown_name_is_refused_and_the_nearest_named():
    with pytest.raises(InputError, match=r"unknown prior 'learnt'\. Did you mean 'learned'\? Known: fixed, learned"):
        priors.get("learnt")


def test_a_prior_without_a_closed_form_says_which_kl_works():
    class Bare(priors.Prior):
        def log_prob(self, z):
            return tf.zeros(tf.shape(z)[:-2])

        def sample(self, num_samples, seed):
            return tf.zeros([num_samples, 2, 3])

    with pytest.raises(NotImplementedError, match=r"Bare has no closed-form KL; use kl='sampled'"):
        Bare().kl_divergence(ProductCategorical(tf.zeros([2, 3])))
