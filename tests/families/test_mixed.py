import json

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete import InputError, families
from tfdiscrete.families import Bernoulli, Categorical, Gaussian, InvertibleGaussian, Mixed, TruncatedCounts

N, M, B = 2, 3, 5
MAKE = {
    "categorical": lambda: Categorical(4),
    "bernoulli": Bernoulli,
    "implicit counts": lambda: TruncatedCounts(tolerance=1e-3),
    "explicit counts": lambda: TruncatedCounts(tolerance=1e-3, explicit=True),
}
every = pytest.mark.parametrize("name", MAKE)


def built(name):
    """The family of both, and each of its own."""
    family, discrete, continuous = Mixed(MAKE[name](), num_discrete=N), MAKE[name](), Gaussian()
    discrete.build((None, N, discrete.num_parameters))
    continuous.build((None, M, 2))
    family.build((None, N * discrete.num_parameters + 2 * M))
    return family, discrete, continuous


def random_parameters(discrete, seed=0):
    rng = np.random.default_rng(seed)
    both = rng.normal(size=(B, N, discrete.num_parameters)), rng.normal(size=(B, M, 2))
    flat = np.concatenate([part.reshape(B, -1) for part in both], axis=-1)
    return tf.constant(flat, tf.float32), [tf.constant(part, tf.float32) for part in both]


@every
def test_its_law_is_that_of_the_discrete_variables_parameters_and_of_the_gaussian_ones_behind_them(name):
    family, discrete, continuous = built(name)
    flat, (of_discrete, of_continuous) = random_parameters(discrete)
    q = family.distribution(flat)
    np.testing.assert_array_equal(q.discrete.logits, discrete.distribution(of_discrete).logits)
    np.testing.assert_array_equal(q.continuous.loc, continuous.distribution(of_continuous).loc)
    np.testing.assert_array_equal(q.continuous.scale, continuous.distribution(of_continuous).scale)
    np.testing.assert_allclose(q.continuous.scale, np.exp(of_continuous[..., 1]), rtol=1e-6)


@every
def test_codes_are_those_of_the_discrete_variables_flattened_and_then_the_gaussian_values(name):
    family, discrete, _ = built(name)
    q = family.distribution(random_parameters(discrete)[0])
    z = family.harden(family.hard(q).sample(7, seed=[0, 1]))
    d, c = q.split(z)
    code = family.decode(z)
    assert code.shape == (7, B, *family.codes_shape(N + M))
    np.testing.assert_array_equal(code[..., :-M], np.reshape(discrete.decode(d), (7, B, -1)))
    np.testing.assert_array_equal(code[..., -M:], c)


@every
def test_outputs_are_those_of_both_kinds_and_one_code(name):
    family, discrete, continuous = built(name)
    flat, (of_discrete, of_continuous) = random_parameters(discrete)
    outputs = family.outputs(family.distribution(flat))
    first = discrete.outputs(discrete.distribution(of_discrete))
    second = continuous.outputs(continuous.distribution(of_continuous))
    expected = {**first, **second, "code": np.concatenate([np.reshape(first["code"], (B, -1)), second["code"]], -1)}
    assert set(outputs) == {"probabilities", "index", "mean", "scale", "code"}
    for key, value in expected.items():
        np.testing.assert_array_equal(outputs[key], value)


@every
def test_kl_is_the_sum_of_both_parts(name):
    family, discrete, continuous = built(name)
    laws = [random_parameters(discrete, seed) for seed in (1, 2)]
    expected = sum(
        part.kl_divergence(*(part.distribution(parts[i]) for _, parts in laws))
        for i, part in enumerate((discrete, continuous))
    )
    q, p = (family.distribution(flat) for flat, _ in laws)
    np.testing.assert_allclose(family.kl_divergence(q, p), expected, rtol=1e-5)


@every
def test_own_prior_is_that_of_each_kind(name):
    family, discrete, _ = built(name)
    expected = np.concatenate([discrete.prior_parameters().reshape(-1), np.zeros(2 * M)])
    np.testing.assert_array_equal(family.prior_parameters(), expected)


