import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics.pairwise import paired_distances
from sklearn.neighbors import NearestNeighbors

from tfdiscrete import InputError
from tfdiscrete.ops import nearest_code
from tfdiscrete.ops.nearest_code import code_statistics, unit_rows
from tfdiscrete.training.data import ENVIRONMENT_VARIABLE, load

RNG = np.random.default_rng(0)
MODES = {
    "eager": lambda f: f,
    "graph": tf.function,
    "xla": lambda f: tf.function(f, jit_compile=True),
    "unknown batch": lambda f: tf.function(f, input_signature=[tf.TensorSpec([None, 64])]),
}


def real_data(name):
    if name != "digits" and ENVIRONMENT_VARIABLE not in os.environ:
        pytest.skip(f"{name} is not embedded: set {ENVIRONMENT_VARIABLE}")
    x = load(name).train.x[:5000]
    return x[:, ::2, ::2].reshape(len(x), -1) if name != "digits" else x.reshape(len(x), -1)


class TestNearestCode:
    @pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_index_is_that_of_scikit_learn_s_nearest_neighbour(self, name, metric):
        x = real_data(name)
        rows, codes = x[300:], x[:300] + 0.01 * RNG.normal(size=x[:300].shape).astype("float32")
        search = NearestNeighbors(n_neighbors=1, algorithm="brute", metric=metric).fit(codes.astype("float64"))
        distances, expected = (found[:, 0] for found in search.kneighbors(rows.astype("float64")))
        index = nearest_code(rows, codes, metric=metric)
        assert index.dtype == tf.int32
        assert len(np.unique(expected)) > 100
        assert (index.numpy() == expected).mean() > 0.999
        chosen = paired_distances(rows.astype("float64"), codes.astype("float64")[index.numpy()], metric=metric)
        np.testing.assert_allclose(chosen, distances, rtol=1e-6, atol=1e-6)

    def test_data_far_from_zero_keep_their_nearest_code(self):
        rows, codes = RNG.normal(size=(500, 8)), RNG.normal(size=(50, 8))
        expected = ((rows[:, None] - codes) ** 2).sum(-1).argmin(-1)
        shifted = nearest_code((rows + 1000.0).astype("float32"), (codes + 1000.0).astype("float32"))
        assert (shifted.numpy() == expected).mean() > 0.99
        np.testing.assert_array_equal(nearest_code(rows + 1e6, codes + 1e6), expected)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("most_scores", [2**25, 300, pytest.param(1, marks=pytest.mark.slow)])
    def test_every_mode_and_chunk_length_gives_the_same_index(self, mode, most_scores):
        rows = RNG.normal(size=(101, 64)).astype("float32")
        codes = RNG.normal(size=(30, 64)).astype("float32")
        expected = ((rows[:, None] - codes) ** 2).sum(-1).argmin(-1)
        search = MODES[mode](lambda x: nearest_code(x, codes, most_scores=most_scores))
        for count in (101, 30, 1, 0):
            np.testing.assert_array_equal(search(tf.constant(rows[:count])), expected[:count])

    @pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4), (2, 0, 4)])
    def test_leading_dimensions_are_kept(self, shape):
        codes = RNG.normal(size=(5, 2)).astype("float32")
        x = RNG.normal(size=(*shape, 2)).astype("float32")
        expected = ((x[..., None, :] - codes) ** 2).sum(-1).argmin(-1)
        index = nearest_code(x, codes)
        assert index.shape == shape
        np.testing.assert_array_equal(index, expected)

    @pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_the_first_of_equal_codes_wins(self, mode, metric):
        codes = np.repeat(np.eye(64, dtype="float32"), 3, axis=0)
        search = MODES[mode](lambda x: nearest_code(x, codes, metric=metric))
        np.testing.assert_array_equal(search(tf.constant(np.eye(64), tf.float32)), 3 * np.arange(64))

    @pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
    def test_half_precision_inputs_are_compared_in_float32(self, dtype):
        rows = tf.cast(RNG.normal(size=(200, 16)), dtype)
        codes = RNG.normal(size=(40, 16)).astype("float32")
        np.testing.assert_array_equal(nearest_code(rows, codes), nearest_code(tf.cast(rows, tf.float32), codes))

    @pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
    def test_a_row_that_is_not_finite_gets_some_index_and_disturbs_no_other(self, mode):
        rows = RNG.normal(size=(6, 64)).astype("float32")
        codes = RNG.normal(size=(30, 64)).astype("float32")
        expected = nearest_code(rows, codes).numpy()
        rows[1], rows[3, 0], rows[4, 5] = np.nan, np.inf, -np.inf
        index = MODES[mode](lambda x: nearest_code(x, codes))(tf.constant(rows)).numpy()
        assert ((index >= 0) & (index < 30)).all()
        np.testing.assert_array_equal(index[[0, 2, 5]], expected[[0, 2, 5]])

    def test_an_unknown_metric_is_refused(self):
        with pytest.raises(InputError, match="unknown metric 'cosin'. Did you mean 'cosine'"):
            nearest_code([[1.0]], [[1.0]], metric="cosin")

    @pytest.mark.slow
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_a_large_batch_against_a_large_codebook_stays_under_one_gibibyte(self, jit_compile):
        program = f"""
import resource, numpy as np, tensorflow as tf
from tfdiscrete.ops import nearest_code
search = tf.function(nearest_code, jit_compile={jit_compile})
rng = np.random.default_rng(0)
codes = tf.constant(rng.normal(size=(8192, 64)), tf.float32)
rows = tf.constant(rng.normal(size=(65536, 64)), tf.float32)
search(rows[:8], codes)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert search(rows, codes).shape == (65536,)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
        result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert int(result.stdout.split()[-1]) < 2**20  # KiB


class TestUnitRows:
    def test_rows_get_length_one_and_a_row_of_zeros_stays_with_a_finite_gradient(self):
        x = tf.constant([[3.0, 4.0], [0.0, 0.0], [1e-8, 0.0], [3e15, 4e15]])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = unit_rows(x)
        np.testing.assert_allclose(y, [[0.6, 0.8], [0.0, 0.0], [1.0, 0.0], [0.6, 0.8]], rtol=1e-6)
        assert np.isfinite(tape.gradient(y, x)).all()


class TestCodeStatistics:
    @pytest.mark.parametrize("mode", ["eager", "graph", "xla"])
    def test_counts_and_sums_are_numpy_s_without_negative_indices(self, mode):
        rows = RNG.normal(size=(200, 3)).astype("float32")
        index = RNG.integers(-1, 5, size=200).astype("int32")
        rows[index < 0] = np.nan
        counts, sums = MODES[mode](lambda rows, index: code_statistics(rows, index, 6))(rows, index)
        np.testing.assert_array_equal(counts, [(index == k).sum() for k in range(6)])
        np.testing.assert_allclose(sums, [rows[index == k].sum(axis=0) for k in range(6)], rtol=1e-5, atol=1e-5)

    def test_no_rows_add_up_to_zeros(self):
        counts, sums = code_statistics(tf.zeros([0, 3]), tf.zeros([0], tf.int32), 2)
        np.testing.assert_array_equal(counts, [0, 0])
        np.testing.assert_array_equal(sums, np.zeros((2, 3)))
