import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.dtypes import FLOATS
from tfdiscrete import InputError
from tfdiscrete.ops import gumbel_top_k, perturb, plackett_luce_log_prob

LOGITS = np.array([1.0, -2.0, 0.5, 2.0])


def probability(sample, logits=LOGITS):
    """Of an ordered sample, draw by draw."""
    pi, left, result = scipy.special.softmax(logits), 1.0, 1.0
    for index in sample:
        result *= pi[index] / left
        left -= pi[index]
    return result


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_samples_have_the_frequencies_of_drawing_one_after_the_other(k):
    count, orders = 50_000, list(itertools.permutations(range(4), k))
    index = gumbel_top_k(perturb(tf.constant(LOGITS), count, [1, 2]), k).index
    assert index.dtype == tf.int32
    codes = index.numpy() @ 4 ** np.arange(k)
    observed = [(codes == np.array(order) @ 4 ** np.arange(k)).sum() for order in orders]
    assert sum(observed) == count
    assert scipy.stats.chisquare(observed, [count * probability(order) for order in orders]).pvalue > 1e-3


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_log_prob_is_that_of_drawing_one_after_the_other_and_sums_to_one(k):
    orders = np.array(list(itertools.permutations(range(4), k)))
    logits = np.broadcast_to(LOGITS, (len(orders), 4))
    log_prob = plackett_luce_log_prob(tf.constant(logits + 3.0), tf.constant(orders)).numpy()
    np.testing.assert_allclose(log_prob, np.log([probability(order) for order in orders]), rtol=1e-12)
    np.testing.assert_allclose(np.exp(log_prob).sum(), 1.0, rtol=1e-12)


def test_log_prob_stays_exact_in_float32_after_a_draw_of_nearly_all_the_mass():
    logits = np.array([100.0, 1.0, 0.0, -100.0])
    expected = sum(logits[j] - scipy.special.logsumexp(logits[j:]) for j in range(3))
    np.testing.assert_allclose(plackett_luce_log_prob(tf.constant(logits, tf.float32), [0, 1, 2]), expected, rtol=1e-6)
    order = [3, 2, 0]
    expected = logits[order].sum() - 3 * 100.0
    np.testing.assert_allclose(plackett_luce_log_prob(tf.constant(logits, tf.float32), order), expected, rtol=1e-6)


def test_perturbed_values_fall_and_are_those_at_the_indices_with_their_gradient():
    perturbed = perturb(tf.constant(LOGITS), 10, [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(perturbed)
        sample = gumbel_top_k(perturbed, 3)
    assert sample.index.shape == sample.perturbed.shape == (10, 3)
    np.testing.assert_array_equal(sample.perturbed, np.take_along_axis(perturbed.numpy(), sample.index.numpy(), -1))
    assert (np.diff(sample.perturbed, axis=-1) < 0).all()
    gradient = tape.gradient(sample.perturbed, perturbed).numpy()
    np.testing.assert_array_equal(gradient, tf.reduce_sum(tf.one_hot(sample.index, 4), axis=-2))


@pytest.mark.parametrize("k", [2, 4])
def test_gradient_of_log_prob_is_that_of_finite_differences(k):
    index, step = tf.constant([3, 1, 0, 2][:k]), 1e-6
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = plackett_luce_log_prob(logits, index)
    differences = [
        (plackett_luce_log_prob(logits + d, index) - plackett_luce_log_prob(logits - d, index)) / (2 * step)
        for d in step * np.eye(4)
    ]
    np.testing.assert_allclose(tape.gradient(log_prob, logits), differences, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("categories", "k"), [(1, 1), (2, 2), (10_000, 1), (10_000, 20)])
def test_value_and_gradient_are_finite_for_extreme_logits(categories, k, dtype, jit_compile):
    signs = np.where(np.arange(categories) % 2, 1.0, -1.0)
    logits = tf.constant(100.0 * np.stack([signs, np.zeros(categories)]), dtype)

    @tf.function(jit_compile=jit_compile)
    def run(logits):
        rising = tf.broadcast_to(tf.argsort(tf.cast(logits, tf.float32), axis=-1)[..., :k], [2, k])
        drawn = gumbel_top_k(perturb(logits, 1, [1, 2])[0], k).index
        with tf.GradientTape() as tape:
            tape.watch(logits)
            log_prob = tf.stack([plackett_luce_log_prob(logits, index) for index in (rising, drawn)])
        return log_prob, tape.gradient(log_prob, logits)

    log_prob, gradient = run(logits)
    assert np.isfinite(log_prob).all()
    assert gradient.dtype == dtype
    assert np.isfinite(tf.cast(gradient, tf.float64)).all()


def test_a_category_drawn_twice_is_impossible_with_no_nan_in_the_gradient():
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        log_prob = plackett_luce_log_prob(logits[None], tf.constant([[0, 0]]))
    assert log_prob.numpy() == -np.inf
    np.testing.assert_array_equal(tape.gradient(log_prob, logits), np.zeros(4))


@pytest.mark.parametrize("k", [0, -1, 2.0, None])
def test_a_number_of_draws_that_is_not_a_positive_integer_is_refused(k):
    with pytest.raises(InputError, match="k must be an integer of at least 1"):
        gumbel_top_k(tf.zeros([2, 4]), k)


def test_more_draws_than_categories_are_refused():
    with pytest.raises(InputError, match=r"k must be at most the number of categories, 4\. Received: k=5\."):
        gumbel_top_k(tf.zeros([2, 4]), 5)
    with pytest.raises(InputError, match=r"k must be at most the number of categories, 4\. Received: k=5\."):
        plackett_luce_log_prob(tf.zeros([4]), tf.zeros([5], tf.int32))
