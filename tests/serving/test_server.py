import concurrent.futures
import contextlib
import importlib.util
import json
import math
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.serving.server import find_model, predict, serve

needs_kserve = pytest.mark.skipif(
    importlib.util.find_spec("kserve") is None, reason='needs KServe: pip install "tfdiscrete[serve]"'
)

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


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    model = Tiny()
    names = ("encode", "sample", "log_table", "masked", "mean")
    signatures = {"serving_default": model.encode, **{name: getattr(model, name) for name in names}}
    tf.saved_model.save(model, str(folder / "3"), signatures=signatures)
    return folder


@pytest.fixture(scope="module")
def tiny(base):
    return tf.saved_model.load(str(base / "3"))


@pytest.fixture(scope="module")
def encoded(tiny):
    return {name: value.numpy() for name, value in tiny.signatures["encode"](x=tf.constant(X)).items()}


# Finding the folder.


def make_versions(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "saved_model.pb").touch()


def test_the_highest_version_is_the_highest_number(tmp_path):
    make_versions(tmp_path, "9", "10", "latest", ".11.partial")
    (tmp_path / "12").mkdir()
    assert find_model(tmp_path) == tmp_path / "10"


def test_run_base_and_version_folders_lead_to_the_same_model(tmp_path):
    make_versions(tmp_path / "saved_model", "1")
    (tmp_path / "config.json").touch()
    version = tmp_path / "saved_model" / "1"
    assert find_model(tmp_path) == find_model(str(tmp_path / "saved_model")) == find_model(version) == version


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected the folder of a finished run.*holds no SavedModel"):
        find_model(tmp_path)
    with pytest.raises(InputError, match=r"nowhere, which is no folder\.$"):
        find_model(tmp_path / "nowhere")
    (tmp_path / "config.json").touch()
    with pytest.raises(InputError, match="has not exported its model; let it finish"):
        find_model(tmp_path)


# Requests and answers.


@pytest.mark.parametrize("rows", [X.tolist(), [{"x": row} for row in X.tolist()]], ids=["bare", "named"])
def test_rows_become_rows(tiny, encoded, rows):
    predictions = predict(tiny, {"instances": rows})["predictions"]
    assert len(predictions) == 3
    for i, row in enumerate(predictions):
        assert row.keys() == encoded.keys()
        for name, value in row.items():
            np.testing.assert_array_equal(value, encoded[name][i])


@pytest.mark.parametrize("columns", [X.tolist(), {"x": X.tolist()}], ids=["bare", "named"])
def test_columns_become_columns(tiny, encoded, columns):
    outputs = predict(tiny, {"signature_name": "encode", "inputs": columns})["outputs"]
    assert outputs.keys() == encoded.keys()
    for name, value in outputs.items():
        np.testing.assert_array_equal(value, encoded[name])


def test_inputs_without_a_batch_go_in_columns(tiny):
    outputs = predict(tiny, {"signature_name": "sample", "inputs": {"seed": [3, 7], "n": 5}})["outputs"]
    expected = tiny.signatures["sample"](seed=tf.constant([3, 7]), n=tf.constant(5))["samples"]
    np.testing.assert_array_equal(outputs, expected)


def test_a_single_output_has_no_name(tiny):
    assert predict(tiny, {"signature_name": "log_table", "instances": [0, 0]}) == {"predictions": [0.0, 0.0]}
    assert predict(tiny, {"signature_name": "log_table", "inputs": [0, 0]}) == {"outputs": [0.0, 0.0]}


def test_booleans_and_bfloat16_pass_through_json(tiny):
    rows = [{"a": [1.5], "keep": True}, {"a": [2], "keep": False}]
    answer = predict(tiny, {"signature_name": "masked", "instances": rows})
    assert json.loads(json.dumps(answer)) == {"predictions": [[1.5], [0.0]]}


