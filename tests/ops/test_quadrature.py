import itertools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.ops import gaussian_argmax_log_probabilities

RNG = np.random.default_rng(0)
# means and scales, [K-1] each
CASES = {
    "standard": (np.zeros(4), np.ones(4)),
    "random": (RNG.normal(size=5), RNG.uniform(0.3, 2.0, size=5)),
    "ratio 50": (np.array([50.0, 49.0, 48.5]), np.array([1.0, 1.0, 1.0])),
    "ratio -50": (np.array([-50.0, -0.5]), np.array([1.0, 1.0])),
    "all negative": (np.array([-3.0, -4.0, -3.5]), np.array([1.0, 0.7, 1.2])),
    "mixed scales": (np.array([0.3, -2.0, 0.5, 1.0]), np.array([1e-3, 1e3, 1.0, 30.0])),
    "mixed scales 2": (np.array([0.3, 0.301, 500.0, -200.0]), np.array([1e-3, 2e-3, 1e3, 1e3])),
    "near certain": (np.array([5.0, -5.0]), np.array([0.1, 0.1])),
    "small": (np.array([1e-3, -2e-3, 0.0]), np.array([1e-3, 1e-3, 1e-3])),
}


def adaptive(loc, scale):
    """P by SciPy's adaptive quadrature between all points where the integrand may bend."""
    probabilities = []
    bends = np.concatenate([loc + c * scale for c in (-12, -8, -4, -1, 0, 1, 4, 8, 12)])
    edges = np.unique(np.concatenate([[0.0], bends[bends > 0], [max((loc + 14 * scale).max(), 1e-9)]]))
    for k in range(len(loc)):

        def integrand(t, k=k):
            log_cdf = scipy.stats.norm.logcdf(t, loc, scale)
            return np.exp(scipy.stats.norm.logpdf(t, loc[k], scale[k]) + log_cdf.sum() - log_cdf[k])

        inside = edges[(edges >= loc[k] - 14 * scale[k]) & (edges <= loc[k] + 14 * scale[k])]
        inside = np.unique(np.append(inside, [max(0.0, loc[k] - 14 * scale[k]), max(0.0, loc[k] + 14 * scale[k])]))
        panels = itertools.pairwise(inside)
        probabilities.append(
            sum(scipy.integrate.quad(integrand, *panel, epsabs=1e-13, limit=60)[0] for panel in panels)
        )
    return np.append(probabilities, np.exp(scipy.stats.norm.logcdf(-loc / scale).sum()))


def probabilities(loc, scale):
    return np.exp(gaussian_argmax_log_probabilities(tf.cast(loc, tf.float64), tf.cast(scale, tf.float64)))


@pytest.mark.parametrize("name", CASES)
def test_probabilities_are_those_of_adaptive_quadrature(name):
    np.testing.assert_allclose(probabilities(*CASES[name]), adaptive(*CASES[name]), atol=1e-11, rtol=0.0)


@pytest.mark.parametrize("name", CASES)
def test_probabilities_sum_to_one(name):
    assert probabilities(*CASES[name]).sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_float32_is_float64_to_its_precision(name):
    loc, scale = (tf.constant(value, tf.float32) for value in CASES[name])
    with tf.GradientTape() as tape:
        tape.watch([loc, scale])
        log_p = gaussian_argmax_log_probabilities(loc, scale)
    assert log_p.dtype == tf.float32
    assert np.isfinite(log_p).all()
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(log_p, [loc, scale]))
    # The stated least scale, at which float32 tells the nodes less well apart.
    least = 2.0**-13 * np.abs(loc).max()
    tolerance = 1e-4 if (scale.numpy() < 2 * least).any() else 4e-6
    np.testing.assert_allclose(np.exp(log_p), probabilities(loc, np.maximum(scale, least)), atol=tolerance, rtol=0.0)


