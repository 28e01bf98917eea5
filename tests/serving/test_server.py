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
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.serving import name_models, serve
from tfdiscrete.serving.server import _announcement
from tfdiscrete.serving.settings import Settings

needs_kserve = pytest.mark.skipif(
    importlib.util.find_spec("kserve") is None, reason='needs KServe: pip install "tfdiscrete[serve]"'
)

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def refuse_to_load(path):
    raise AssertionError(f"{path} was loaded")


@needs_kserve
def test_a_busy_port_is_refused_before_anything_is_loaded(base, monkeypatch):
    monkeypatch.setattr(tf.saved_model, "load", refuse_to_load)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} .*already in use.*Choose another --port"):
            serve({"tiny": base}, port=port)
    with pytest.raises(InputError, match="--port must be from 0 to 65535. Received: 70000"):
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"version": 2}, "takes the options versions, max_batch_size.*Received: version"),
        ({"versions": 0}, "versions must be an integer of at least 1"),
        ({"max_rows": 2.5}, "max_rows must be an integer"),
        ({"max_batch_size": True}, "max_batch_size must be an integer"),
        ({"batch_wait": -1}, "batch_wait must be a finite number of at least 0"),
        ({"batch_wait": 2}, "in seconds, at most 1"),
        ({"max_request_mb": 0}, "max_request_mb must be a positive"),
        ({"poll_seconds": math.nan}, "poll_seconds must be a positive"),
    ],
)
def test_options_that_make_no_sense_are_refused(base, options, message):
    with pytest.raises(InputError, match=message):
        serve({"tiny": base}, **options)


def test_models_of_a_command_line_are_named_after_their_folders_or_as_told(tmp_path):
    (tmp_path / "lr=0.1").mkdir()
    (tmp_path / "my run").mkdir()
    paths = [f"{tmp_path}/lr=0.1", f"{tmp_path}/my run", f"vae={tmp_path}/lr=0.1", "a=b=c"]
    assert name_models(paths) == {
        "lr-0.1": tmp_path / "lr=0.1",
        "my-run": tmp_path / "my run",
        "vae": tmp_path / "lr=0.1",
        "a": Path("b=c"),
    }
    with pytest.raises(InputError, match="two models are named 'a': give NAME=PATH. Received: x/a and y/a"):
        name_models(["x/a", "y/a"])


@needs_kserve
def test_a_request_to_paste_is_short(tmp_path):
    from tfdiscrete.serving.repository import VersionedModels

    class Wide(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 500], tf.float32, "x")])
        def wide(self, x):
            return {"y": x}

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "x")])
        def narrow(self, x):
            return {"y": x}

    model = Wide()
    tf.saved_model.save(model, str(tmp_path / "1"), signatures={"wide": model.wide})
    folders = {"wide": tmp_path}
    text = _announcement("http://h:1", folders, VersionedModels(folders, Settings()))
    assert "wide(x: float32 [None, 500]) -> y" in text
    assert "curl" not in text
    tf.saved_model.save(model, str(tmp_path / "2"), signatures={"wide": model.wide, "narrow": model.narrow})
    text = _announcement("http://h:1", folders, VersionedModels(folders, Settings()))
    assert text.endswith(
        """curl -d '{"signature_name": "narrow", "inputs": {"x": [[0.0, 0.0, 0.0, 0.0]]}}' """
        "http://h:1/v1/models/wide:predict"
    )


# KServe reads sys.argv when it is imported, and would end the process over this --workers.
SERVE = "import sys; from tfdiscrete.serving.server import serve; serve({'tiny': sys.argv[1]}, port=0)"


@contextlib.contextmanager
def running_server(base, output):
    """Yields the process and the models' URL once it answers; the process is gone afterwards."""
    command = [sys.executable, "-c", SERVE, str(base), "--workers=many"]
    with output.open("w") as log, subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT) as process:
        try:
            url = printed_address(process, output)
            # The port is open since before it was printed: this waits for the server.
            assert ask(f"{url}/tiny")[0] == 200
            yield process, url
        finally:
            process.kill()


def printed_address(process, output):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search("models on (http://127.0.0.1:[0-9]+/v1/models)\n", output.read_text()):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"the server did not say its address:\n{output.read_text()}")


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
        status, answer = ask(f"{url}/tiny")
        assert (status, answer["name"], answer["ready"]) == (200, "tiny", True)
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
            np.testing.assert_array_equal(np.float32(answer["outputs"]), expected)

        address, body = printed_request(output.read_text())
        assert ask(address, body)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0

    printed = output.read_text()
    assert f"models on {url}" in printed
    assert "sample(n: int32 [], seed: int32 [2]) -> samples" in printed
    assert not re.search("Traceback|Deprecat|kserve|uvicorn", printed)
