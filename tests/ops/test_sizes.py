import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.ops.sizes import sizes


@pytest.mark.parametrize("shape", [[], [3], [2, 0], [4, 2, 3]])
def test_eager_sizes_are_integers(shape):
    assert sizes(tf.zeros(shape)) == shape


def test_a_reshape_to_them_has_the_static_shape_and_the_right_size():
    @tf.function(input_signature=[tf.TensorSpec([None, 3, None])])
    def flat_and_back(x):
        back = tf.reshape(tf.reshape(x, [-1]), sizes(x))
        assert back.shape.as_list() == [None, 3, None]
        return back

    x = np.arange(30, dtype=np.float32).reshape(5, 3, 2)
    np.testing.assert_array_equal(flat_and_back(x), x)
