import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfdiscrete.bijectors import StickBreaking
from tfdiscrete.distributions import ProductInvertibleGaussian
from tfdiscrete.errors import InputError
from tfdiscrete.objectives import counted_rate, counted_table

SEED = [1, 2]


def product(loc, scale, flow=None):
    return ProductInvertibleGaussian(tf.constant(loc), tf.constant(scale), flow=flow)


def two_sticks(loc, scale):
    """The law of the hard sample of sticks v, (1 - v) w, for independent logits of v and w, by a grid.

    The first wins where v > (1 - v) w, that is w < odds of v; the third category is never hard.
    """
    log_odds = scipy.stats.norm(loc[0], scale[0]).ppf((np.arange(200_000) + 0.5) / 200_000)
    odds = np.exp(log_odds)
    logit = np.where(odds < 1.0, np.log(np.minimum(odds, 1 - 1e-12)) - np.log1p(-np.minimum(odds, 1 - 1e-12)), np.inf)
    first = scipy.stats.norm(loc[1], scale[1]).cdf(logit).mean()
    return np.array([first, 1.0 - first, 0.0])


def test_table_is_the_law_of_hard_samples():
    loc, scale = np.float32([[0.3, -0.2], [-1.0, 0.5]]), np.float32([[1.0, 0.5], [0.7, 1.5]])
    table = counted_table(product(loc, scale, StickBreaking()), seed=SEED, num_samples=400_000)
    expected = [two_sticks(*row) for row in zip(loc, scale, strict=True)]
    np.testing.assert_allclose(table, expected, atol=5 * np.sqrt(0.25 / 400_000) + 1e-5)
    np.testing.assert_allclose(table.sum(-1), 1.0, rtol=1e-12)
    assert (table > 0).all()


def test_table_of_a_law_without_flow_is_the_quadrature():
    p = product(np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32))
    table = counted_table(p, seed=SEED)
    np.testing.assert_allclose(table, p.discretize().probs_parameter(), atol=0.0025)


def test_rate_exceeds_that_of_the_quadrature_by_the_bias_of_shares():
    rng = np.random.default_rng(0)
    loc, scale = (rng.normal(size=(1, 3, 4))).astype("float32"), np.full((1, 3, 4), 0.8, "float32")
    prior = product(np.zeros((3, 4), np.float32), np.ones((3, 4), np.float32))
    table = prior.discretize().probs_parameter().numpy()
    probabilities = product(loc, scale).discretize().probs_parameter().numpy()
    exact = (probabilities * np.log(probabilities / table)).sum()
    many = product(np.repeat(loc, 2000, 0), np.repeat(scale, 2000, 0))
    rates = counted_rate(many, table, seed=SEED, num_samples=100).numpy()
    error = rates.std() / np.sqrt(len(rates))
    assert exact + 4.5 * error < rates.mean() < exact + 3 * np.log1p(4 / 100) - 4.5 * error
    # (K - 1) / 2S a variable, of categories that are all counted often.
    assert rates.mean() == pytest.approx(exact + 3 * 4 / 200, abs=4.5 * error + 0.01)


def test_a_certain_variable_has_the_rate_of_its_category():
    q = product(np.float32([[[40.0, 0.0]]]), np.float32([[[0.1, 0.1]]]))
    np.testing.assert_allclose(counted_rate(q, np.array([[0.2, 0.3, 0.5]]), seed=SEED), [np.log(5.0)], rtol=1e-6)


def test_counting_nothing_is_refused():
    with pytest.raises(InputError, match="num_samples"):
        counted_table(product(np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)), seed=SEED, num_samples=0)
