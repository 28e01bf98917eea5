import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tests.metrics.posteriors import random_logits, softmax
from tests.metrics.streaming import MODES, Reporter, count, count_on_two_replicas, twin_of
from tfdiscrete import InputError
from tfdiscrete.metrics import ActiveUnits, MarginalPerplexity, active_units

CLASSES = (ActiveUnits, MarginalPerplexity)
# Six variables, from one that hardly depends on the example to one that is almost certain of it.
PROBABILITIES = softmax(random_logits(24, 6, 3, scale=np.array([0.01, 0.1, 0.2, 0.5, 1.0, 4.0])[:, None]))
VARIANCES = PROBABILITIES.var(axis=0).sum(axis=-1)


def perplexities(probabilities):
    return np.exp(scipy.stats.entropy(probabilities.mean(axis=0), axis=-1))


def figure(cls, probabilities):
    return active_units(probabilities) if cls is ActiveUnits else scipy.stats.gmean(perplexities(probabilities))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("threshold", [0.0, 0.01, 0.1, *(VARIANCES * 0.999), *(VARIANCES * 1.001)])
def test_active_units_are_those_of_the_whole_data_set(threshold, mode):
    metric = count(ActiveUnits(6, 3, threshold=threshold), PROBABILITIES, mode)
    assert metric.result() == active_units(PROBABILITIES, threshold=threshold)
    np.testing.assert_allclose(metric.per_latent(), VARIANCES, rtol=1e-10)


@pytest.mark.parametrize("mode", MODES)
def test_perplexity_is_that_of_the_mean_posterior(mode):
    metric = count(MarginalPerplexity(6, 3), PROBABILITIES, mode)
    np.testing.assert_allclose(metric.per_latent(), perplexities(PROBABILITIES), rtol=1e-10)
    np.testing.assert_allclose(metric.result(), scipy.stats.gmean(perplexities(PROBABILITIES)), rtol=1e-6)
    np.testing.assert_allclose(metric.marginals(), PROBABILITIES.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("cls", CLASSES)
def test_sums_of_two_replicas_are_added_up(cls):
    metric = count_on_two_replicas(lambda: cls(6, 3), PROBABILITIES)
    np.testing.assert_allclose(metric.result(), figure(cls, PROBABILITIES), rtol=1e-6)


@pytest.mark.parametrize(("cls", "nothing"), [(ActiveUnits, 0.0), (MarginalPerplexity, 1.0)])
def test_nothing_counted_and_a_reset(cls, nothing):
    metric = cls(6, 3)
    metric.update_state(PROBABILITIES[:0])
    assert metric.result() == nothing
    count(metric, PROBABILITIES)
    metric.reset_state()
    assert metric.result() == nothing
    metric.update_state(PROBABILITIES[:4])
    np.testing.assert_allclose(metric.result(), figure(cls, PROBABILITIES[:4]), rtol=1e-6)


def test_one_example_shows_no_dependence():
    metric = ActiveUnits(6, 3, threshold=1e-12)
    metric.update_state(PROBABILITIES[:1])
    assert metric.result() == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_constant_posterior_is_inactive_however_many_the_examples(dtype):
    metric = ActiveUnits(1, 3, threshold=1e-12)
    for _ in range(5):
        metric.update_state(tf.fill([20_000, 1, 3], tf.constant(1 / 3, dtype)))
    assert metric.result() == 0
    assert metric.count.numpy() == 100_000


def test_of_ten_thousand_categories_those_in_use_are_told():
    one_hot = np.eye(500, 10_000, dtype="float32")[:, None]
    active, perplexity = ActiveUnits(1, 10_000), MarginalPerplexity(1, 10_000)
    for batch in np.split(one_hot, 20):
        active.update_state(batch)
        perplexity.update_state(batch)
    assert active.result() == 1
    np.testing.assert_allclose(active.per_latent(), 1 - 1 / 500, rtol=1e-12)
    np.testing.assert_allclose(perplexity.result(), 500, rtol=1e-6)


def test_a_variable_of_one_category_is_inactive_and_uses_it():
    for cls, expected in ((ActiveUnits, 0.0), (MarginalPerplexity, 1.0)):
        metric = cls(2, 1)
        metric.update_state(np.ones((5, 2, 1)))
        assert metric.result() == expected


@pytest.mark.parametrize("cls", CLASSES)
def test_leading_dimensions_are_all_examples(cls):
    metric = cls(6, 3)
    metric.update_state(PROBABILITIES.reshape(4, 6, 6, 3))
    np.testing.assert_allclose(metric.result(), figure(cls, PROBABILITIES), rtol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("options", [{}, {"name": "used", "dtype": "float64"}])
def test_config_and_variables_make_the_metric_again(cls, options):
    metric = count(cls(6, 3, **options), PROBABILITIES)
    assert twin_of(metric).result() == metric.result()
    assert metric.result().dtype == options.get("dtype", "float32")
    assert keras.saving.get_registered_name(cls) == f"tfdiscrete.metrics>{cls.__name__}"


def test_config_keeps_the_threshold():
    metric = count(ActiveUnits(6, 3, threshold=0.1), PROBABILITIES)
    assert twin_of(metric).result() == metric.result() != active_units(PROBABILITIES)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("jit_compile", [False, True])
def test_evaluate_reports_it_and_starts_afresh(cls, jit_compile):
    model = Reporter(figure=cls(6, 3))
    model.compile(jit_compile=jit_compile)
    dataset = tf.data.Dataset.from_tensor_slices(PROBABILITIES).batch(7)
    for _ in range(2):
        reported = model.evaluate(dataset, verbose=0, return_dict=True)["figure"]
        np.testing.assert_allclose(reported, figure(cls, PROBABILITIES), rtol=1e-6)


@pytest.mark.parametrize("cls", CLASSES)
def test_nan_is_refused_and_in_a_graph_makes_the_result_nan(cls):
    broken = PROBABILITIES.copy()
    broken[3, 1, 2] = np.nan
    metric = cls(6, 3)
    with pytest.raises(InputError, match="must be numbers. Received: NaN"):
        metric.update_state(broken)
    assert metric.count.numpy() == 0
    for jit_compile in (False, True):
        tf.function(metric.update_state, jit_compile=jit_compile)(tf.constant(broken))
        assert np.isnan(metric.result())
        metric.reset_state()
        assert np.isfinite(metric.result())


@pytest.mark.parametrize("shape", [(5, 3, 6), (5, 6, 2), (3,), ()])
def test_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"\[N, K\] = \[6, 3\]. Received: shape"):
        ActiveUnits(6, 3).update_state(np.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 3), {}, "num_latents must be an integer of at least 1"),
        ((6, 0), {}, "num_categories must be an integer of at least 1"),
        ((6, 3), {"threshold": -0.1}, "threshold must be a finite number of at least 0"),
    ],
)
def test_settings_out_of_range_are_refused(arguments, options, message):
    with pytest.raises(InputError, match=message):
        ActiveUnits(*arguments, **options)
