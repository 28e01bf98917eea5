import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tests.metrics.streaming import MODES, Reporter, batches, count, count_on_two_replicas, twin_of
from tfdiscrete import InputError
from tfdiscrete.layers.code_perplexity import CodePerplexity
from tfdiscrete.metrics import CodebookPerplexity, CodebookUsage

CLASSES = (CodebookPerplexity, CodebookUsage)
# Three codebooks of seven codes, of which 3, 4 and 5 are in use, unequally.
INDEX = np.minimum(np.random.default_rng(0).geometric(0.4, size=(24, 3)) - 1, [2, 3, 4]).astype("int32")


def perplexity(index):
    return np.exp(scipy.stats.entropy(np.bincount(index)))


def usage(index):
    return len(np.unique(index)) / 7


FIGURES = {CodebookPerplexity: perplexity, CodebookUsage: usage}
AVERAGES = {CodebookPerplexity: scipy.stats.gmean, CodebookUsage: np.mean}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", CLASSES)
def test_figures_of_an_epoch_are_those_of_all_its_indices(cls, mode):
    each = [FIGURES[cls](INDEX[:, book]) for book in range(3)]
    metric = count(cls(7, 3), INDEX, mode)
    np.testing.assert_allclose(metric.per_book(), each, rtol=1e-6)
    np.testing.assert_allclose(metric.result(), AVERAGES[cls](each), rtol=1e-6)
    assert metric.result().dtype == tf.float32


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cls", CLASSES)
def test_without_several_codebooks_all_indices_are_of_one(cls, mode):
    metric = count(cls(7), INDEX, mode)
    np.testing.assert_allclose(metric.result(), FIGURES[cls](INDEX.ravel()), rtol=1e-6)
    np.testing.assert_array_equal(metric.per_book(), [metric.result()])
    single = cls(7)
    for batch in batches(INDEX[:, 0]):
        single.update_state(batch)
    np.testing.assert_allclose(single.result(), FIGURES[cls](INDEX[:, 0]), rtol=1e-6)


def test_perplexity_is_that_which_quantizing_layers_report():
    index = np.where(INDEX == 1, -1, INDEX)
    index[:, 2] = -1
    theirs = CodePerplexity(7, 3)
    theirs.update_state(tf.constant(index))
    np.testing.assert_allclose(count(CodebookPerplexity(7, 3), index).result(), theirs.result(), rtol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_negative_indices_and_codebooks_without_any_are_left_out(cls):
    index = np.where(INDEX == 1, -1, INDEX)
    index[:, 2] = -1
    each = [FIGURES[cls](column[column >= 0]) for column in index.T[:2]]
    metric = count(cls(7, 3), index)
    np.testing.assert_allclose(metric.per_book(), [*each, np.nan], rtol=1e-6)
    np.testing.assert_allclose(metric.result(), AVERAGES[cls](each), rtol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_counts_of_two_replicas_are_added_up(cls):
    metric = count_on_two_replicas(lambda: cls(7, 3), INDEX)
    np.testing.assert_allclose(metric.result(), count(cls(7, 3), INDEX).result(), rtol=1e-7)


@pytest.mark.parametrize(
    ("cls", "nothing", "least", "most"), [(CodebookPerplexity, 1, 1, 5), (CodebookUsage, 0, 0.2, 1)]
)
def test_the_range_of_each_figure(cls, nothing, least, most):
    metric = cls(5)
    assert metric.result() == nothing
    metric.update_state(tf.fill([10], 3))
    np.testing.assert_allclose(metric.result(), least)
    metric.reset_state()
    assert metric.result() == nothing
    metric.update_state(tf.range(5))
    np.testing.assert_allclose(metric.result(), most, rtol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_a_reset_forgets_everything(cls):
    metric = count(cls(7, 3), INDEX)
    metric.reset_state()
    metric.update_state(INDEX[:4])
    fresh = cls(7, 3)
    fresh.update_state(INDEX[:4])
    assert metric.result() == fresh.result()


def test_counts_stay_exact_beyond_what_a_float_holds():
    metric = CodebookPerplexity(2)
    metric.counts.assign([[2**24, 2**40]])
    metric.update_state([0, 1])
    np.testing.assert_array_equal(metric.counts, [[2**24 + 1, 2**40 + 1]])
    metric.counts.assign([[2**40, 2**40]])
    np.testing.assert_allclose(metric.result(), 2.0)


def test_ten_thousand_codes_used_alike_have_a_perplexity_of_ten_thousand():
    metric = CodebookPerplexity(10_000)
    metric.update_state(tf.range(10_000))
    np.testing.assert_allclose(metric.result(), 10_000, rtol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_one_code_alone_is_always_used(cls):
    metric = cls(1)
    metric.update_state([0, 0])
    assert metric.result() == 1.0


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int64"])
def test_every_integer_type_is_counted(dtype):
    metric = CodebookUsage(7)
    metric.update_state(INDEX.astype(dtype))
    assert metric.result() == np.float32(5 / 7)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("options", [{}, {"num_books": 3, "name": "usage"}, {"num_books": 3, "dtype": "float64"}])
def test_config_and_variables_make_the_metric_again(cls, options):
    metric = count(cls(7, **options), INDEX)
    assert twin_of(metric).result() == metric.result()
    assert keras.saving.get_registered_name(cls) == f"tfdiscrete.metrics>{cls.__name__}"


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_evaluate_reports_it_and_starts_afresh(cls, jit_compile):
    model = Reporter(figure=cls(7, 3))
    model.compile(jit_compile=jit_compile)
    dataset = tf.data.Dataset.from_tensor_slices(INDEX).batch(7)
    for _ in range(2):
        reported = model.evaluate(dataset, verbose=0, return_dict=True)["figure"]
        np.testing.assert_allclose(reported, count(cls(7, 3), INDEX).result(), rtol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_index_out_of_range_is_refused_and_in_a_graph_makes_the_result_nan(cls):
    metric = cls(7, 3)
    with pytest.raises(InputError, match="below 7. Received: 7"):
        metric.update_state([[0, 1, 7]])
    assert not np.any(metric.counts)
    for jit_compile in (False, True):
        tf.function(metric.update_state, jit_compile=jit_compile)(tf.constant([[0, 1, 7]]))
        metric.update_state([[0, 1, 1]])
        assert np.isnan(metric.result())
        assert np.isnan(metric.per_book()).all()
        metric.reset_state()
        metric.update_state([[0, 1, 1]])
        assert np.isfinite(metric.result())


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([[0.0, 1.0, 2.0]], "must be integers. Received: dtype float32"),
        ([[0, 1]], r"shape \[..., 3\]. Received: shape \(1, 2\)"),
        (0, r"shape \[..., 3\]. Received: shape \(\)"),
    ],
)
def test_what_is_no_index_is_refused(index, message):
    with pytest.raises(InputError, match=message):
        CodebookPerplexity(7, 3).update_state(index)


@pytest.mark.parametrize(("arguments", "name"), [((0,), "num_codes"), ((7, 0), "num_books"), ((7.0,), "num_codes")])
def test_counts_out_of_range_are_refused(arguments, name):
    with pytest.raises(InputError, match=f"{name} must be an integer of at least 1"):
        CodebookUsage(*arguments)
