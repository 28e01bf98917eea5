import itertools
import math

import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.ops import perturbed_top_codes, split_seed, top_codes

SIZES = [(1, 2, 1), (1, 2, 2), (1, 5, 3), (1, 5, 5), (3, 2, 1), (3, 2, 5), (3, 2, 8), (3, 3, 4), (2, 4, 16), (5, 3, 20)]
SEED = [1, 2]


def all_codes(latents, categories):
    return np.array(list(itertools.product(range(categories), repeat=latents)))


def log_probabilities(logits, codes):
    """`[..., N, K]` and `[C, N]` to `[..., C]`."""
    log_pi = logits - scipy.special.logsumexp(logits, axis=-1, keepdims=True)
    return sum(log_pi[..., n, codes[:, n]] for n in range(codes.shape[1]))


def numbers_of(index, categories):
    """The position of each code, `[..., N]`, in `all_codes`."""
    return np.asarray(index) @ categories ** np.arange(index.shape[-1])[::-1]


def random_logits(latents, categories, batch=50):
    return 2.0 * np.random.default_rng([latents, categories]).normal(size=(batch, latents, categories))


@pytest.mark.parametrize(("latents", "categories", "k"), SIZES)
def test_top_codes_are_those_of_sorting_all(latents, categories, k):
    logits, codes = random_logits(latents, categories), all_codes(latents, categories)
    log_prob = log_probabilities(logits, codes)
    order = np.argsort(-log_prob, axis=-1)
    found = top_codes(tf.constant(logits), k)
    assert found.index.dtype == tf.int32
    np.testing.assert_array_equal(np.moveaxis(found.index, 0, 1), codes[order[:, :k]])
    sorted_log_prob = np.take_along_axis(log_prob, order, axis=-1)
    np.testing.assert_allclose(np.transpose(found.log_prob), sorted_log_prob[:, :k], rtol=1e-12)
    np.testing.assert_array_equal(found.perturbed, found.log_prob)
    np.testing.assert_allclose(np.exp(found.log_rest), np.exp(sorted_log_prob[:, k:]).sum(-1), rtol=1e-10)


@pytest.mark.parametrize(("latents", "categories", "k"), SIZES)
def test_draws_are_different_codes_with_their_probabilities_and_the_mass_of_the_others(latents, categories, k):
    logits, codes = random_logits(latents, categories), all_codes(latents, categories)
    log_prob = log_probabilities(logits, codes)
    drawn = perturbed_top_codes(tf.constant(logits), k, SEED)
    numbers = numbers_of(drawn.index, categories).T
    assert all(len(set(row)) == k for row in numbers)
    np.testing.assert_allclose(np.transpose(drawn.log_prob), np.take_along_axis(log_prob, numbers, -1), rtol=1e-12)
    others = np.exp(log_prob)
    np.put_along_axis(others, numbers, 0.0, axis=-1)
    np.testing.assert_allclose(np.exp(drawn.log_rest), others.sum(-1), rtol=1e-10)
    assert (np.diff(drawn.perturbed, axis=0) < 0).all()


@pytest.mark.parametrize(
    ("latents", "categories", "k"), [(1, 4, 2), (2, 2, 2), (2, 2, 4), (3, 2, 2), (2, 3, 3), (3, 2, 3)]
)
def test_draws_have_the_frequencies_of_drawing_one_after_the_other(latents, categories, k):
    count, codes = 200_000, all_codes(latents, categories)
    logits = np.random.default_rng([7, latents]).normal(size=(latents, categories))
    q = np.exp(log_probabilities(logits, codes))
    orders = np.array(list(itertools.permutations(range(len(codes)), k)))
    probability = np.prod([q[orders[:, j]] / (1 - q[orders[:, :j]].sum(1)) for j in range(k)], axis=0)
    index = perturbed_top_codes(tf.broadcast_to(logits, [count, latents, categories]), k, SEED).index
    drawn = numbers_of(index, categories).T @ len(codes) ** np.arange(k)
    observed = np.array([(drawn == order @ len(codes) ** np.arange(k)).sum() for order in orders])
    assert observed.sum() == count
    # The rare orders count as one.
    group = np.where(count * probability > 5, np.arange(len(orders)), len(orders))
    observed, expected = (np.bincount(group, weights=values) for values in (observed, count * probability))
    observed, expected = observed[expected > 0], expected[expected > 0]
    assert scipy.stats.chisquare(observed, expected).pvalue > 1e-3


