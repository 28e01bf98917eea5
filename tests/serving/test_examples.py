import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.serving.examples import example, examples


def test_without_noise_they_are_zeros_of_the_batch_and_scalars_the_batch():
    specs = {"n": tf.TensorSpec([], tf.int32), "x": tf.TensorSpec([None, 3]), "seed": tf.TensorSpec([2], tf.int32)}
    drawn = examples(specs, batch=4)
    assert drawn["n"] == 4
    np.testing.assert_array_equal(drawn["x"], np.zeros((4, 3)))
    np.testing.assert_array_equal(drawn["seed"], [0, 0])
    assert example(tf.TensorSpec(None)).shape == ()


@pytest.mark.parametrize(
    ("dtype", "values"), [(tf.int32, 2), (tf.bool, 2), (tf.uint8, 2), (tf.float32, 40), (tf.float64, 40)]
)
def test_random_ones_vary_from_0_to_1(dtype, values):
    drawn = example(tf.TensorSpec([None, 4], dtype), batch=10, rng=np.random.default_rng(0))
    assert drawn.dtype == dtype.as_numpy_dtype
    assert len(np.unique(drawn)) == values
    assert drawn.min() >= 0
    assert drawn.max() <= 1


def test_a_count_is_not_drawn():
    assert example(tf.TensorSpec([], tf.int32), batch=3, rng=np.random.default_rng(0)) == 3
