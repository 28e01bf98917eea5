import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

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


@pytest.mark.parametrize(
    ("draw", "operator"),
    [
        (lambda x: tf.random.normal(tf.shape(x)), "RandomStandardNormal"),
        (lambda x: tf.random.uniform(tf.shape(x)), "RandomUniform"),
        (lambda x: tf.cast(tf.random.categorical(x[None], 3)[0], tf.float32), "Multinomial"),
        (tf.random.shuffle, "RandomShuffle"),
    ],
)
def test_a_graph_that_draws_with_noise_of_its_own_is_refused(tmp_path, draw, operator):
    with pytest.raises(InputError, match=f"noise of its own \\({operator}\\).*a seed among the inputs"):
        check_portable(save(lambda x: {"y": draw(x)}, tmp_path / "a"))


def test_a_generator_is_refused_and_noise_of_a_seed_is_not(tmp_path):
    class Drawing(tf.Module):
        def __init__(self):
            super().__init__()
            self.generator = tf.random.Generator.from_seed(1)

        @tf.function(input_signature=[tf.TensorSpec([2], tf.int32, "seed")])
        def stateful(self, seed):
            return {"y": self.generator.normal([3])}

        @tf.function(input_signature=[tf.TensorSpec([2], tf.int32, "seed")])
        def stateless(self, seed):
            return {"y": tf.random.stateless_normal([3], seed)}

    for name in ("stateful", "stateless"):
        module = Drawing()
        tf.saved_model.save(module, str(tmp_path / name), signatures=getattr(module, name))
    with pytest.raises(InputError, match="RngReadAndSkip"):
        check_portable(tmp_path / "stateful")


def test_a_plain_graph_is_portable(tmp_path, base):
    check_portable(save(lambda x: {"y": x + 1}, tmp_path / "a"))
    check_portable(base / "3")


def test_of_several_graphs_the_one_for_serving_is_read(tmp_path, base):
    file = saved_model_pb2.SavedModel.FromString((base / "3" / "saved_model.pb").read_bytes())
    serving = file.meta_graphs[0]
    file.meta_graphs.insert(0, type(serving)())
    file.meta_graphs[0].meta_info_def.tags.append("train")
    (tmp_path / "saved_model.pb").write_bytes(file.SerializeToString())
    assert "encode" in read_signatures(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match="holds no graph"):
        read_signatures(tmp_path)