def test_the_largest_perturbed_values_have_the_law_of_independent_noise_on_every_code():
    count, codes = 50_000, all_codes(3, 2)
    logits = np.random.default_rng(5).normal(size=(3, 2))
    log_prob = log_probabilities(logits, codes)
    drawn = perturbed_top_codes(tf.broadcast_to(logits, [count, 3, 2]), 3, SEED)
    noisy = log_prob + np.random.default_rng(6).gumbel(size=(count, 8))
    expected = -np.sort(-noisy, axis=-1)[:, :3]
    assert scipy.stats.kstest(drawn.perturbed[0], scipy.stats.gumbel_r.cdf).pvalue > 1e-3
    for rank in range(3):
        assert scipy.stats.ks_2samp(drawn.perturbed[rank], expected[:, rank]).pvalue > 1e-3
    gaps = [-np.diff(values, axis=-1) for values in (np.transpose(drawn.perturbed), expected)]
    for rank in range(2):
        assert scipy.stats.ks_2samp(gaps[0][:, rank], gaps[1][:, rank]).pvalue > 1e-3


def test_two_seeds_of_one_seed_and_examples_of_a_batch_give_independent_draws():
    logits = tf.zeros([20_000, 2, 2])
    first, second = (perturbed_top_codes(logits, 1, seed).index.numpy()[0] for seed in split_seed(SEED, 2))
    for one, other in ((first, second), (first[1:], first[:-1]), (first[:, 0], first[:, 1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4.5 / np.sqrt(20_000)


def test_noise_of_the_largest_values_is_not_that_which_chooses_the_categories():
    drawn = perturbed_top_codes(tf.zeros([20_000, 2, 2]), 1, SEED)
    # If one stream of noise were read twice, the values of rows 2i and 2i + 1 would choose the category of row i.
    larger = np.argmax(drawn.perturbed.numpy().reshape(10_000, 2), axis=-1)
    assert abs(np.corrcoef(larger, drawn.index[0, :10_000, 0])[0, 1]) < 4.5 / np.sqrt(10_000)


@pytest.mark.parametrize("search", [lambda x, k: top_codes(x, k), lambda x, k: perturbed_top_codes(x, k, SEED)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mass_of_the_others_is_exact_in_relative_terms_where_one_code_has_nearly_all(search, dtype):
    logits = np.array([[30.0, 0.0, 1.0], [20.0, 0.0, -1.0], [25.0, 0.0, 3.0]])
    found = search(tf.constant(logits, dtype), 3)
    with mpmath.workdps(50):
        pi = [[mpmath.exp(x) for x in row] for row in logits]
        total = mpmath.fprod(mpmath.fsum(row) for row in pi)
        taken = {tuple(code) for code in found.index.numpy()}
        rest = mpmath.fsum(
            mpmath.fprod(row[c] for row, c in zip(pi, code, strict=True))
            for code in itertools.product(range(3), repeat=3)
            if code not in taken
        )
        expected = float(mpmath.log(rest / total))
    assert expected < -17
    np.testing.assert_allclose(found.log_rest, expected, atol=2e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("extreme", [1e2, 1e4, 1e9])
@pytest.mark.parametrize(("latents", "categories", "k"), [(1, 7, 7), (3, 2, 8), (4, 3, 50), (20, 10, 8), (2, 1000, 6)])
def test_codes_are_different_and_all_finite_for_extreme_logits(latents, categories, k, extreme, dtype):
    if dtype == "float16" and extreme > 1e4:
        extreme = 6e4
    logits = np.full([3, latents, categories], -extreme)
    logits[0, :, 0] = 0.0
    logits[1, :, ::2] = 0.0
    logits[2] = np.where(np.arange(categories) % 2, extreme, -extreme)
    for found in (top_codes(tf.constant(logits, dtype), k), perturbed_top_codes(tf.constant(logits, dtype), k, SEED)):
        for example in range(3):
            assert len({tuple(code) for code in found.index.numpy()[:, example]}) == k
        assert found.log_prob.dtype == (tf.float64 if dtype == "float64" else tf.float32)
        for part in (found.log_prob, found.perturbed):
            assert np.isfinite(part).all()
        assert not np.isnan(found.log_rest).any()
        np.testing.assert_array_equal(found.index[0, 0], np.zeros(latents))


def test_second_draw_is_a_fair_one_of_the_others_where_the_first_has_nearly_all_the_mass_in_float32():
    logits = tf.broadcast_to(tf.constant([[40.0, 0.0, 1.0], [40.0, 0.0, 1.0]]), [50_000, 2, 3])
    index = perturbed_top_codes(logits, 2, SEED).index.numpy()
    np.testing.assert_array_equal(index[0], 0)
    observed = np.bincount(numbers_of(index[1], 3), minlength=9)
    share = np.array([1.0, np.e]) / (2 + 2 * np.e)
    assert observed.sum() == observed[[1, 2, 3, 6]].sum()
    assert scipy.stats.chisquare(observed[[1, 2, 3, 6]], 50_000 * np.tile(share, 2)).pvalue > 1e-3


@pytest.mark.parametrize("batch", [(), (4,), (2, 3), (0,)])
def test_shapes_follow_the_batch(batch):
    for found in (top_codes(tf.zeros([*batch, 3, 4]), 5), perturbed_top_codes(tf.zeros([*batch, 3, 4]), 5, SEED)):
        assert found.index.shape == (5, *batch, 3)
        assert found.log_prob.shape == found.perturbed.shape == (5, *batch)
        assert found.log_rest.shape == batch


@pytest.mark.parametrize("k", [pytest.param(1, marks=pytest.mark.slow), 20])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_agree_with_eager_for_an_unknown_batch(jit_compile, dtype, k):
    logits = random_logits(4, 3).astype(dtype)
    shapes, rtol = [], 1e-5 if dtype == "float32" else 1e-9

    @tf.function(input_signature=[tf.TensorSpec([None, 4, 3], dtype)], jit_compile=jit_compile)
    def traced(logits):
        found = [top_codes(logits, k), perturbed_top_codes(logits, k, SEED)]
        shapes.append([part.shape.as_list() for part in found[1]])
        return found

    eager = [top_codes(tf.constant(logits), k), perturbed_top_codes(tf.constant(logits), k, SEED)]
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol), traced(logits), eager)
    assert shapes == [[[k, None, 4], [k, None], [k, None], [None]]]


def test_gradient_of_the_log_probability_is_that_of_the_softmax_and_the_others_have_none():
    logits = tf.constant(random_logits(3, 4, batch=5))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        found = perturbed_top_codes(logits, 3, SEED)
        second = found.log_prob[1]
    expected = tf.one_hot(found.index[1], 4, dtype=tf.float64) - tf.nn.softmax(logits)
    np.testing.assert_allclose(tape.gradient(second, logits), expected, atol=1e-12)
    assert tape.gradient(found.perturbed, logits) is None
    assert tape.gradient(found.log_rest, logits) is None


def test_logits_need_not_be_normalized():
    logits = tf.constant(random_logits(3, 4))
    for search in (lambda x: top_codes(x, 3), lambda x: perturbed_top_codes(x, 3, SEED)):
        tf.nest.map_structure(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), search(logits), search(logits + 5.0)
        )


@pytest.mark.parametrize("search", [lambda x, k: top_codes(x, k), lambda x, k: perturbed_top_codes(x, k, SEED)])
class TestRefusals:
    def test_more_than_all_codes_are_refused(self, search):
        with pytest.raises(InputError, match=r"k must be at most the number of codes, 2\^3 = 8\. Received: k=9\."):
            search(tf.zeros([5, 3, 2]), 9)

    def test_any_number_is_taken_where_the_number_of_codes_is_beyond_any_integer_type(self, search):
        found = search(tf.zeros([2, 70, 10]), 3)
        assert len({tuple(code) for code in found.index.numpy()[:, 0]}) == 3
        np.testing.assert_allclose(found.log_prob, -70 * math.log(10), rtol=1e-5)

    @pytest.mark.parametrize("k", [0, -1, 2.0, None, True])
    def test_a_number_that_is_no_positive_integer_is_refused(self, search, k):
        with pytest.raises(InputError, match="k must be an integer of at least 1"):
            search(tf.zeros([5, 3, 2]), k)

    @pytest.mark.parametrize("shape", [[3], [2, 0], [0, 2]])
    def test_logits_without_variables_or_categories_are_refused(self, search, shape):
        with pytest.raises(InputError, match=r"logits must have shape \[\*batch, N, K\]"):
            search(tf.zeros(shape), 1)
