import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.serving import predict
from tfdiscrete.serving.signatures import signatures_of


class Odd(tf.Module):
    """Signatures that no model of this package has, and other people's may."""

    @tf.function(input_signature=[])
    def nothing(self):
        return {"pi": tf.constant(3.25)}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.float32, "x")])
    def fixed(self, x):
        return {"sum": tf.reduce_sum(x)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def shapeless(self, x):
        return {"same": x}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "x")])
    def any_width(self, x):
        return {"same": x}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    def centered(self, x):
        return {"y": x - tf.reduce_mean(x, axis=0)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "x")])
    def ranked(self, x):
        return {"y": tf.argsort(x)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def picky(self, x):
        with tf.control_dependencies([tf.debugging.assert_greater(x, 1.0)]):
            return {"y": tf.identity(x)}

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, "a"), tf.TensorSpec([None, 1], tf.float32, "b")])
    def pairs(self, a, b):
        return {"y": tf.reshape(a + tf.transpose(b), [-1])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "n")])
    def many_n(self, n):
        return {"double": 2 * n}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder, model = tmp_path_factory.mktemp("odd"), Odd()
    names = ("nothing", "fixed", "shapeless", "any_width", "centered", "ranked", "picky", "pairs", "many_n")
    tf.saved_model.save(model, str(folder), signatures={name: getattr(model, name) for name in names})
    return tf.saved_model.load(str(folder))


def test_rows_are_those_of_the_longest_batch_or_the_number_asked_for(odd, tiny):
    signatures, more = signatures_of(odd), signatures_of(tiny)
    x = np.zeros([5, 4], np.float32)
    assert signatures["nothing"].rows({}) == 1
    assert signatures["fixed"].rows({"x": x[0, :2]}) == 1
    assert signatures["shapeless"].rows({"x": x}) == 5
    assert signatures["shapeless"].rows({"x": x[0, 0]}) == 1
    assert signatures["many_n"].rows({"n": np.array([7, 9])}) == 2
    assert more["encode"].rows({"x": x}) == 5
    assert more["sample"].rows({"seed": np.array([90, 91]), "n": np.array(8)}) == 8
    assert more["masked"].rows({"a": x[:, :1], "keep": x[:3, 0]}) == 5


def test_only_rows_of_known_sizes_that_keep_apart_are_stacked(odd, tiny):
    stacked = {name for both in (odd, tiny) for name, one in signatures_of(both).items() if one.takes_batches}
    assert stacked == {"many_n", "encode", "serving_default", "log_table", "masked"}


def test_signatures_of_any_shape_answer(odd):
    assert predict(odd, {"signature_name": "nothing", "inputs": {}}) == {"outputs": 3.25}
    assert predict(odd, {"signature_name": "fixed", "inputs": [1, 2]}) == {"outputs": 3.0}
    assert predict(odd, {"signature_name": "shapeless", "inputs": [[1], [2]]}) == {"outputs": [[1.0], [2.0]]}
    assert predict(odd, {"signature_name": "shapeless", "instances": [1, 2]}) == {"predictions": [1.0, 2.0]}
    assert predict(odd, {"signature_name": "any_width", "instances": [[1, 2, 3]]}) == {"predictions": [[1.0, 2.0, 3.0]]}
