"""What every family of `families.REGISTRY` promises, against SciPy and counting."""

import json

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError, families
from tfdiscrete.families import Bernoulli, Categorical, Gaussian, InvertibleGaussian, Mixed, TruncatedCounts

N = 3
SEED = [1, 2]


def built(family):
    family.build((None, N, family.num_parameters))
    return family


# A new one each time: they are layers.
MAKE = {
    "categorical": lambda: Categorical(4),
    "bernoulli": lambda: Bernoulli(),
    "poisson-implicit": lambda: TruncatedCounts("poisson", 2.0, tolerance=1e-3),
    "poisson-explicit": lambda: TruncatedCounts("poisson", 2.0, tolerance=1e-3, explicit=True),
    "geometric-explicit": lambda: TruncatedCounts("geometric", 0.25, tolerance=1e-2, explicit=True),
    "binomial-explicit": lambda: TruncatedCounts("binomial", 0.3, total_count=5, explicit=True),
    "negative_binomial-implicit": lambda: TruncatedCounts("negative_binomial", 0.4, tolerance=1e-2, total_count=3),
    "gaussian": lambda: Gaussian(),
    "invertible_gaussian": lambda: InvertibleGaussian(4),
    "planar": lambda: InvertibleGaussian(4, flow="planar"),
    "stick_breaking": lambda: InvertibleGaussian(4, flow="stick_breaking"),
}
NAMES = list(MAKE)
DISCRETE = [name for name in NAMES if name != "gaussian"]


def probabilities_of_prior(name):
    """Of the hard outcomes, `[K]`, from SciPy."""
    if name == "stick_breaking":
        return np.array([1 / 3, 1 / 3, 1 / 3, 0.0])
    uncut = {
        "poisson-implicit": scipy.stats.poisson(2.0),
        "poisson-explicit": scipy.stats.poisson(2.0),
        "geometric-explicit": scipy.stats.geom(0.25, loc=-1),
        "binomial-explicit": scipy.stats.binom(5, 0.3),
        # TFP's probability is that of what is counted, SciPy's of what ends the count.
        "negative_binomial-implicit": scipy.stats.nbinom(3, 0.6),
    }.get(name)
    if uncut is None:
        count = 2 if name == "bernoulli" else 4
        return np.full(count, 1 / count)
    outcomes = MAKE[name]().outcomes
    pmf = uncut.pmf(outcomes)
    pmf[-1] += uncut.sf(outcomes[-1])
    return pmf


def random_law(family, batch=5, seed=0):
    parameters = np.random.default_rng(seed).normal(size=(batch, N, family.num_parameters))
    return family.distribution(tf.constant(parameters, tf.float32))


def hard_codes(family, q, count=20_000):
    """Hard samples of q as a decoder reads them, `[count, B, N, ...]`."""
    return family.decode(family.harden(family.hard(q).sample(count, seed=SEED))).numpy()


def test_every_family_is_tested():
    # Variables of two kinds are tested by themselves.
    assert {*(type(make()) for make in MAKE.values()), Mixed} == set(families.REGISTRY.values())


@pytest.mark.parametrize("name", DISCRETE)
def test_hard_samples_of_the_own_prior_have_its_probabilities(name):
    family = built(MAKE[name]())
    p = family.distribution(tf.constant(family.prior_parameters(), tf.float32))
    codes = family.harden(family.hard(p).sample(20_000, seed=SEED)).numpy()
    expected = probabilities_of_prior(name)
    counts = codes.sum(axis=(0, 1))
    assert counts.shape == expected.shape
    np.testing.assert_array_equal(counts[expected == 0.0], 0)
    possible = expected > 0.0
    # Stick breaking is matched by counting; a planar flow begins near the identity.
    if name in ("stick_breaking", "planar"):
        np.testing.assert_allclose(counts / counts.sum(), expected, atol=0.02 if name == "stick_breaking" else 0.05)
    else:
        assert scipy.stats.chisquare(counts[possible], counts.sum() * expected[possible]).pvalue > 1e-3


def test_the_gaussians_prior_is_standard():
    family = built(Gaussian())
    p = family.distribution(tf.constant(family.prior_parameters(), tf.float32))
    np.testing.assert_array_equal(p.mean(), np.zeros(N))
    np.testing.assert_array_equal(p.stddev(), np.ones(N))


@pytest.mark.parametrize("name", ["categorical", "bernoulli", "poisson-implicit", "invertible_gaussian"])
def test_a_prior_may_have_given_probabilities(name):
    family = built(MAKE[name]())
    pmf = np.random.default_rng(0).dirichlet(np.full(family.num_categories, 5.0), size=N)
    p = family.hard(family.distribution(tf.constant(family.prior_parameters(pmf), tf.float32)))
    np.testing.assert_allclose(tf.nn.softmax(p.logits), pmf, atol=1e-5)


