"""What every prior of `priors.REGISTRY` promises over every family, against enumeration in NumPy."""

import json

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.priors.arbitrary import (
    CONTINUOUS,
    DISCRETE,
    PRIORS,
    SEED,
    all_codes,
    arbitrary,
    build,
    encoder_of,
    grid,
    indices_of,
    make_family,
)
from tfdiscrete import InputError, priors
from tfdiscrete.distributions import ProductCategorical

NAMES = sorted(priors.REGISTRY)
ANALYTIC = ("fixed", "learned")
STARTS_AS_THE_FAMILY = ("fixed", "learned", "hierarchical", "compartmentalised")

every_prior = pytest.mark.parametrize("name", NAMES)
every_family = pytest.mark.parametrize("family", ["categorical", "explicit counts", *CONTINUOUS, "mixed"])
every_discrete_family = pytest.mark.parametrize("family", DISCRETE)


def probabilities(prior, family):
    """Of all codes, in float64."""
    return np.exp(np.asarray(prior.log_prob(all_codes(family)), np.float64))


def posterior(family, batch=5):
    shape = (batch, *family.prior_parameters().shape)
    return family.hard(family.distribution(np.random.default_rng(0).normal(size=shape).astype("float32")))


def test_every_prior_is_tested():
    assert sorted(PRIORS) == NAMES


@every_prior
@every_discrete_family
def test_probabilities_of_all_codes_sum_to_one(name, family):
    family = make_family(family)
    p = probabilities(arbitrary(name, family), family)
    assert p.sum() == pytest.approx(1.0, abs=2e-6)
    assert name == "fixed" or np.ptp(p) > 0.01


@every_prior
@pytest.mark.parametrize("family", CONTINUOUS)
def test_a_density_integrates_to_one_and_samples_follow_it(name, family):
    family = make_family(family, num_latents=2)
    if name in ("hierarchical", "compartmentalised"):
        make = {
            "hierarchical": priors.Hierarchical,
            "compartmentalised": lambda: priors.Compartmentalised([1, 1], ["mixture", "vamp"]),
        }[name]
        prior = build(make(), family)
    else:
        prior = arbitrary(name, family)
    sample = prior.sample(5_000, SEED).numpy()
    points, area = grid(sample.shape[1:])
    mass = np.exp(np.asarray(prior.log_prob(points), np.float64)) * area
    assert mass.sum() == pytest.approx(1.0, abs=2e-3)
    # Cells of a coarse grid, in which the fine one's points are counted by their mass.
    edges = np.array([-np.inf, -1.65, -0.85, -0.05, 0.75, 1.55, np.inf])  # between points of the fine one
    expected, *_ = np.histogram2d(*points.reshape(-1, 2).T, bins=[edges, edges], weights=mass)
    counts, *_ = np.histogram2d(*sample.reshape(-1, 2).T, bins=[edges, edges])
    kept = expected > 1e-3
    assert counts[~kept].sum() < 0.02 * len(sample)
    counts, expected = counts[kept], expected[kept]
    assert scipy.stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-3


@every_prior
@every_discrete_family
def test_samples_are_hard_codes_with_their_frequencies(name, family):
    family = make_family(family)
    prior = arbitrary(name, family)
    sample = prior.sample(tf.constant(20_000), SEED).numpy()
    assert sample.shape == (20_000, *all_codes(family).shape[1:])
    np.testing.assert_array_equal(np.unique(sample), [0.0, 1.0])
    np.testing.assert_array_equal(sample.sum(-1), np.ones(sample.shape[:-1]))
    expected = probabilities(prior, family)
    counts = np.bincount(indices_of(sample), minlength=len(expected))
    assert scipy.stats.chisquare(counts, expected / expected.sum() * len(sample)).pvalue > 1e-3


# What each family's own operations cost to compile is theirs.
@every_prior
@pytest.mark.parametrize("family", ["categorical", pytest.param("gaussian", marks=pytest.mark.slow)])
def test_log_prob_and_samples_are_the_same_in_every_execution_mode(name, family):
    family = make_family(family)
    prior = arbitrary(name, family)
    z = prior.sample(6, SEED)
    z = tf.reshape(z, [2, 3, *z.shape[1:]])
    expected = prior.log_prob(z)
    assert expected.shape == (2, 3)
    both = lambda z: (prior.log_prob(z), prior.sample(6, SEED))  # noqa: E731
    spec = [tf.TensorSpec([None, None, *z.shape[2:]], tf.float32)]
    for jit_compile in (False, True):
        log_prob, sample = tf.function(both, input_signature=spec, jit_compile=jit_compile)(z)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(sample, prior.sample(6, SEED), rtol=1e-4, atol=1e-5)


@every_prior
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_prob_has_the_dtype_of_z(name, dtype):
    family = make_family("categorical")
    prior = arbitrary(name, family)
    log_prob = prior.log_prob(tf.constant(all_codes(family), dtype))
    assert log_prob.dtype == dtype
    np.testing.assert_allclose(np.exp(log_prob), probabilities(prior, family), rtol=1e-5)


