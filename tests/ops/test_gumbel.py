import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfdiscrete.ops import (
    gumbel_max,
    gumbel_noise,
    gumbel_softmax,
    perturb,
    posterior_gumbels,
    relaxed_one_hot,
    uniform,
)

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
    monkeypatch.setattr("tfdiscrete.ops.random._bits", lambda *args, **kwargs: extremes)
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


class TestPosteriorGumbels:
    LOGITS = np.array([1.0, -2.0, 0.5, 2.0, -1.0])
    LOG_PI = scipy.special.log_softmax(LOGITS)

    def draw(self, category, count, dtype="float64"):
        one_hot = np.broadcast_to(np.eye(5)[category], (count, 5))
        return posterior_gumbels(tf.constant(self.LOGITS, dtype), tf.constant(one_hot, dtype), [5, 6]).numpy()

    @pytest.mark.parametrize("dtype", FULL)
    @pytest.mark.parametrize("category", [1, 3])
    def test_maximum_is_a_standard_gumbel_and_the_others_are_truncated_below_it(self, category, dtype):
        draws = self.draw(category, 20_000, dtype).astype("float64")
        top = draws[:, category]
        assert scipy.stats.kstest(top, "gumbel_r").pvalue > 1e-3
        others = [k for k in range(5) if k != category]
        # F_k(g) / F_k(top), F_k the law of a Gumbel at log pi_k, is uniform given the maximum
        uniforms = np.exp(np.exp(self.LOG_PI[others]) * (np.exp(-top[:, None]) - np.exp(-draws[:, others])))
        for column in uniforms.T:
            assert scipy.stats.kstest(column, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(np.column_stack([uniforms, top]).T) - np.eye(5)).max() < 4.5 / np.sqrt(20_000)

    def test_given_samples_of_the_logits_the_law_is_that_of_the_perturbed_logits(self):
        logits = tf.constant(self.LOGITS)
        hard = gumbel_max(perturb(logits, 20_000, [1, 2]))
        draws = posterior_gumbels(logits, hard, [3, 4]).numpy()
        for k in range(5):
            assert scipy.stats.kstest(draws[:, k], scipy.stats.gumbel_r(loc=self.LOG_PI[k]).cdf).pvalue > 1e-3

    @pytest.mark.parametrize("jit_compile", [False, True])
    @pytest.mark.parametrize("dtype", HALF + FULL)
    @pytest.mark.parametrize("categories", [1, 2, 10_000])
    def test_extreme_logits_give_finite_values_and_gradients_and_exactly_the_category(
        self, categories, dtype, jit_compile
    ):
        signs = np.where(np.arange(categories) % 2, 1.0, -1.0)
        logits = tf.constant(100.0 * np.stack([signs, -signs, np.zeros(categories)]), dtype)
        category = [0, categories - 1, categories // 2]

        @tf.function(jit_compile=jit_compile)
        def draw(logits):
            one_hot = tf.broadcast_to(tf.one_hot(category, categories, dtype=dtype), [4, 3, categories])
            with tf.GradientTape() as tape:
                tape.watch(logits)
                draws = posterior_gumbels(logits, one_hot, [3, 4])
                value = tf.reduce_sum(tf.random.stateless_normal(draws.shape, [1, 2], dtype=draws.dtype) * draws)
            return draws, tape.gradient(value, logits)

        draws, gradient = draw(logits)
        assert draws.dtype == (tf.float64 if dtype == "float64" else tf.float32)
        assert np.isfinite(draws).all()
        assert np.isfinite(tf.cast(gradient, tf.float64)).all()
        second = np.sort(draws, axis=-1)[..., -2:-1]
        np.testing.assert_array_equal(tf.argmax(draws, axis=-1), np.broadcast_to(category, (4, 3)))
        assert (np.max(draws, axis=-1, keepdims=True) > second).all(), "the maximum must be unique"

    @pytest.mark.parametrize("top", [-2.5, -1.0, 0.0, 0.3, 1.0, 16.0])
    def test_others_that_round_to_the_maximum_stay_below_it(self, monkeypatch, top):
        noise = tf.constant([1e6, top, 1e6])
        monkeypatch.setattr("tfdiscrete.ops.gumbel.gumbel_noise", lambda *args, **kwargs: noise)
        draws = posterior_gumbels(tf.zeros([3]), tf.constant([0.0, 1.0, 0.0]), [0, 0]).numpy()
        assert draws[1] == np.float32(top)
        assert (draws[[0, 2]] < draws[1]).all()
        np.testing.assert_allclose(draws[[0, 2]], top, atol=1e-6, rtol=1e-6)

    def test_gradient_is_that_of_finite_differences(self):
        logits, step = tf.constant(self.LOGITS), 1e-6
        one_hot = tf.one_hot([0, 3, 1], 5, dtype=tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            draws = posterior_gumbels(logits, one_hot, [5, 6])
        differences = [
            (posterior_gumbels(logits + d, one_hot, [5, 6]) - posterior_gumbels(logits - d, one_hot, [5, 6]))
            / (2 * step)
            for d in step * np.eye(5)
        ]
        jacobian = tape.jacobian(draws, logits).numpy()
        assert np.abs(jacobian).max() > 0.1
        np.testing.assert_allclose(jacobian, np.stack(differences, axis=-1), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("jit_compile", [None, False, True])
@pytest.mark.parametrize("categories", [1, 10, 10_000])
@pytest.mark.parametrize("temperature", [1e-3, 0.5, 10.0])
def test_relaxed_sample_and_its_gradient_are_those_of_its_logarithm(temperature, categories, jit_compile):
    perturbed = tf.constant(np.random.default_rng(0).normal(size=(3, categories), scale=5.0))
    weights = tf.constant(np.random.default_rng(1).normal(size=(3, categories)))

    def value_and_gradient(function):
        with tf.GradientTape() as tape:
            tape.watch(perturbed)
            y = function(perturbed)
        return y, tape.gradient(y, perturbed, output_gradients=weights)

    run = value_and_gradient if jit_compile is None else tf.function(value_and_gradient, jit_compile=jit_compile)
    actual = run(lambda p: relaxed_one_hot(p, tf.constant(temperature, tf.float64)))
    expected = value_and_gradient(lambda p: tf.exp(tf.nn.log_softmax(p / temperature)))
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-12)