def test_a_prior_may_have_given_probabilities_of_the_discrete_variables():
    family, *_ = built("categorical")
    pmf = np.random.default_rng(0).dirichlet(np.full(4, 5.0), size=N)
    p = family.distribution(tf.constant(family.prior_parameters(pmf), tf.float32))
    np.testing.assert_allclose(scipy.special.softmax(p.discrete.logits, axis=-1), pmf, atol=1e-6)
    np.testing.assert_array_equal(p.continuous.loc, np.zeros(M))


@every
def test_shapes_are_those_of_all_variables_together(name):
    family, discrete, _ = built(name)
    assert family.parameters_shape(N + M) == (N * discrete.num_parameters + 2 * M,)
    assert family.codes_shape(N + M) == (N * int(np.prod(discrete.code_shape)) + M,)
    assert (family.num_latents, family.num_discrete, family.num_continuous) == (N + M, N, M)
    assert family.logits_shape == discrete.logits_shape == (None, N, discrete.num_categories)
    assert family.num_categories == discrete.num_categories
    assert family.estimator == discrete.estimator


def test_by_default_there_are_ten_categorical_variables_and_as_many_gaussian_ones_as_the_encoder_has_room_for():
    family = families.get("mixed")
    assert family.parameters_shape(20) == (10 * 10 + 10 * 2,)
    family.build((None, 120))
    assert (family.num_discrete, family.num_continuous, family.num_categories) == (10, 10, 10)
    assert families.options_of("mixed") == ["discrete", "num_discrete", "num_categories"]


def test_a_discrete_family_may_be_named():
    assert families.get("mixed", num_discrete=3, num_categories=4).parameters_shape(5) == (3 * 4 + 2 * 2,)
    # The command line gives a number of categories to all families that take one.
    family = Mixed("bernoulli", num_discrete=3, num_categories=4)
    assert isinstance(family.discrete, Bernoulli)
    assert family.parameters_shape(5) == (3 + 2 * 2,)
    assert isinstance(Mixed("truncated_counts").discrete, TruncatedCounts)


@pytest.mark.parametrize("name", [*MAKE, "named"])
def test_config_survives_json_and_makes_the_same_family(name):
    family = Mixed("bernoulli", num_discrete=N) if name == "named" else Mixed(MAKE[name](), num_discrete=N)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(family)))
    restored = keras.saving.deserialize_keras_object(config)
    assert isinstance(restored, Mixed)
    assert restored.get_config() == family.get_config()
    for each in (family, restored):
        each.build((None, *family.parameters_shape(N + M)))
    np.testing.assert_array_equal(restored.prior_parameters(), family.prior_parameters())
    assert keras.saving.get_registered_name(Mixed) == "tfdiscrete.families>Mixed"


@pytest.mark.parametrize("shape", [(None, 8), (None, 11), (None, 4, 2), (None, None)])
def test_parameters_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"outputs \[B, 8 \+ 2 M\].* Received: an output of shape \(None, "):
        Mixed(Categorical(4), num_discrete=2).build(shape)


@pytest.mark.parametrize("discrete", [Gaussian, InvertibleGaussian, lambda: 3])
def test_other_families_are_refused(discrete):
    with pytest.raises(InputError, match="the discrete part of Mixed is Categorical, Bernoulli or TruncatedCounts"):
        Mixed(discrete())


def test_unknown_names_and_numbers_are_refused():
    with pytest.raises(InputError, match="Did you mean 'bernoulli'"):
        Mixed("bernouli")
    with pytest.raises(InputError, match="num_discrete must be an integer of at least 1"):
        Mixed(num_discrete=0)
    with pytest.raises(InputError, match="give Categorical its num_categories"):
        Mixed(Categorical())
    with pytest.raises(InputError, match="num_discrete=10 it must be at least 11. Received: num_latents=10"):
        Mixed().codes_shape(10)