REFUSED = {
    "no object": ([1], "JSON object.*Received: list"),
    "neither form": ({"x": [1]}, r"either \"instances\" or \"inputs\".*Received: \['x'\]"),
    "both forms": ({"instances": X.tolist(), "inputs": X.tolist()}, r"Received: \['inputs', 'instances'\]"),
    "unknown signature": (
        {"signature_name": "encod", "instances": X.tolist()},
        "Did you mean 'encode'.*Known: encode, log_table, masked, mean, sample, serving_default",
    ),
    "missing input": (
        {"signature_name": "sample", "inputs": {"n": 1}},
        r"takes n: int32 \[\], seed: int32 \[2\]. Received: \['n'\]",
    ),
    "extra input": ({"inputs": {"x": X.tolist(), "y": 1}}, r"takes x: float32 \[None, 4\]. Received: \['x', 'y'\]"),
    "unnamed input of several": ({"signature_name": "sample", "inputs": [1, 2]}, "seed: int32.*without names"),
    "unnamed row among named": ({"signature_name": "masked", "instances": [{"a": [1], "keep": True}, 1]}, "without"),
    "rows where there is no batch": (
        {"signature_name": "sample", "instances": [{"seed": [1, 2], "n": 1}]},
        'not batches: use "inputs"',
    ),
    "rows where the output has none": ({"signature_name": "mean", "instances": X.tolist()}, "no row for each of the 3"),
    "a single row": ({"instances": X[0].tolist()}, r"x: float32 \[None, 4\]. Received: shape \[4\]"),
    "wrong width": ({"inputs": X[:, :3].tolist()}, r"x: float32 \[None, 4\]. Received: shape \[3, 3\]"),
    "wrong static shape": ({"signature_name": "sample", "inputs": {"seed": [1], "n": 1}}, r"seed: int32 \[2\].*\[1\]"),
    "ragged": ({"instances": [[1, 2, 3, 4], [1, 2]]}, r"x: float32 \[None, 4\].*unequal lengths"),
    "too deep": ({"inputs": json.loads("[" * 80 + "]" * 80)}, r"x: float32 \[None, 4\]. Received"),
    "strings": ({"instances": [["1", "2", "3", "4"]]}, r"x: float32 \[None, 4\]. Received: values of another type"),
    "null": ({"instances": [[1, 2, 3, None]]}, "another type"),
    "booleans for floats": ({"instances": [[True] * 4]}, "another type"),
    "floats for integers": ({"signature_name": "sample", "inputs": {"seed": [1, 2.5], "n": 1}}, "seed.*another type"),
    "numbers for booleans": ({"signature_name": "masked", "inputs": {"a": [[1]], "keep": [1]}}, "keep: bool.*another"),
    "NaN": ({"instances": [[1, 2, 3, math.nan]]}, r"x: float32 \[None, 4\]. Received: NaN, infinity"),
    "infinity": ({"instances": [[1, 2, 3, -math.inf]]}, "NaN, infinity"),
    "beyond float32": ({"instances": [[1, 2, 3, 1e300]]}, "beyond the type's range"),
    "beyond int32": ({"signature_name": "sample", "inputs": {"seed": [1, 2**31], "n": 1}}, "seed.*beyond"),
    "no rows": ({"instances": []}, r"at least one row. Received: \[\]"),
    "rows that are no list": ({"instances": 1.5}, "at least one row. Received: 1.5"),
    "an empty column": ({"inputs": []}, r"x: float32 \[None, 4\]. Received: shape \[0\], which is empty"),
    "an empty vector": ({"signature_name": "log_table", "inputs": []}, "which is empty"),
    "refused by the model": ({"signature_name": "log_table", "inputs": [9]}, r"indices\[0\] = 9 is not in \[0, 3\)\.$"),
}


