import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import Enumeration

SEED = [0, 0]


def enumerate_codes(latents, categories, **options):
    q = ProductCategorical(tf.zeros([4, latents, categories], tf.float64))
    return Enumeration(**options).estimate(q, lambda z: tf.reduce_sum(z, axis=[-2, -1]), seed=SEED)


def test_sample_holds_every_code_once_for_each_example():
    sample = enumerate_codes(2, 3).sample
    assert sample.shape == (9, 4, 2, 3)
    for example in range(4):
        codes = {tuple(row) for row in np.argmax(sample[:, example], axis=-1)}
        assert codes == set(itertools.product(range(3), repeat=2))


def test_value_is_the_product_of_the_means_for_a_product_of_variables():
    logits, values = np.random.default_rng(0).normal(size=(2, 5, 3, 4))
    pi = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    estimate = Enumeration().estimate(
        ProductCategorical(logits), lambda z: tf.reduce_prod(tf.reduce_sum(z * values, axis=-1), axis=-1), seed=SEED
    )
    np.testing.assert_allclose(estimate.value, (pi * values).sum(-1).prod(-1), rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_value_does_not_depend_on_the_seed(training):
    q = ProductCategorical(np.random.default_rng(0).normal(size=(4, 2, 3)))
    first, second = (
        Enumeration().estimate(q, lambda z: tf.reduce_sum(z[..., 0], axis=-1), seed=seed, training=training).value
        for seed in ([0, 0], [1, 1])
    )
    np.testing.assert_array_equal(first, second)


def test_as_many_codes_as_max_terms_are_enumerated_and_not_one_more():
    np.testing.assert_allclose(enumerate_codes(2, 3, max_terms=9).value, np.full(4, 2.0), rtol=1e-12)
    with pytest.raises(InputError, match=r"3\^2 = 10\^1\.0 terms, more than max_terms=8.*'score_function'"):
        enumerate_codes(2, 3, max_terms=8)


def test_a_space_too_large_for_the_memory_is_refused_before_it_is_made():
    with pytest.raises(InputError, match=r"10\^200 = 10\^200\.0 terms"):
        enumerate_codes(200, 10)


def test_build_refuses_a_space_too_large():
    with pytest.raises(InputError, match=r"10\^20 = 10\^20\.0 terms"):
        Enumeration().build((None, 20, 10))


@pytest.mark.parametrize("max_terms", [0, 2.5, True])
def test_max_terms_must_be_a_positive_integer(max_terms):
    with pytest.raises(InputError, match="max_terms must be an integer of at least 1"):
        Enumeration(max_terms=max_terms)
