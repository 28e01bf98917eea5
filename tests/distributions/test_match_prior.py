import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

from tfdiscrete import InputError
from tfdiscrete.bijectors import StickBreaking
from tfdiscrete.distributions import GumbelSoftmax, InvertibleGaussian, match_prior

ELEVEN = np.array([10.0, 1.0, 5.0, 1.0, 10.0, 10.0, 1.0, 6.0, 1.0, 1.0, 1.0]) / 47.0
COUNTS = scipy.stats.nbinom.pmf(np.arange(5, 75), 50, 0.6)
LAWS = {
    "uniform 2": np.full(2, 1 / 2),
    "uniform 10": np.full(10, 1 / 10),
    "binomial": scipy.stats.binom.pmf(np.arange(13), 12, 0.3),
    "eleven": ELEVEN,
    "three": np.array([0.2, 0.3, 0.5]),
    "zeros": np.array([0.4, 0.0, 0.1, 0.5, 0.0]),
    "negative binomial": COUNTS / COUNTS.sum(),
}
SOME_SLOW = [pytest.param(name, marks=[pytest.mark.slow] if name == "negative binomial" else []) for name in LAWS]
COUNT = 1_000_000


def total_variation(first, second):
    return 0.5 * np.abs(np.asarray(first) - second).sum()


def expected_distance(pmf):
    """The mean total variation between a law and the frequencies of that many draws, at most."""
    return 0.5 * np.sqrt(2.0 / np.pi) * np.sqrt(pmf * (1.0 - pmf) / COUNT).sum()


def hard_frequencies(prior):
    """The law of the hard samples by NumPy's draws."""
    loc, scale = np.asarray(prior.loc, "float64"), np.asarray(prior.scale, "float64")
    counts, rng = np.zeros(len(loc) + 1), np.random.default_rng(0)
    for _ in range(10):
        y = rng.normal(size=(COUNT // 10, len(loc)), loc=loc, scale=scale)
        if prior.flow is not None:
            share = scipy.special.expit(y)
            y = share * np.cumprod(np.concatenate([np.ones((len(y), 1)), 1.0 - share[:, :-1]], axis=-1), axis=-1)
        counts += np.bincount(np.where(y.max(-1) > 0, y.argmax(-1), len(loc)), minlength=len(loc) + 1)
    return counts / COUNT


@pytest.mark.parametrize("name", LAWS)
def test_gumbel_softmax_has_the_law_as_its_softmax(name):
    prior = match_prior("gumbel_softmax", LAWS[name], temperature=0.3)
    assert isinstance(prior, GumbelSoftmax)
    assert prior.temperature == np.float32(0.3)
    assert total_variation(scipy.special.softmax(np.asarray(prior.logits, "float64")), LAWS[name]) < 1e-6


@pytest.mark.parametrize("name", SOME_SLOW)
def test_hard_samples_of_the_invertible_gaussian_have_the_law(name):
    prior = match_prior("invertible_gaussian", LAWS[name])
    assert isinstance(prior, InvertibleGaussian)
    assert prior.flow is None
    assert prior.loc.shape == (len(LAWS[name]) - 1,)
    assert total_variation(prior.discretize().probs_parameter(), LAWS[name]) < 1e-5
    assert total_variation(hard_frequencies(prior), LAWS[name]) < 2.0 * expected_distance(LAWS[name])


@pytest.mark.parametrize("name", ["uniform 2", "three"])
@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_invertible_gaussian_of_few_categories_has_the_law_by_adaptive_quadrature(name, scale):
    prior = match_prior("invertible_gaussian", LAWS[name], scale=scale)
    loc, widths = np.asarray(prior.loc, "float64"), np.asarray(prior.scale, "float64")
    np.testing.assert_array_equal(widths, np.full(len(loc), np.float32(scale)))

    def first(t, k):
        others = np.delete(np.arange(len(loc)), k)
        others = scipy.stats.norm.cdf(t, loc[others], widths[others])
        return scipy.stats.norm.pdf(t, loc[k], widths[k]) * others.prod()

    law = [scipy.integrate.quad(first, 0.0, 40.0, args=(k,), points=[1.0, 5.0])[0] for k in range(len(loc))]
    law.append(scipy.stats.norm.cdf(-loc / widths).prod())
    assert total_variation(law, LAWS[name]) < 1e-6


@pytest.mark.parametrize(
    ("name", "scale"),
    [
        ("uniform 10", None),
        ("binomial", 0.5),
        ("binomial", None),
        ("eleven", 1.0),
        ("zeros", 0.5),
        pytest.param("negative binomial", None, marks=pytest.mark.slow),
    ],
)
def test_hard_samples_of_stick_breaking_have_the_law(name, scale):
    pmf = np.append(LAWS[name], 0.0)
    prior = match_prior("stick_breaking", pmf, scale=scale, temperature=0.2, delta=2.0)
    assert isinstance(prior.flow, StickBreaking)
    assert (prior.temperature.numpy(), prior.delta.numpy()) == (np.float32(0.2), 2.0)
    frequencies = hard_frequencies(prior)
    assert frequencies[-1] == 0.0
    assert total_variation(frequencies, pmf) < 0.001 * np.sqrt(len(pmf)) + expected_distance(pmf)


def test_fit_does_not_depend_on_what_the_hard_samples_do_not():
    first = match_prior("invertible_gaussian", LAWS["three"], temperature=0.1, delta=1.0)
    second = match_prior("invertible_gaussian", LAWS["three"], temperature=3.0, delta=0.2)
    np.testing.assert_array_equal(first.loc, second.loc)
    assert (second.temperature.numpy(), second.delta.numpy()) == (3.0, np.float32(0.2))


def test_stick_breaking_is_the_same_for_the_same_seed():
    pmf = np.append(LAWS["three"], 0.0)
    first, second, other = (match_prior("stick_breaking", pmf, seed=seed).loc.numpy() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


@pytest.mark.parametrize(
    "pmf",
    [[1.0], [], 0.5, [[0.5, 0.5]], [0.5, 0.6], [1.2, -0.2], [0.5, float("nan")], [float("inf"), 0.0]],
    ids=str,
)
@pytest.mark.parametrize("family", ["gumbel_softmax", "invertible_gaussian", "stick_breaking"])
def test_a_pmf_that_is_none_is_refused(family, pmf):
    with pytest.raises(InputError, match="pmf must be a vector of K >= 2 probabilities that sum to one. Received"):
        match_prior(family, pmf)


def test_stick_breaking_refuses_a_last_category_and_says_how_to_add_one():
    with pytest.raises(InputError, match=r"never makes the last category the largest.*Append a 0"):
        match_prior("stick_breaking", [0.5, 0.5])


def test_an_unknown_family_is_refused_and_the_nearest_named():
    with pytest.raises(InputError, match=r"unknown family 'stick_break'. Did you mean 'stick_breaking'"):
        match_prior("stick_break", [0.5, 0.5])


@pytest.mark.parametrize("family", ["gumbel_softmax", "invertible_gaussian", "stick_breaking"])
@pytest.mark.parametrize("option", ["temperature", "delta", "scale"])
def test_options_that_are_not_positive_are_refused(option, family):
    with pytest.raises(InputError, match=f"{option} must be a positive"):
        match_prior(family, [0.5, 0.5, 0.0], **{option: -1.0})
