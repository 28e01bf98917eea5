import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.serving.saved_model import check_portable, read_signatures


def test_the_file_gives_the_signatures_that_loading_gives(base, tiny):
    read = read_signatures(base / "3")
    assert list(read) == ["serving_default", "encode", "log_table", "masked", "mean", "sample"]
    for name, signature in read.items():
        loaded = tiny.signatures[name]
        assert signature.inputs == loaded.structured_input_signature[1]
        assert {key: (spec.shape.as_list(), spec.dtype) for key, spec in signature.outputs.items()} == {
            key: (spec.shape.as_list(), spec.dtype) for key, spec in loaded.structured_outputs.items()
        }
    assert [name for name, signature in read.items() if signature.draws] == ["sample"]


def test_examples_are_zeros_of_the_batch_and_one_of_what_is_counted(base):
    read = read_signatures(base / "3")
    example = read["sample"].example(4)
    assert example["n"] == 4
    np.testing.assert_array_equal(example["seed"], [0, 0])
    np.testing.assert_array_equal(read["encode"].example(2)["x"], np.zeros((2, 4), "float32"))
    random = read["encode"].example(2, np.random.default_rng(0))["x"]
    assert random.dtype == np.float32
    assert len(np.unique(random)) == 8


def test_a_folder_without_a_saved_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a SavedModel"):
        read_signatures(tmp_path)


def save(function, folder):
    module = tf.Module()
    module.function = tf.function(function, input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(folder), signatures=module.function)
    return folder


def test_a_graph_that_needs_python_is_refused(tmp_path):
    folder = save(lambda x: {"y": tf.ensure_shape(tf.numpy_function(np.sin, [x], tf.float32), [None])}, tmp_path / "a")
    with pytest.raises(InputError, match="calls Python .*PyFunc"):
        check_portable(folder)


def test_a_graph_that_needs_xla_is_refused(tmp_path):
    compiled = tf.function(lambda x: x + 1, jit_compile=True)
    with pytest.raises(InputError, match="jit_compile=True"):
        check_portable(save(lambda x: {"y": compiled(x)}, tmp_path / "a"))


def test_a_plain_graph_is_portable(tmp_path, base):
    check_portable(save(lambda x: {"y": x + 1}, tmp_path / "a"))
    check_portable(base / "3")