@every_prior
@every_family
def test_kl_is_the_mean_log_ratio_or_refused(name, family):
    family = make_family(family)
    prior, q = arbitrary(name, family), posterior(family)
    if not prior.has_analytic_kl:
        assert name not in ANALYTIC
        with pytest.raises(
            NotImplementedError, match=f"{type(prior).__name__} has no closed-form KL; use kl='sampled'"
        ):
            prior.kl_divergence(q)
        return
    assert name in ANALYTIC
    if family.logits_shape is not None and isinstance(q, ProductCategorical):
        log_q = np.asarray(q.log_prob(all_codes(family)[:, None]), np.float64)
        expected = (np.exp(log_q) * (log_q - np.log(probabilities(prior, family))[:, None])).sum(0)
        np.testing.assert_allclose(prior.kl_divergence(q), expected, rtol=1e-4, atol=1e-5)
    else:
        z = q.sample(20_000, seed=SEED)
        ratios = np.asarray(q.log_prob(z) - prior.log_prob(z))
        errors = ratios.std(0) / np.sqrt(len(ratios))
        assert (np.abs(ratios.mean(0) - prior.kl_divergence(q)) < 4.5 * errors).all()


@every_prior
@every_family
def test_gradient_reaches_every_trainable_weight(name, family):
    family = make_family(family)
    prior = arbitrary(name, family)
    z = posterior(family).sample(3, seed=SEED)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(prior.log_prob(z))
    assert (len(prior.trainable_weights) == 0) == (name == "fixed")
    for weight, gradient in zip(
        prior.trainable_weights, tape.gradient(loss, [w.value for w in prior.trainable_weights]), strict=True
    ):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 1e-4, weight.path


@pytest.mark.parametrize("name", STARTS_AS_THE_FAMILY)
@every_family
def test_it_starts_as_the_family_s_own_prior(name, family):
    family = make_family(family)
    prior = build(PRIORS[name](), family)
    own = family.hard(family.distribution(tf.constant(family.prior_parameters(), tf.float32)))
    z = posterior(family).sample(2, seed=SEED)
    np.testing.assert_allclose(prior.log_prob(z), own.log_prob(z), rtol=1e-4)


@every_prior
def test_at_points_of_the_simplex_it_is_finite_and_has_a_gradient(name):
    family = make_family("categorical")
    prior = arbitrary(name, family)
    y = tf.constant(scipy.special.softmax(np.random.default_rng(0).normal(size=(4, 3, 3)), axis=-1), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(y)
        log_prob = prior.log_prob(y)
    gradient = tape.gradient(log_prob, y)
    assert np.isfinite(log_prob).all()
    assert np.isfinite(gradient).all()
    assert name == "fixed" or np.ptp(gradient) > 0.1


@every_prior
@pytest.mark.parametrize("family", ["categorical", "gaussian"])
def test_config_survives_json_and_makes_the_same_prior(name, family):
    family = make_family(family)
    encode = encoder_of(family)
    prior = arbitrary(name, family)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(prior)))
    restored = build(keras.saving.deserialize_keras_object(config), family, encode)
    restored.set_weights(prior.get_weights())
    assert type(restored) is type(prior)
    assert json.dumps(restored.get_config()) == json.dumps(prior.get_config())
    sample = prior.sample(100, SEED)
    np.testing.assert_array_equal(restored.sample(100, SEED), sample)
    np.testing.assert_array_equal(restored.log_prob(sample), prior.log_prob(sample))


@every_prior
def test_its_weights_are_its_own_and_not_the_family_s(name):
    family = make_family("planar")
    prior = build(PRIORS[name](), family)
    assert not {id(weight) for weight in family.weights} & {id(weight) for weight in prior.weights}


@every_prior
def test_mixed_precision_keeps_float32_weights_and_log_probabilities(name):
    family = make_family("categorical")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        prior = arbitrary(name, family)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {weight.dtype for weight in prior.weights} <= {"float32"}
    assert probabilities(prior, family).sum() == pytest.approx(1.0, abs=2e-6)


@every_prior
def test_saved_name_has_the_package_of_the_priors(name):
    cls = priors.REGISTRY[name]
    assert keras.saving.get_registered_name(cls) == f"tfdiscrete.priors>{cls.__name__}"
    assert cls.__name__ in priors.__all__


NEEDED = {"conditional": {"num_classes": 3}, "compartmentalised": {"sizes": [1, 2], "priors": ["fixed", "learned"]}}


@every_prior
def test_get_makes_the_named_prior_with_its_settings_and_passes_a_prior_through(name):
    prior = priors.get(name, **NEEDED.get(name, {}))
    assert type(prior) is priors.REGISTRY[name]
    assert priors.get(prior) is prior


def test_get_passes_settings_on():
    assert priors.get("mixture", num_components=7).num_components == 7


@pytest.mark.parametrize("name", NEEDED)
def test_settings_without_which_it_makes_no_sense_are_asked_for(name):
    needed = r"num_classes: .*Conditional\(num_classes=" if name == "conditional" else "sizes and priors: "
    with pytest.raises(InputError, match=f"the prior '{name}' needs {needed}"):
        priors.get(name)


def test_an_unknown_name_is_refused_and_the_nearest_named():
    with pytest.raises(
        InputError, match=r"unknown prior 'learnt'\. Did you mean 'learned'\? Known: compartmentalised, "
    ):
        priors.get("learnt")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "conditional"])
def test_a_condition_is_refused_by_the_others(name):
    prior = build(PRIORS[name](), make_family("categorical"))
    assert not prior.takes_condition
    with pytest.raises(InputError, match=r"takes no condition\. .*Conditional\(num_classes\)"):
        prior.given([0, 1])


def test_a_prior_without_a_closed_form_says_which_kl_works():
    class Bare(priors.Prior):
        def log_prob(self, z):
            return tf.zeros(tf.shape(z)[:-2])

        def sample(self, num_samples, seed):
            return tf.zeros([num_samples, 2, 3])

    with pytest.raises(NotImplementedError, match=r"Bare has no closed-form KL; use kl='sampled'"):
        Bare().kl_divergence(ProductCategorical(tf.zeros([2, 3])))
