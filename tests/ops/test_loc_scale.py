import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.ops.loc_scale import loc_and_scale


def test_means_come_first_and_scales_are_exponentials():
    loc, scale = loc_and_scale(tf.constant([[1.0, -2.0, 0.0, np.log(3.0)]]))
    np.testing.assert_array_equal(loc, [[1.0, -2.0]])
    np.testing.assert_allclose(scale, [[1.0, 3.0]], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_scales_of_any_input_are_positive_and_finite(dtype):
    _, scale = loc_and_scale(tf.constant([0.0, 0.0, -1e4, 1e4], dtype))
    assert scale.dtype == tf.float32
    np.testing.assert_allclose(scale, np.exp([-20.0, 20.0]), rtol=1e-5)
