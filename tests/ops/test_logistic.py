import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfdiscrete.ops import logistic_noise, uniform


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_noise_has_the_standard_logistic_distribution(dtype):
    noise = logistic_noise([200_000], [1, 2], dtype=dtype).numpy().astype(np.float64)
    assert scipy.stats.kstest(noise, "logistic").pvalue > 1e-3
    assert abs(noise.mean()) < 4.5 * np.pi / np.sqrt(3 * 200_000)


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-6), ("float64", 1e-13)])
def test_noise_is_the_log_odds_of_the_uniforms(dtype, rtol):
    exact = scipy.special.logit(uniform([1000], [3, 4], dtype=dtype).numpy().astype(np.float64))
    np.testing.assert_allclose(logistic_noise([1000], [3, 4], dtype=dtype), exact, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 16.64), ("float64", 36.8)])
def test_noise_of_the_extreme_uniforms_has_the_stated_bounds(monkeypatch, dtype, bound):
    integer = np.dtype({"float32": "uint32", "float64": "uint64"}[dtype])
    extremes = tf.constant([0, np.iinfo(integer).max], integer)
    monkeypatch.setattr("tfdiscrete.ops.random._bits", lambda *args, **kwargs: extremes)
    noise = logistic_noise([2], [0, 0], dtype=dtype).numpy()
    np.testing.assert_allclose(noise, [-bound, bound], atol=0.1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_noise_of_half_types_is_float32_noise_rounded(dtype):
    noise = logistic_noise([1000], [3, 4], dtype=dtype)
    assert noise.dtype == dtype
    np.testing.assert_array_equal(noise, tf.cast(logistic_noise([1000], [3, 4]), dtype))
