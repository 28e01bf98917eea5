"""Warm-up requests, which TF Serving replays before a new version takes traffic, so that no first request is slow.

    VERSION/assets.extra/tf_serving_warmup_requests: a TFRecord of PredictionLog, one request a signature

Run as a script it replays those of a folder, and shows what each signature answered:

    python -m tfdiscrete.serving.warm_up models/digits/1

TensorFlow authors, "SavedModel Warmup", https://www.tensorflow.org/tfx/serving/saved_model_warmup.
"""

import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.serving.examples import examples
from tfdiscrete.serving.saved_model import read_signatures

FILE = Path("assets.extra") / "tf_serving_warmup_requests"
INSTALL = 'pip install "tfdiscrete[export]"'
_PREDICT = "tensorflow/serving/predict"


def write_warm_up(saved_model: str | os.PathLike, name: str = "model") -> bool:
    """Adds a request of one example, of zeros, for each signature.

    Args:
        saved_model: the folder of a SavedModel.
        name: of the model in the requests.

    Returns:
        False, with nothing written, where tensorflow-serving-api is not installed.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        return False
    file = Path(saved_model) / FILE
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for key, signature in read_signatures(saved_model).items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, key
            for each, value in examples(signature.inputs).items():
                request.inputs[each].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
    return True


def replay_warm_up(saved_model: str | os.PathLike) -> dict[str, dict[str, np.ndarray]]:
    """Answers the warm-up requests as TF Serving does: in a session, by the tensor names of the signatures.

    Args:
        saved_model: the folder of a SavedModel, of any origin.

    Returns:
        Signature to the answer of its last request, output to value.

    Raises:
        InputError: where tensorflow-serving-api or the requests are missing, or a request does not fit its signature.
    """
    try:
        from tensorflow_serving.apis import prediction_log_pb2
    except ImportError as error:
        raise InputError(f"warm-up requests need tensorflow-serving-api ({error}): {INSTALL}.") from error
    file = Path(saved_model) / FILE
    if not file.is_file():
        raise InputError(
            f"{saved_model} has no warm-up requests ({FILE}). Export it where they can be written: {INSTALL}."
        )
    records = list(tf.data.TFRecordDataset(str(file)).as_numpy_iterator())
    answers = {}
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        definitions = tf.compat.v1.saved_model.load(session, ["serve"], str(saved_model)).signature_def
        for record in records:
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            name = request.model_spec.signature_name
            definition = definitions.get(name)
            expected = set() if definition is None else set(definition.inputs)
            if definition is None or definition.method_name != _PREDICT or set(request.inputs) != expected:
                raise InputError(
                    f"expected a request with the inputs {sorted(expected)} of a signature for prediction. "
                    f"Received: {sorted(request.inputs)} for {name!r}."
                )
            inputs = {definition.inputs[key].name: tf.make_ndarray(value) for key, value in request.inputs.items()}
            answers[name] = session.run({key: info.name for key, info in definition.outputs.items()}, inputs)
    return answers


if __name__ == "__main__":
    for signature, answer in replay_warm_up(sys.argv[1]).items():
        print(signature, {name: value.shape for name, value in answer.items()})
