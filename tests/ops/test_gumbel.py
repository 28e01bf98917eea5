import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfdiscrete.ops import gumbel_max, gumbel_noise, gumbel_softmax, uniform

HALF = ["float16", "bfloat16"]
FULL = ["float32", "float64"]


@pytest.mark.parametrize("dtype", FULL)
def test_noise_has_the_standard_gumbel_distribution(dtype):
    noise = gumbel_noise([200_000], [1, 2], dtype=dtype).numpy().astype(np.float64)
    assert scipy.stats.kstest(noise, "gumbel_r").pvalue > 1e-3
    assert abs(noise.mean() - np.euler_gamma) < 4.5 * np.pi / np.sqrt(6 * 200_000)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 2e-6), ("float64", 1e-13)])
def test_noise_is_minus_log_minus_log_of_the_uniforms(dtype, rtol):
    exact = -np.log(-np.log(uniform([1000], [3, 4], dtype=dtype).numpy().astype(np.float64)))
    np.testing.assert_allclose(gumbel_noise([1000], [3, 4], dtype=dtype), exact, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("dtype", "low", "high"), [("float32", -2.82, 16.64), ("float64", -3.61, 36.8)])
def test_noise_of_the_extreme_uniforms_has_the_stated_bounds(monkeypatch, dtype, low, high):
    integer = np.dtype({"float32": "uint32", "float64": "uint64"}[dtype])
    extremes = tf.constant([0, np.iinfo(integer).max], integer)
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda *args, **kwargs: extremes)
    noise = gumbel_noise([2], [0, 0], dtype=dtype).numpy()
    assert low < noise[0] < low + 0.1
    assert high - 0.1 < noise[1] < high


@pytest.mark.parametrize("dtype", HALF)
def test_noise_of_half_types_is_float32_noise_rounded(dtype):
    noise = gumbel_noise([1000], [3, 4], dtype=dtype)
    assert noise.dtype == dtype
    np.testing.assert_array_equal(noise, tf.cast(gumbel_noise([1000], [3, 4]), dtype))


@pytest.mark.parametrize("dtype", HALF + FULL)
def test_perturbed_logits_have_their_maximum_at_k_with_the_probability_of_k(dtype):
    logits = np.array([1.0, -2.0, 0.5, 2.0, -1.0])
    noise = gumbel_noise([100_000, 5], [5, 6], dtype=dtype)
    one_hot = gumbel_max(tf.constant(logits, dtype) + noise)
    assert one_hot.dtype == dtype
    counts = tf.reduce_sum(tf.cast(one_hot, tf.float64), axis=0).numpy()
    assert scipy.stats.chisquare(counts, 100_000 * scipy.special.softmax(logits)).pvalue > 1e-3


def test_maximum_is_exactly_one_hot_and_ties_go_to_the_first():
    perturbed = tf.constant([[0.0, 3.0, 3.0], [-1.0, -1.0, -2.0], [0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(gumbel_max(perturbed), [[0, 1, 0], [1, 0, 0], [1, 0, 0]])


def test_maximum_has_no_gradient():
    perturbed = tf.constant([[0.0, 3.0]])
    with tf.GradientTape() as tape:
        tape.watch(perturbed)
        one_hot = gumbel_max(perturbed)
    assert tape.gradient(one_hot, perturbed) is None


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 2e-6), ("float64", 1e-12)])
def test_relaxed_sample_is_the_log_softmax_of_scipy(temperature, dtype, rtol):
    perturbed = np.random.default_rng(0).normal(size=(4, 6)).astype(dtype)
    exact = scipy.special.log_softmax(perturbed.astype(np.float64) / np.float32(temperature), axis=-1)
    np.testing.assert_allclose(gumbel_softmax(tf.constant(perturbed), temperature), exact, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("dtype", HALF)
def test_half_types_are_relaxed_in_float32(dtype):
    assert gumbel_softmax(tf.constant([[1.0, -1.0]], dtype), 1e-3).dtype == tf.float32


@pytest.mark.parametrize("categories", [1, 2, 10_000])
@pytest.mark.parametrize("scale", [0.0, 100.0])
@pytest.mark.parametrize("dtype", HALF + FULL)
def test_value_and_gradient_are_finite_at_every_temperature(dtype, scale, categories):
    signs = np.where(np.arange(categories) % 2, 1.0, -1.0)
    logits = tf.constant(np.stack([scale * signs, -scale * signs, np.full(categories, scale)]), dtype)
    weights = tf.random.stateless_normal([3, categories], [1, 2])
    for temperature in (1e-3, 0.1, 1.0, 10.0):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            log_y = gumbel_softmax(logits + gumbel_noise(logits.shape, [3, 4], dtype=dtype), temperature)
            y = tf.exp(log_y)
            value = tf.reduce_sum(tf.cast(weights, y.dtype) * y)
        gradient = tape.gradient(value, logits)
        assert np.isfinite(log_y).all()
        assert gradient.dtype == dtype
        assert np.isfinite(tf.cast(gradient, tf.float64)).all()
        np.testing.assert_allclose(tf.reduce_sum(y, axis=-1), 1.0, atol=2e-5)
