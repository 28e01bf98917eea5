import pytest
import tensorflow as tf

from tfdiscrete.ops.precision import wide_dtype, widen


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_float64_stays_and_all_else_is_float32(dtype):
    expected = tf.float64 if dtype == "float64" else tf.float32
    assert wide_dtype(dtype) == widen(tf.zeros([2], dtype)).dtype == expected