@pytest.mark.parametrize("name", ["random", "mixed scales", "all negative"])
def test_probabilities_are_the_frequencies_of_argmax_draws(name):
    loc, scale = CASES[name]
    draws = np.random.default_rng(1).normal(loc, scale, size=(1_000_000, len(loc)))
    counts = np.bincount(np.where(draws.max(-1) > 0, draws.argmax(-1), len(loc)), minlength=len(loc) + 1)
    expected = probabilities(loc, scale)
    often = expected * len(draws) > 5
    np.testing.assert_allclose(counts[~often], 0, atol=20)
    counts, expected = counts[often], expected[often]
    assert scipy.stats.chisquare(counts, counts.sum() * expected / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize("ratio", [-50.0, -20.0, -3.0, 0.0, 0.7, 5.0, 30.0, 50.0])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_two_categories_have_the_normal_tails_to_their_logarithms(scale, ratio):
    log_p = gaussian_argmax_log_probabilities(
        tf.constant([ratio * scale], tf.float64), tf.constant([scale], tf.float64)
    )
    np.testing.assert_allclose(log_p, scipy.stats.norm.logcdf([ratio, -ratio]), rtol=1e-10, atol=1e-12)


def test_equal_standard_gaussians_by_hand():
    # None is positive with probability 2^-(K-1), and the rest is shared.
    for variables in (1, 2, 3, 9):
        shares = np.append(np.full(variables, (1 - 0.5**variables) / variables), 0.5**variables)
        np.testing.assert_allclose(probabilities(np.zeros(variables), np.ones(variables)), shares, rtol=1e-11)


def test_two_hundred_categories_sum_to_one_and_keep_the_order_of_their_means():
    loc = np.sort(np.random.default_rng(0).normal(size=199))
    p = probabilities(loc, np.ones(199))
    assert p.sum() == pytest.approx(1.0, abs=1e-12)
    assert (np.diff(p[:-1]) > 0).all()
    assert p[-1] < 1e-50


@pytest.mark.parametrize("name", ["standard", "random", "all negative", "near certain", "mixed scales"])
def test_gradients_are_those_of_finite_differences(name):
    weights = np.random.default_rng(2).normal(size=len(CASES[name][0]) + 1)

    def total(loc, scale):
        return tf.reduce_sum(weights * tf.exp(gaussian_argmax_log_probabilities(loc, scale)))

    leaves = [tf.constant(value) for value in CASES[name]]
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        value = total(*leaves)
    for position, gradient in enumerate(tape.gradient(value, leaves)):
        steps = 1e-4 * CASES[name][1]
        for k, step in enumerate(steps):
            moved = [[np.array(v) for v in CASES[name]] for _ in range(4)]
            for arguments, distance in zip(moved, (2, 1, -1, -2), strict=True):
                arguments[position][k] += distance * step
            far, near, below, beyond = (total(*arguments) for arguments in moved)
            # The five-point rule, whose error is of the fourth order in the step.
            expected = (8.0 * (near - below) - (far - beyond)) / (12.0 * step)
            np.testing.assert_allclose(gradient[k] * step, expected * step, rtol=1e-6, atol=1e-12)


def test_log_probabilities_of_the_very_unlikely_are_finite_with_a_gradient_that_raises_them():
    loc = tf.constant([[0.0, 100.0], [-60.0, -70.0], [-200.0, 3.0]], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(loc)
        log_p = gaussian_argmax_log_probabilities(loc, tf.ones([2]))
        unlikely = log_p[:, 0]
    gradient = tape.gradient(unlikely, loc).numpy()
    assert (unlikely.numpy() < -40.0).all()
    assert np.isfinite(log_p).all()
    assert np.isfinite(gradient).all()
    assert (gradient[:, 0] > 0).all()


def test_scales_of_nearly_nothing_give_the_largest_mean_the_probability_one():
    loc = tf.constant([[1.0, 2.0, -1.0], [-1.0, -2.0, -3.0], [1e4, -1.0, 3.0]])
    with tf.GradientTape() as tape:
        tape.watch(loc)
        log_p = gaussian_argmax_log_probabilities(loc, 1e-30 * tf.ones([3]))
    np.testing.assert_allclose(np.exp(log_p), np.eye(4)[[1, 3, 0]], atol=2e-4)
    assert np.isfinite(tape.gradient(log_p, loc)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_computed_in_float32(dtype):
    log_p = gaussian_argmax_log_probabilities(tf.zeros([3], dtype), tf.ones([3], dtype))
    assert log_p.dtype == tf.float32
    np.testing.assert_allclose(np.exp(log_p), [7 / 24] * 3 + [1 / 8], atol=2e-6)


def test_batches_are_their_rows_and_scale_broadcasts():
    loc = np.random.default_rng(0).normal(size=(4, 2, 3))
    scale = np.array([[0.5], [2.0]])
    p = probabilities(loc, scale)
    assert p.shape == (4, 2, 4)
    for index in np.ndindex(4, 2):
        np.testing.assert_allclose(p[index], probabilities(loc[index], scale[index[1]] * np.ones(3)), rtol=1e-10)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(jit_compile):
    shapes = []

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 3], tf.float64)] * 2)
    def traced(loc, scale):
        with tf.GradientTape() as tape:
            tape.watch(loc)
            log_p = gaussian_argmax_log_probabilities(loc, scale)
            first = log_p[:, 0]
        shapes.append(log_p.shape.as_list())
        return log_p, tape.gradient(first, loc)

    loc, scale = np.random.default_rng(0).normal(size=(5, 3)), np.ones((5, 3))
    log_p, gradient = traced(loc, scale)
    assert shapes == [[None, 4]]
    np.testing.assert_allclose(
        log_p, gaussian_argmax_log_probabilities(tf.constant(loc), tf.constant(scale)), rtol=1e-9
    )
    assert (gradient[:, 0].numpy() > 0).all()
    assert (gradient[:, 1:].numpy() < 0).all()


@pytest.mark.parametrize("shape", [(512,), (4, 1000), (0,), ()])
def test_other_category_counts_are_refused(shape):
    with pytest.raises(
        InputError, match=r"a static K from 2 to 512. Received: shape .*discretize\(num_samples, seed\)"
    ):
        gaussian_argmax_log_probabilities(tf.zeros(shape), tf.ones(shape))


def test_an_unknown_category_count_is_refused():
    with pytest.raises(InputError, match=r"a static K from 2 to 512"):
        tf.function(gaussian_argmax_log_probabilities).get_concrete_function(
            tf.TensorSpec([4, None]), tf.TensorSpec([4, None])
        )
