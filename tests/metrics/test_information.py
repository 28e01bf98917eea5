import importlib
import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.metrics.posteriors import Mixture, by_definition, of_codes, random_logits, softmax
from tfdiscrete import InputError, priors
from tfdiscrete.distributions import ProductBernoulli, ProductCategorical
from tfdiscrete.metrics import Figure, information

SHAPES = [(7, 3, 4), (1, 3, 2), (5, 1, 6), (4, 3, 1), (6, 5, 2), (1, 1, 1)]
FIGURES = ("rate", "information", "marginal_kl", "total_correlation")
PRIORS = ("independent", "dependent")


def problem(shape, prior, seed=0):
    """Logits, a prior, and all figures by definition."""
    logits = random_logits(*shape, seed=seed)
    components = softmax(random_logits(3, *shape[1:], seed=seed + 1))
    if prior == "dependent":
        law = Mixture(components)
        return logits, law, by_definition(softmax(logits), law.of_codes())
    return logits, np.log(components[0]), by_definition(softmax(logits), of_codes(components[0]))


def values(result):
    return np.array([getattr(result, name).value for name in FIGURES])


def errors(result):
    return np.array([getattr(result, name).stderr for name in FIGURES])


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_enumerated_figures_are_the_divergences_that_they_are_named_for(shape, prior):
    logits, law, expected = problem(shape, prior)
    result = information(logits, law)
    np.testing.assert_allclose(values(result), [expected[name] for name in FIGURES], atol=1e-10)
    np.testing.assert_array_equal(errors(result), 0.0)
    np.testing.assert_allclose(result.latent_information, expected["latent_information"], atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
def test_kl_of_each_variable_is_that_of_its_mean_posterior(shape):
    logits, log_p, _ = problem(shape, "independent")
    q, p = softmax(logits).mean(0), np.exp(log_p)
    for max_codes in (0, 10_000):
        latent_kl = information(logits, log_p, max_codes=max_codes, num_samples=100).latent_kl
        np.testing.assert_allclose(latent_kl, (q * np.log(q / p)).sum(-1), atol=1e-10)


def test_variables_of_a_dependent_prior_have_no_kl_of_their_own():
    logits, law, _ = problem((4, 2, 3), "dependent")
    assert information(logits, law).latent_kl is None


@pytest.mark.parametrize("max_codes", [0, 10_000], ids=["sampled", "enumerated"])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_parts_add_up_to_the_rate(shape, prior, max_codes):
    logits, law, _ = problem(shape, prior)
    result = information(logits, law, max_codes=max_codes, num_samples=200)
    rate, mutual, marginal, correlation = values(result)
    assert rate == pytest.approx(mutual + marginal, abs=1e-10)
    assert correlation == pytest.approx(result.latent_information.sum() - mutual, abs=1e-10)
    if prior == "independent":
        assert rate == pytest.approx(mutual + correlation + result.latent_kl.sum(), abs=1e-10)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("shape", [(7, 3, 4), (40, 4, 3), (6, 5, 2)])
def test_sampled_figures_are_right_within_their_standard_errors(shape, prior, seed):
    logits, law, expected = problem(shape, prior, seed)
    result = information(logits, law, max_codes=0, num_samples=5_000, seed=seed)
    deviation = np.abs(values(result) - [expected[name] for name in FIGURES])
    assert (deviation <= 4.5 * errors(result) + 1e-9).all()
    assert (errors(result)[1:] > 1e-5).all()
    assert (errors(result) < 0.03).all()
    np.testing.assert_allclose(result.latent_information, expected["latent_information"], atol=1e-10)


@pytest.mark.parametrize("prior", PRIORS)
def test_standard_errors_are_those_of_repeated_estimates(prior):
    logits, law, expected = problem((20, 4, 3), prior)
    results = [information(logits, law, max_codes=0, num_samples=300, seed=seed) for seed in range(400)]
    known = 1 if prior == "independent" else 0
    centred = np.array([values(result) for result in results]) - [expected[name] for name in FIGURES]
    z = centred[:, known:] / np.array([errors(result) for result in results])[:, known:]
    # Of 400 standard normal numbers the mean has the deviation 0.05, the variance 0.07.
    assert (np.abs(z.mean(axis=0)) < 0.2).all()
    assert ((z.var(axis=0) > 0.72) & (z.var(axis=0) < 1.3)).all()


def test_the_rate_of_independent_variables_is_exact_at_any_size():
    logits = random_logits(30, 40, 10)
    q = softmax(logits)
    result = information(logits, 0.0, num_samples=100)
    assert result.rate == Figure(pytest.approx((q * np.log(10 * q)).sum((1, 2)).mean(), abs=1e-10), 0.0)
    assert result.information.stderr > 0.0


def test_samples_are_taken_beyond_the_largest_number_of_codes():
    logits = random_logits(5, 3, 4)
    assert information(logits, 0.0, max_codes=64).information.stderr == 0.0
    assert information(logits, 0.0, max_codes=63).information.stderr > 0.0


def test_the_seed_decides_the_samples():
    logits = random_logits(9, 3, 4)
    first, again, other = (information(logits, 0.0, max_codes=0, seed=seed).information for seed in (1, 1, 2))
    assert first == again
    assert first != other


# Posteriors at the ends of the range, where nothing of the sampled figures is left to chance.


def distinct_logits(zero):
    """Eight examples with a code of their own each, of three variables of two categories."""
    bits = np.array(list(itertools.product((0, 1), repeat=3)))
    return np.where(np.eye(2, dtype=bool)[bits], 0.0, zero)


@pytest.mark.parametrize("max_codes", [0, 10_000], ids=["sampled", "enumerated"])
@pytest.mark.parametrize("zero", [-np.inf, -1e30])
def test_certain_and_distinct_codes_tell_everything_of_the_example(zero, max_codes):
    result = information(distinct_logits(zero), 0.0, max_codes=max_codes, num_samples=100)
    np.testing.assert_allclose(values(result), [np.log(8), np.log(8), 0.0, 0.0], atol=1e-10)
    np.testing.assert_allclose(errors(result), 0.0, atol=1e-10)
    np.testing.assert_allclose(result.latent_information, np.log(2), atol=1e-10)


@pytest.mark.parametrize("max_codes", [0, 10_000], ids=["sampled", "enumerated"])
def test_large_positive_logits_are_certain_codes_too(max_codes):
    logits = np.where(distinct_logits(-1.0) == 0.0, 1e30, -1e30)
    result = information(logits, 0.0, max_codes=max_codes, num_samples=100)
    np.testing.assert_allclose(values(result), [np.log(8), np.log(8), 0.0, 0.0], atol=1e-10)


@pytest.mark.parametrize("max_codes", [0, 10_000], ids=["sampled", "enumerated"])
def test_variables_that_repeat_each_other_are_all_correlation(max_codes):
    bits = np.repeat(np.arange(2)[:, None], 4, axis=1)
    logits = np.where(np.eye(2, dtype=bool)[bits], 0.0, -np.inf)
    result = information(logits, 0.0, max_codes=max_codes, num_samples=100)
    np.testing.assert_allclose(values(result), np.log(2) * np.array([4, 1, 3, 3]), atol=1e-10)


@pytest.mark.parametrize("max_codes", [0, 10_000], ids=["sampled", "enumerated"])
def test_a_constant_posterior_tells_nothing(max_codes):
    logits = np.repeat(random_logits(1, 3, 4), 9, axis=0)
    result = information(logits, logits[0], max_codes=max_codes, num_samples=100)
    np.testing.assert_allclose(values(result), 0.0, atol=1e-10)
    np.testing.assert_allclose(errors(result), 0.0, atol=1e-10)


@pytest.mark.parametrize("max_codes", [0, 10_000], ids=["sampled", "enumerated"])
@pytest.mark.parametrize("seed", [0, 4, 8, 9, 13])
def test_the_aggregate_posterior_itself_is_the_best_prior(seed, max_codes):
    logits = random_logits(6, 3, 3, seed=seed)
    result = information(logits, Mixture(softmax(logits)), max_codes=max_codes, num_samples=100, seed=seed)
    np.testing.assert_allclose(result.marginal_kl, 0.0, atol=1e-7)
    assert result.rate.value == pytest.approx(result.information.value, abs=1e-10)


def test_one_variable_of_ten_thousand_categories_is_enumerated():
    logits, log_p, expected = random_logits(6, 1, 10_000), np.log(softmax(random_logits(1, 10_000, 1)[..., 0])), None
    q, p = softmax(logits)[:, 0], np.exp(log_p)
    expected = [
        (q * np.log(q / p)).sum(-1).mean(),
        (q * np.log(q / q.mean(0))).sum(-1).mean(),
        (q.mean(0) * np.log(q.mean(0) / p)).sum(),
        0.0,
    ]
    result = information(logits, log_p)
    np.testing.assert_allclose(values(result), expected, atol=1e-10)
    np.testing.assert_array_equal(errors(result), 0.0)


def test_pairs_of_ten_thousand_categories_are_sampled():
    # Two variables that repeat a uniform choice between two disjoint sets: I = log 2 and TC = log 2.
    logits = np.zeros((2, 2, 10_000))
    logits[0, :, :5_000] = logits[1, :, 5_000:] = -np.inf
    result = information(logits, 0.0, num_samples=100)
    np.testing.assert_allclose(values(result), np.log(2) * np.array([2, 1, 1, 1]), atol=1e-9)


def test_a_prior_without_mass_where_the_codes_are_is_infinitely_far():
    logits = random_logits(4, 2, 2)
    for max_codes in (0, 100):
        result = information(logits, [[0.0, -np.inf], [0.0, 0.0]], max_codes=max_codes, num_samples=100)
        assert result.rate == (np.inf, 0.0)
        assert result.marginal_kl.value == np.inf
        np.testing.assert_array_equal(np.isinf(result.latent_kl), [True, False])
        assert 0.0 < result.information.value < np.log(4)


def test_a_dependent_prior_without_mass_where_the_codes_are_is_infinitely_far():
    class Even:
        def log_prob(self, z):
            return tf.math.log(1.0 - tf.reduce_sum(z[..., 1], axis=-1) % 2.0) - np.log(2.0)

    for max_codes in (0, 100):
        result = information(random_logits(4, 2, 2), Even(), max_codes=max_codes, num_samples=100)
        assert result.rate == (np.inf, 0.0)
        assert result.marginal_kl.value == np.inf
        assert np.isfinite(result.information).all()


def test_a_prior_without_mass_where_no_code_is_costs_nothing():
    logits = np.array([[[0.0, -np.inf]], [[0.0, -np.inf]]])
    assert information(logits, [0.0, -np.inf]).rate == (0.0, 0.0)


def fixed(p):
    return priors.Fixed(p)


def learned(p):
    prior = priors.Learned()
    prior.build(p.shape)
    prior.set_weights([np.log(p) + 2.0])
    return prior


@pytest.mark.parametrize("make", [fixed, learned, lambda p: ProductCategorical(np.log(p)), lambda p: np.log(p) + 5.0])
def test_any_form_of_an_independent_prior_gives_the_same(make):
    logits, log_p, expected = problem((5, 2, 3), "independent")
    result = information(logits, make(np.exp(log_p)))
    np.testing.assert_allclose(values(result), [expected[name] for name in FIGURES], rtol=1e-5)
    assert result.latent_kl.shape == (2,)


def test_bits_are_variables_of_two_categories():
    logits, log_p, expected = problem((5, 3, 2), "independent")
    result = information(logits, ProductBernoulli(log_p[:, 1] - log_p[:, 0]))
    np.testing.assert_allclose(values(result), [expected[name] for name in FIGURES], atol=1e-10)


def test_a_prior_broadcasts_over_the_variables():
    logits, log_p, _ = problem((5, 3, 2), "independent")
    np.testing.assert_array_equal(values(information(logits, log_p[0])), values(information(logits, log_p[[0, 0, 0]])))
    uniform = information(logits, np.full((3, 2), -np.log(2)))
    np.testing.assert_allclose(values(information(logits, 0.0)), values(uniform), atol=1e-12)


def test_a_dependent_prior_is_scored_in_pieces(monkeypatch):
    logits, law, expected = problem((5, 3, 2), "dependent")
    # The function of that name hides the module.
    monkeypatch.setattr(importlib.import_module("tfdiscrete.metrics.information"), "_PRIOR_ELEMENTS", 20)
    np.testing.assert_allclose(values(information(logits, law)), [expected[name] for name in FIGURES], atol=1e-10)


def test_half_precision_loses_no_more_than_its_own_rounding():
    logits, log_p, _ = problem((5, 3, 4), "independent")
    half = logits.astype(np.float16)
    np.testing.assert_array_equal(values(information(half, log_p)), values(information(half.astype(float), log_p)))


def test_a_subset_of_the_examples_says_too_little_of_them_and_its_rate_is_unbiased():
    logits, law, expected = problem((6, 2, 3), "dependent")
    subsets = [values(information(logits[list(rows)], law)) for rows in itertools.combinations(range(6), 3)]
    rate, mutual, marginal, _ = np.mean(subsets, axis=0)
    assert rate == pytest.approx(expected["rate"], abs=1e-10)
    assert mutual < expected["information"] - 0.05
    assert marginal - expected["marginal_kl"] == pytest.approx(expected["information"] - mutual, abs=1e-10)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.full((2, 1, 2), np.nan), "logits must be finite, or -inf"),
        (np.zeros((0, 1, 2)), "at least one example"),
        (np.zeros((4, 2)), r"shape \[B, N, K\]"),
    ],
)
def test_logits_that_are_no_posteriors_are_refused(logits, message):
    with pytest.raises(InputError, match=message):
        information(logits, 0.0)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (np.zeros((3, 2)), r"broadcast to \[N, K\] = \(2, 3\). Received: shape \(3, 2\)"),
        (np.full((2, 3), np.nan), r"the prior's log probabilities must be finite, or -inf.*nan at \(0, 0\)"),
        (ProductCategorical(np.zeros((4, 3))), r"broadcast to \[N, K\] = \(2, 3\). Received: shape \(4, 3\)"),
    ],
)
def test_a_prior_that_does_not_fit_is_refused(prior, message):
    with pytest.raises(InputError, match=message):
        information(np.zeros((5, 2, 3)), prior)


@pytest.mark.parametrize("max_codes", [0, 100])
@pytest.mark.parametrize(
    ("values_of", "message"),
    [
        (lambda z: z[..., 0], r"numbers \[S\], S = \d+.*Received: shape \(\d+, 2\)"),
        (lambda z: z[:, 0, 0] * np.nan, r"Received: shape \(\d+,\), [1-9]\d* NaN"),
        (lambda z: np.inf + z[:, 0, 0], r"Received: shape \(\d+,\), [1-9]\d* NaN or \+inf"),
    ],
)
def test_a_log_prob_that_is_none_is_refused(values_of, message, max_codes):
    class Law:
        log_prob = staticmethod(values_of)

    with pytest.raises(InputError, match=message):
        information(np.zeros((5, 2, 3)), Law(), max_codes=max_codes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 99}, "num_samples must be an integer of at least 100"),
        ({"max_codes": -1}, "max_codes must be an integer of at least 0"),
        ({"seed": -1, "max_codes": 0}, "seed must be an integer of at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        information(np.zeros((5, 2, 3)), 0.0, **options)
