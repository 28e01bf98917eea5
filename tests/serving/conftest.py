import numpy as np
import pytest
import tensorflow as tf

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


class Tiny(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.stateless_normal([4, 6], [1, 2]))
        self.table = tf.Variable([1.0, 0.0, -1.0])

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def encode(self, x):
        probabilities = tf.nn.softmax(tf.reshape(x @ self.kernel, [-1, 2, 3]))
        index = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return {"probabilities": probabilities, "code": tf.one_hot(index, 3), "index": index}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.int32, "seed"), tf.TensorSpec([], tf.int32, "n")])
    def sample(self, seed, n):
        return {"samples": tf.random.stateless_uniform([n, 4], seed)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "index")])
    def log_table(self, index):
        return {"log": tf.math.log(tf.gather(self.table, index))}

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, "a"), tf.TensorSpec([None], tf.bool, "keep")])
    def masked(self, a, keep):
        return {"kept": tf.where(keep[:, None], tf.cast(a, tf.bfloat16), 0)}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
    def mean(self, x):
        return {"mean": tf.reduce_mean(x)}


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = Tiny()
    names = ("encode", "sample", "log_table", "masked", "mean")
    signatures = {"serving_default": model.encode, **{name: getattr(model, name) for name in names}}
    tf.saved_model.save(model, str(folder / "3"), signatures=signatures)
    return folder


@pytest.fixture(scope="session")
def tiny(base):
    return tf.saved_model.load(str(base / "3"))


@pytest.fixture(scope="session")
def encoded(tiny):
    return {name: value.numpy() for name, value in tiny.signatures["encode"](x=tf.constant(X)).items()}
