import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfdiscrete.layers.code_perplexity import CodePerplexity

RNG = np.random.default_rng(0)


def perplexity(index, num_codes):
    return np.exp(scipy.stats.entropy(np.bincount(index, minlength=num_codes)))


def test_it_is_that_of_all_batches_since_the_reset():
    metric, index = CodePerplexity(7), RNG.integers(0, 7, size=(3, 40)) ** 2 % 7
    for batch in index:
        metric.update_state(tf.constant(batch[:, None], tf.int32))
    np.testing.assert_allclose(metric.result(), perplexity(index.ravel(), 7), rtol=1e-5)
    metric.reset_state()
    metric.update_state(tf.constant(index[0][:, None], tf.int32))
    np.testing.assert_allclose(metric.result(), perplexity(index[0], 7), rtol=1e-5)


def test_it_goes_from_one_to_the_number_of_codes():
    metric = CodePerplexity(5)
    assert metric.result() == 1.0
    metric.update_state(tf.fill([10, 1], 3))
    np.testing.assert_allclose(metric.result(), 1.0)
    metric.reset_state()
    metric.update_state(tf.range(5)[:, None])
    np.testing.assert_allclose(metric.result(), 5.0, rtol=1e-6)


def test_of_groups_it_is_the_geometric_mean_and_negative_indices_are_left_out():
    metric, index = CodePerplexity(6, 3), RNG.integers(-1, 6, size=(100, 3))
    index[:, 2] = -1
    metric.update_state(tf.constant(index, tf.int32))
    each = [perplexity(index[index[:, g] >= 0, g], 6) for g in range(2)]
    np.testing.assert_allclose(metric.result(), np.sqrt(np.prod(each)), rtol=1e-5)


@pytest.mark.parametrize("dtype", [None, "mixed_float16"])
def test_config_gives_the_metric_back(dtype):
    metric = CodePerplexity(6, 3, name="usage", dtype=dtype)
    twin = CodePerplexity.from_config(metric.get_config())
    assert (twin.num_codes, twin.groups, twin.name) == (6, 3, "usage")
    assert twin.counts.dtype == "float32"
    assert isinstance(twin, keras.metrics.Metric)