@pytest.mark.parametrize("name", ["poisson-explicit", "gaussian"])
def test_probabilities_that_the_family_cannot_have_are_refused(name):
    family = built(MAKE[name]())
    with pytest.raises(InputError, match="probabilities"):
        family.prior_parameters(np.full((N, 2), 0.5))


@pytest.mark.parametrize("name", DISCRETE)
def test_codes_are_outcomes_and_have_the_codes_shape(name):
    family = built(MAKE[name]())
    codes = hard_codes(family, random_law(family), 100)
    assert codes.shape == (100, 5, N, *family.code_shape)
    outcomes = family.outcomes if isinstance(family, TruncatedCounts) else [0, 1]
    assert set(np.unique(codes)) <= set(outcomes)


@pytest.mark.parametrize("name", NAMES)
def test_predicted_probabilities_and_code_are_those_of_the_hard_samples(name):
    family = built(MAKE[name]())
    q = random_law(family)
    outputs = {key: value.numpy() for key, value in family.outputs(q).items()}
    codes = hard_codes(family, q)
    assert outputs["code"].shape == (5, N, *family.code_shape)
    if name == "gaussian":
        np.testing.assert_allclose(outputs["mean"], codes.mean(axis=0), atol=5 * outputs["scale"].max() / 141)
        np.testing.assert_allclose(outputs["scale"], codes.std(axis=0), rtol=0.05)
        np.testing.assert_array_equal(outputs["code"], outputs["mean"])
        return
    counted = family.flow != "none" if isinstance(family, InvertibleGaussian) else False
    hard = family.harden(family.hard(q).sample(20_000, seed=[3, 4])).numpy()
    np.testing.assert_allclose(outputs["probabilities"], hard.mean(axis=0), atol=0.16 if counted else 0.018)
    np.testing.assert_array_equal(outputs["index"], outputs["probabilities"].argmax(-1))


@pytest.mark.parametrize("name", NAMES)
def test_kl_of_the_laws_and_of_the_hard_ones_agree_with_sampling(name):
    family = built(MAKE[name]())
    q, p = random_law(family, seed=1), random_law(family, seed=2)
    hard_q, hard_p = family.hard(q), family.hard(p)
    z = hard_q.sample(20_000, seed=SEED)
    ratio = (hard_q.log_prob(z) - hard_p.log_prob(z)).numpy()
    kl = family.kl_divergence(hard_q, hard_p).numpy()
    assert (np.abs(ratio.mean(0) - kl) <= 4.5 * ratio.std(0) / np.sqrt(len(ratio)) + 1e-5).all()
    # What a map makes of two laws cannot tell them apart better than the laws themselves.
    assert (kl <= family.kl_divergence(q, p).numpy() + 1e-5).all()


def test_hard_law_of_an_invertible_gaussian_has_less_divergence_than_its_gaussian():
    family = built(InvertibleGaussian(4))
    q, p = random_law(family, seed=1), random_law(family, seed=2)
    assert (family.kl_divergence(family.hard(q), family.hard(p)) < 0.9 * family.kl_divergence(q, p)).numpy().all()


@pytest.mark.parametrize("name", ["planar", "stick_breaking"])
def test_hardened_samples_of_a_flow_are_those_of_the_relaxed_law(name):
    family = built(MAKE[name]())
    if name == "planar":
        for weight in family.weights:
            weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    q = random_law(family)
    mine, theirs = hard_codes(family, q), q.sample_one_hot(tf.constant([5, 6]), 20_000).numpy()
    np.testing.assert_allclose(mine.mean(0), theirs.mean(0), atol=4.5 * np.sqrt(0.5 / 20_000))


@pytest.mark.parametrize("name", NAMES)
def test_config_survives_json_and_makes_the_same_family(name):
    family = MAKE[name]()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(family)))
    restored = built(keras.saving.deserialize_keras_object(config))
    assert type(restored) is type(family)
    assert restored.get_config() == family.get_config()
    np.testing.assert_array_equal(
        family.num_parameters and restored.prior_parameters(), built(family).prior_parameters()
    )
    registered = keras.saving.get_registered_name(type(family))
    assert registered == f"tfdiscrete.families>{type(family).__name__}"


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_another_shape_are_refused(name):
    family = MAKE[name]()
    with pytest.raises(InputError, match=r"need an encoder that outputs \[B, N, \d+\].* Received: .*\(None, 3, 99\)"):
        family.build((None, 3, 99))


def test_categories_may_be_left_to_the_encoder():
    family = Categorical()
    family.build((None, 3, 7))
    assert (family.num_categories, family.logits_shape, family.code_shape) == (7, (None, 3, 7), (7,))


def test_an_unknown_family_is_refused_and_the_nearest_named():
    with pytest.raises(InputError, match="Did you mean 'bernoulli'"):
        families.get("bernouli")