@pytest.mark.parametrize(("payload", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_request_the_model_cannot_take_is_refused_with_what_it_takes(tiny, payload, message):
    with pytest.raises(InputError, match=message) as refusal:
        predict(tiny, payload)
    assert "\n" not in str(refusal.value)


# The server.


def refuse_to_load(path):
    raise AssertionError(f"{path} was loaded")


@needs_kserve
def test_a_busy_port_is_refused_before_anything_is_loaded(base, monkeypatch):
    monkeypatch.setattr(tf.saved_model, "load", refuse_to_load)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} .*--port"):
            serve({"tiny": base}, port=port)
    with pytest.raises(InputError, match="port 70000 .*--port"):
        serve({"tiny": base}, port=70000)


@needs_kserve
@pytest.mark.parametrize("name", ["", "a/b", "a b", "a:predict"])
def test_a_name_that_fits_no_url_is_refused(base, name):
    with pytest.raises(InputError, match="letters, digits.*Received: names"):
        serve({name: base})


@needs_kserve
def test_no_model_is_refused():
    with pytest.raises(InputError, match=r"Received: names \[\]"):
        serve({})


def test_a_missing_kserve_is_named_with_its_extra(base, monkeypatch):
    monkeypatch.setitem(sys.modules, "kserve", None)
    with pytest.raises(InputError, match=r'pip install "tfdiscrete\[serve\]"'):
        serve({"tiny": base})


# KServe reads sys.argv when it is imported, and would end the process over this --workers.
SERVE = "import sys; from tfdiscrete.serving.server import serve; serve({'tiny': sys.argv[1]}, port=int(sys.argv[2]))"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextlib.contextmanager
def running_server(base, output):
    """Yields the process and the models' URL once it answers; the process is gone afterwards."""
    port = free_port()
    command = [sys.executable, "-c", SERVE, str(base), str(port), "--workers=many"]
    with output.open("w") as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            url = f"http://127.0.0.1:{port}/v1/models"
            wait_until_ready(process, f"{url}/tiny", output)
            yield process, url
        finally:
            process.kill()


def wait_until_ready(process, url, output):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            return ask(url)
        time.sleep(0.1)
    raise AssertionError(f"the server did not answer:\n{output.read_text()}")


def ask(url, body=None):
    """The status and the decoded answer of a request; like `curl -d`, it sends JSON without saying so."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(url, data, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def printed_request(printed):
    curl, option, body, url = shlex.split(re.search("^curl.*$", printed, re.MULTILINE)[0])
    assert (curl, option) == ("curl", "-d")
    return url, body.encode()


@needs_kserve
def test_a_server_answers_over_http_until_it_is_told_to_stop(base, tiny, encoded, tmp_path):
    output = tmp_path / "output"
    with running_server(base, output) as (process, url):
        assert ask(f"{url}/tiny") == (200, {"name": "tiny", "ready": True})
        status, answer = ask(f"{url}/tiny:predict", {"instances": X.tolist()})
        assert status == 200
        np.testing.assert_allclose([row["probabilities"] for row in answer["predictions"]], encoded["probabilities"])
        status, answer = ask(f"{url}/tiny:predict", {"signature_name": "encode", "inputs": {"x": X.tolist()}})
        assert status == 200
        np.testing.assert_array_equal(answer["outputs"]["index"], encoded["index"])
        # JSON has no word for the log of zero, nor for that of -1.
        assert ask(f"{url}/tiny:predict", {"signature_name": "log_table", "inputs": [0, 1, 2]}) == (
            200,
            {"outputs": [0.0, None, None]},
        )

        for body in ({"instances": [[1, 2, 3]]}, {"instances": [[1, 2, 3, math.nan]]}, b"{", b"\xff", b"[" * 100_000):
            status, answer = ask(f"{url}/tiny:predict", body)
            assert (status, list(answer)) == (400, ["error"])
        assert ask(f"{url}/tinny:predict", {"instances": X.tolist()})[0] == ask(f"{url}/tinny")[0] == 404

        def sample(i):
            return ask(f"{url}/tiny:predict", {"signature_name": "sample", "inputs": {"seed": [i, 0], "n": 2}})

        with concurrent.futures.ThreadPoolExecutor(8) as clients:
            answers = list(clients.map(sample, range(40)))
        for i, (status, answer) in enumerate(answers):
            assert status == 200
            expected = tiny.signatures["sample"](seed=tf.constant([i, 0]), n=tf.constant(2))["samples"]
            np.testing.assert_array_equal(answer["outputs"], expected)

        address, body = printed_request(output.read_text())
        assert ask(address, body)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0

    printed = output.read_text()
    assert f"Serving on {url}" in printed
    assert "sample(n: int32 [], seed: int32 [2]) -> samples" in printed
    assert not re.search("Traceback|Deprecat|kserve|uvicorn", printed)
