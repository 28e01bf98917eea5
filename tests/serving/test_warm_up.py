"""Warm-up requests, replayed by the tensor names of the signatures, in a process that never imports this package."""

import importlib.util
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.serving.examples import examples
from tfdiscrete.serving.saved_model import read_signatures
from tfdiscrete.serving.warm_up import FILE, replay_warm_up, write_warm_up

needs_protos = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_serving") is None,
    reason='needs tensorflow-serving-api: pip install "tfdiscrete[export]"',
)

# What TF Serving does, written apart from the package.
SERVER = """
import json, sys
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
folder = sys.argv[1]
shapes = {}
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    signatures = tf.compat.v1.saved_model.loader.load(session, ["serve"], folder).signature_def
    for record in tf.compat.v1.io.tf_record_iterator(folder + "/assets.extra/tf_serving_warmup_requests"):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        signature = signatures[request.model_spec.signature_name]
        feeds = {signature.inputs[name].name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        assert len(feeds) == len(signature.inputs)
        answer = session.run({name: info.name for name, info in signature.outputs.items()}, feeds)
        shapes[request.model_spec.signature_name] = {name: value.shape for name, value in answer.items()}
assert not any(name.split(".")[0] == "tfdiscrete" for name in sys.modules), "the package was imported"
print(json.dumps(shapes))
"""


@pytest.fixture
def folder(base, tmp_path):
    """A copy to write to."""
    return shutil.copytree(base / "3", tmp_path / "3")


@needs_protos
def test_a_stranger_replays_a_request_for_each_signature(folder, tmp_path):
    assert write_warm_up(folder, "tiny")
    command = [sys.executable, "-P", "-c", SERVER, str(folder)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    shapes = json.loads(ran.stdout.splitlines()[-1])
    assert set(shapes) == set(read_signatures(folder))
    assert (
        shapes["encode"]
        == shapes["serving_default"]
        == {"code": [1, 2, 3], "index": [1, 2], "probabilities": [1, 2, 3]}
    )
    assert shapes["sample"] == {"samples": [1, 4]}


@needs_protos
def test_our_replay_gives_the_answers_of_the_signatures(folder, tiny):
    write_warm_up(folder)
    answers = replay_warm_up(folder)
    for name, signature in read_signatures(folder).items():
        inputs = {key: tf.constant(value) for key, value in examples(signature.inputs).items()}
        expected = tiny.signatures[name](**inputs)
        assert set(answers[name]) == set(expected)
        for key, value in expected.items():
            np.testing.assert_allclose(
                np.asarray(answers[name][key], "float32"), tf.cast(value, tf.float32), rtol=1e-6, atol=1e-7
            )


@needs_protos
@pytest.mark.parametrize("change", ["unknown signature", "missing input", "another method"])
def test_requests_that_do_not_fit_are_refused(folder, change):
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "encod" if change == "unknown signature" else "encode"
    if change != "missing input":
        request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.zeros((1, 4), "float32")))
    if change == "another method":
        file = folder / "saved_model.pb"
        file.write_bytes(file.read_bytes().replace(b"tensorflow/serving/predict", b"tensorflow/serving/classif"))
    (folder / FILE).parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        log = prediction_log_pb2.PredictLog(request=request)
        writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
    with pytest.raises(InputError, match="expected a request with the inputs"):
        replay_warm_up(folder)


def test_without_the_package_nothing_is_written_and_a_replay_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    assert write_warm_up(folder) is False
    assert not (folder / FILE).parent.exists()
    with pytest.raises(InputError, match=r'pip install "tfdiscrete\[export\]"'):
        replay_warm_up(folder)


@needs_protos
def test_a_folder_without_requests_is_refused(folder):
    with pytest.raises(InputError, match="has no warm-up requests"):
        replay_warm_up(folder)
