import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfdiscrete.ops import linear_transform, truncated_log_pmf
from tfdiscrete.ops.truncation import IMPOSSIBLE, log_tail

STEPS = np.arange(64.0)


def test_a_die_cut_on_both_sides_has_the_sums_at_its_ends():
    log_pmf = truncated_log_pmf(np.log([1 / 6, 1 / 6]), tf.math.log(tf.constant(2 / 6, tf.float64)), np.log(2 / 6))
    np.testing.assert_allclose(tf.exp(log_pmf), [2 / 6, 1 / 6, 1 / 6, 2 / 6], rtol=1e-12)


def test_a_batch_keeps_its_shape_and_two_outcomes_have_no_interior():
    log_pmf = truncated_log_pmf(tf.zeros([5, 3, 0]), tf.fill([5, 3], -1.0), tf.fill([5, 3], -2.0))
    np.testing.assert_array_equal(log_pmf, np.broadcast_to(np.float32([-1.0, -2.0]), (5, 3, 2)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_impossible_outcomes_are_finite_and_nan_stays(dtype):
    interior = tf.constant([-np.inf, np.nan, -1.0], dtype)
    log_pmf = truncated_log_pmf(interior, tf.constant(-np.inf, dtype), tf.constant(-2.0, dtype))
    np.testing.assert_array_equal(log_pmf, np.array([IMPOSSIBLE, IMPOSSIBLE, np.nan, -1.0, -2.0], dtype))
    assert tf.exp(log_pmf)[0] == 0.0


def poisson_tail(log_rate, k, mass=None):
    """log P(X >= k) of Poisson, from the mass or from the series alone."""
    rate = tf.exp(log_rate)
    edge = k * log_rate - rate - tf.math.lgamma(tf.constant(k + 1.0, log_rate.dtype))
    ratios = log_rate[..., None] - np.log(k + 1.0 + STEPS).astype(log_rate.dtype.as_numpy_dtype)
    mass = tf.math.igamma(tf.constant(float(k), log_rate.dtype), rate) if mass is None else mass
    return log_tail(mass, edge, ratios)


@pytest.mark.parametrize(("rate", "k"), [(3.0, 20), (100.0, 250), (0.01, 4), (1e-6, 40)])
def test_series_of_a_far_tail_is_scipy_s(rate, k):
    log_rate = tf.constant(np.log(rate), tf.float64)
    series = poisson_tail(log_rate, k, mass=tf.zeros([], tf.float64))
    np.testing.assert_allclose(series, scipy.stats.poisson(rate).logsf(k - 1), rtol=1e-9)


def test_remainder_of_the_series_is_geometric():
    p = np.float64(0.99)
    series = log_tail(tf.zeros([], tf.float64), 5 * np.log(p) + np.log1p(-p), np.full(3, np.log(p)))
    np.testing.assert_allclose(series, 5 * np.log(p), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("k", [1, 12, 4000])
def test_value_and_gradient_are_finite_and_continuous_from_rates_of_1e_minus_6_to_1e4(k, dtype):
    log_rate = tf.constant(np.linspace(np.log(1e-6), np.log(1e4), 200), dtype)
    with tf.GradientTape() as tape:
        tape.watch(log_rate)
        tail = poisson_tail(log_rate, k)
    slope = tape.gradient(tail, log_rate).numpy()
    assert np.isfinite(tail).all()
    assert np.isfinite(slope).all()
    assert (np.diff(tail) > -1e-2).all()
    # d log P(X >= k) / d log rate = rate P(X = k - 1) / P(X >= k)
    law = scipy.stats.poisson(np.exp(np.asarray(log_rate, "float64")))
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = law.mean() * np.exp(law.logpmf(k - 1) - law.logsf(k - 1))
    known = np.isfinite(expected) & (law.sf(k - 1) > 1e-290)
    assert known.sum() > 10
    np.testing.assert_allclose(slope[known], expected[known], rtol=1e-6 if dtype == "float64" else 3e-2, atol=1e-3)


def test_a_mass_of_nan_is_nan():
    assert np.isnan(log_tail(tf.constant(np.nan), tf.constant(0.0), tf.zeros([3])))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_one_hot_points_give_their_outcomes_exactly_in_the_dtype_of_y(dtype):
    outcomes = np.arange(100.0, 200.0)
    z = linear_transform(tf.eye(100, dtype=dtype), outcomes)
    assert z.dtype == dtype
    np.testing.assert_array_equal(tf.cast(z, tf.float64), outcomes)


@pytest.mark.parametrize("shape", [(5,), (5, 3)])
def test_inner_points_give_numpy_s_product(shape):
    rng = np.random.default_rng(0)
    outcomes, y = rng.normal(size=shape), rng.dirichlet(np.ones(5), size=(4, 2))
    np.testing.assert_allclose(linear_transform(tf.constant(y), outcomes), y @ outcomes, rtol=1e-12)


def test_ten_thousand_half_precision_coordinates_are_summed_in_float32():
    z = linear_transform(tf.fill([10_000], tf.constant(1e-4, tf.float16)), np.full(10_000, 7.0))
    np.testing.assert_allclose(tf.cast(z, tf.float32), 7.0, rtol=2e-3)
