import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tests.metrics.posteriors import codes, of_codes, random_logits, softmax
from tfdiscrete import InputError
from tfdiscrete.metrics import AggregatePosterior, Codes, aggregate_posterior
from tfdiscrete.ops.all_codes import all_codes

LOGITS = random_logits(5, 3, 4)
SHAPES = [(5, 3, 4), (1, 3, 2), (6, 1, 5), (4, 3, 1), (3, 5, 2), (1, 1, 1)]


@pytest.fixture(params=["whole", "chunks"])
def chunks(request, monkeypatch):
    if request.param == "chunks":
        monkeypatch.setattr(aggregate_posterior, "_CHUNK_ELEMENTS", 50)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("shape", SHAPES)
def test_log_prob_is_that_of_the_mixture_of_all_examples(shape):
    logits = random_logits(*shape)
    expected = np.log(of_codes(softmax(logits)).mean(0))
    aggregate = AggregatePosterior(logits + 7.0)
    np.testing.assert_allclose(aggregate.log_prob(codes(*shape[1:])), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_are_those_of_all_codes_in_their_order(shape):
    logits = random_logits(*shape)
    np.testing.assert_allclose(
        AggregatePosterior(logits).probabilities(), of_codes(softmax(logits)).mean(0), rtol=1e-12
    )
    np.testing.assert_array_equal(all_codes(*shape[1:]), codes(*shape[1:]))


def test_marginals_and_entropies_are_those_of_single_variables():
    q = softmax(LOGITS)
    aggregate = AggregatePosterior(LOGITS)
    np.testing.assert_allclose(aggregate.marginals, q.mean(0), rtol=1e-12)
    np.testing.assert_allclose(aggregate.conditional_entropy, scipy.stats.entropy(q, axis=-1).mean(0), rtol=1e-12)


@pytest.mark.usefixtures("chunks")
def test_samples_have_the_joint_frequencies_of_example_and_code():
    logits = random_logits(4, 2, 3)
    expected = of_codes(softmax(logits)) / 4
    sample = AggregatePosterior(logits).sample(20_000, [1, 2])
    counts = np.zeros((4, 9))
    np.add.at(counts, (sample.example, sample.categories @ [3, 1]), 1)
    assert scipy.stats.chisquare(counts.ravel(), 20_000 * expected.ravel()).pvalue > 1e-3


def test_samples_depend_on_the_seed_and_on_nothing_else():
    aggregate = AggregatePosterior(LOGITS)
    first, again, other = (aggregate.sample(50, seed) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first.categories, again.categories)
    np.testing.assert_array_equal(first.example, again.example)
    assert (first.categories != other.categories).any()
    assert (first.example != other.example).any()


def test_log_prob_of_a_sample_under_its_own_example():
    sample = Codes(np.array([[0, 3, 1], [2, 2, 2]]), np.array([4, 0]))
    q = softmax(LOGITS)
    expected = [np.log(q[4, 0, 0] * q[4, 1, 3] * q[4, 2, 1]), np.log(q[0, 0, 2] * q[0, 1, 2] * q[0, 2, 2])]
    np.testing.assert_allclose(AggregatePosterior(LOGITS).conditional_log_prob(sample), expected, rtol=1e-12)


@pytest.mark.parametrize("zero", [-np.inf, -1e30, -1e308])
def test_impossible_categories_are_never_drawn_and_have_no_mass(zero):
    logits = np.full((3, 2, 4), zero)
    logits[:, :, 2] = 0.0
    logits[0, 0, 1] = 0.0
    aggregate = AggregatePosterior(logits)
    assert set(map(tuple, aggregate.sample(500, [0, 1]).categories)) == {(2, 2), (1, 2)}
    log_prob = aggregate.log_prob([[2, 2], [1, 2], [0, 2]])
    np.testing.assert_allclose(np.exp(log_prob), [5 / 6, 1 / 6, 0.0], rtol=1e-12)
    assert log_prob[2] == -np.inf or zero == -1e30


def test_logits_at_both_ends_of_the_numbers_are_taken():
    logits = np.array([[[1e308, -1e308, 1e308]]])
    np.testing.assert_array_equal(AggregatePosterior(logits).probabilities(), [0.5, 0.0, 0.5])


def test_the_sum_of_a_code_far_below_the_others_is_kept():
    aggregate = AggregatePosterior([[[0.0, -3000.0]], [[0.0, -2000.0]]])
    np.testing.assert_allclose(aggregate.log_prob([[1]]), [-2000.0 - np.log(2)], rtol=1e-12)


@pytest.mark.parametrize("convert", [np.float16, tf.bfloat16.as_numpy_dtype, np.float32])
def test_half_precision_is_widened_before_anything_is_computed(convert):
    logits = LOGITS.astype(convert)
    exact = AggregatePosterior(logits.astype(np.float64)).probabilities()
    np.testing.assert_array_equal(AggregatePosterior(logits).probabilities(), exact)
    np.testing.assert_array_equal(AggregatePosterior(tf.constant(logits)).probabilities(), exact)


def test_the_logits_that_are_handed_in_are_left_as_they_are():
    logits = LOGITS.copy()
    AggregatePosterior(logits)
    np.testing.assert_array_equal(logits, LOGITS)


def test_nothing_scored_is_an_empty_result():
    assert AggregatePosterior(LOGITS).log_prob(np.zeros((0, 3), int)).shape == (0,)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.zeros((2, 3)), r"shape \[B, N, K\].*Received: logits of shape \(2, 3\)"),
        (np.float64(0.0), r"shape \[B, N, K\].*Received: logits of shape \(\)"),
        (np.zeros((0, 2, 3)), r"at least one example.*Received: shape \(0, 2, 3\)"),
        (np.zeros((2, 2, 0)), r"at least one example.*Received: shape \(2, 2, 0\)"),
        (np.where(np.arange(8).reshape(2, 2, 2) == 5, np.nan, 0.0), r"finite, or -inf.*Received: nan at \(1, 0, 1\)"),
        (np.where(np.arange(8).reshape(2, 2, 2) == 2, np.inf, 0.0), r"finite, or -inf.*Received: inf at \(0, 1, 0\)"),
        (np.array([[[0.0, 1.0], [-np.inf, -np.inf]]]), r"a possible category. Received: only -inf at \(0, 1\)"),
    ],
)
def test_logits_that_are_no_posteriors_are_refused(logits, message):
    with pytest.raises(InputError, match=message):
        AggregatePosterior(logits)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([[0, 0]], r"integers \[S, N\] with N = 3. Received: int64 of shape \(1, 2\)"),
        ([0, 0, 0], r"Received: int64 of shape \(3,\)"),
        ([[0.0, 0.0, 0.0]], "Received: float64"),
        ([[0, 0, 4]], "from 0 to 3. Received: 0 to 4"),
        ([[0, -1, 0]], "from 0 to 3. Received: -1 to 0"),
    ],
)
def test_an_index_that_is_no_code_is_refused(index, message):
    with pytest.raises(InputError, match=message):
        AggregatePosterior(LOGITS).log_prob(index)
