import os

import numpy as np
import pytest
import tensorflow as tf
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from tfdiscrete.ops import kmeans, nearest_code
from tfdiscrete.training.data import ENVIRONMENT_VARIABLE, load

DIGITS = (load_digits().data / 16.0).astype("float32")


def everything(x):
    return tf.ones([len(x)], tf.bool)


def inertia(x, codes):
    nearest = np.asarray(codes)[nearest_code(x, codes).numpy()]
    return ((x - nearest).astype("float64") ** 2).sum()


def fashion_patches(count):
    """`count` random 4x4 patches, `[count, 16]`."""
    if ENVIRONMENT_VARIABLE not in os.environ:
        pytest.skip(f"fashion_mnist is not embedded: set {ENVIRONMENT_VARIABLE}")
    images, rng = load("fashion_mnist").train.x, np.random.default_rng(0)
    i, r, c = rng.integers([len(images), 25, 25], size=(count, 3)).T
    window = np.arange(4)
    return images[i[:, None, None], r[:, None, None] + window[:, None], c[:, None, None] + window].reshape(count, 16)


def compare(x, num_codes, seeds, iterations=10):
    """The mean inertia over seeds, as a fraction of scikit-learn's."""
    run = tf.function(lambda seed: kmeans(x, everything(x), num_codes, seed, iterations=iterations)[0])
    ours = np.mean([inertia(x, run(tf.constant([seed, 1]))) for seed in seeds])
    theirs = [KMeans(num_codes, n_init=1, max_iter=iterations, random_state=seed, tol=0.0).fit(x) for seed in seeds]
    return ours / np.mean([model.inertia_ for model in theirs])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("num_codes", [10, 64])
def test_inertia_is_scikit_learn_s_on_digits(num_codes):
    assert compare(DIGITS, num_codes, range(10)) < 1.01


@pytest.mark.slow
@pytest.mark.parametrize("num_codes", [256, 1024])
def test_inertia_is_scikit_learn_s_on_patches(num_codes):
    assert compare(fashion_patches(16 * num_codes), num_codes, range(2)) < 1.02


def test_more_codes_than_rounds_start_nearly_as_well():
    x = np.random.default_rng(0).normal(size=(4000, 4)).astype("float32")
    assert compare(x, 1500, range(1), iterations=3) < 1.1


def test_well_separated_clusters_are_found():
    rng = np.random.default_rng(0)
    centers = 10.0 * rng.permutation(np.stack(np.meshgrid(*[np.arange(4)] * 3), -1).reshape(-1, 3))[:20]
    x = (np.repeat(centers, 30, axis=0) + 0.1 * rng.normal(size=(600, 3))).astype("float32")
    codes, counts = kmeans(x, everything(x), 20, tf.constant([1, 2]), iterations=3)
    np.testing.assert_array_equal(counts, np.full(20, 30.0))
    found = codes.numpy()[nearest_code(centers.astype("float32"), codes).numpy()]
    np.testing.assert_allclose(found, x.reshape(20, 30, 3).mean(axis=1), rtol=1e-4, atol=1e-4)


def test_counts_are_those_of_the_codes():
    codes, counts = kmeans(DIGITS, everything(DIGITS), 32, tf.constant([1, 2]), iterations=2)
    np.testing.assert_array_equal(counts, np.bincount(nearest_code(DIGITS, codes), minlength=32))


def test_modes_agree():
    x = DIGITS[:300]
    expected, _ = kmeans(x, everything(x), 16, tf.constant([1, 2]), iterations=5)
    for jit_compile in (False, True):
        run = tf.function(
            lambda x: kmeans(x, everything(DIGITS[:300]), 16, tf.constant([1, 2]), iterations=5)[0],
            jit_compile=jit_compile,
        )
        np.testing.assert_allclose(run(tf.constant(x)), expected, rtol=1e-4, atol=1e-5)


def test_rows_left_out_may_hold_anything():
    valid = np.arange(400) % 3 > 0
    dirty = np.where(valid[:, None], DIGITS[:400], np.nan).astype("float32")
    codes, counts = kmeans(dirty, tf.constant(valid), 8, tf.constant([1, 2]), iterations=5)
    assert np.isfinite(codes).all()
    assert counts.numpy().sum() == valid.sum()
    assert inertia(DIGITS[:400][valid], codes) < 1.1 * inertia(
        DIGITS[:400][valid], kmeans(DIGITS[:400][valid], everything(DIGITS[:400][valid]), 8, [1, 2], iterations=5)[0]
    )


@pytest.mark.parametrize("num_codes", [12, 1100])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_codes_beyond_the_data_wait_near_it(num_codes, metric):
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    x /= np.linalg.norm(x, axis=-1, keepdims=True)
    codes, counts = kmeans(x, everything(x), num_codes, tf.constant([1, 2]), iterations=3, metric=metric)
    assert counts.numpy().sum() == 5
    assert (counts.numpy() > 0).sum() == 5
    np.testing.assert_allclose(inertia(x, codes), 0.0, atol=1e-6)
    distance = np.linalg.norm(codes.numpy()[:, None] - x, axis=-1).min(-1)
    assert distance.max() < 0.05
    assert len(np.unique(codes, axis=0)) > 0.99 * num_codes


def test_a_single_row_many_times_gives_codes_around_it():
    x = np.tile([[1.0, 2.0]], (50, 1)).astype("float32")
    codes, counts = kmeans(x, everything(x), 4, tf.constant([1, 2]), iterations=3)
    np.testing.assert_allclose(codes, x[:4], atol=1e-6)
    assert counts.numpy().sum() == 50


def test_cosine_codes_have_length_one():
    x = DIGITS / np.linalg.norm(DIGITS, axis=-1, keepdims=True)
    codes, _ = kmeans(x, everything(x), 16, tf.constant([1, 2]), iterations=5, metric="cosine")
    np.testing.assert_allclose(np.linalg.norm(codes, axis=-1), 1.0, rtol=1e-5)
