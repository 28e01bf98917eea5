import gc
import gzip
import json
import re
import threading
import time

import numpy as np
import orjson
import pytest
import tensorflow as tf

pytest.importorskip("kserve", reason='needs KServe: pip install "tfdiscrete[serve]"')

from tfdiscrete.serving.application import _V1Body, build_application
from tfdiscrete.serving.repository import VersionedModels
from tfdiscrete.serving.settings import Settings
from tfdiscrete.serving.signatures import Signature

from .client import Client

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
ROWS = {"instances": X.tolist()}
SETTINGS = Settings(max_rows=50, max_request_mb=0.1, versions=2)


@pytest.fixture(scope="module")
def models(base):
    return VersionedModels({"tiny": base, "other": base / "3"}, SETTINGS)


@pytest.fixture(scope="module")
def client(models):
    with Client(build_application(models, SETTINGS)) as client:
        yield client


def refusal(response, status=400):
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    return response.json()["error"]


# TF Serving's addresses.


@pytest.mark.parametrize("name", ["tiny", "other", "tiny/versions/3", "other/versions/3"])
def test_every_model_answers_at_its_name_and_at_its_version(client, encoded, name):
    rows = client.post(f"/v1/models/{name}:predict", json=ROWS).json()["predictions"]
    for key, value in encoded.items():
        np.testing.assert_allclose([row[key] for row in rows], value, rtol=1e-6)


def test_floats_keep_every_bit_through_json(client, tiny):
    outputs = client.post("/v1/models/tiny:predict", json={"inputs": X.tolist()}).json()["outputs"]
    expected = tiny.signatures["encode"](x=tf.constant(X))["probabilities"]
    np.testing.assert_array_equal(np.float32(outputs["probabilities"]), expected)


def test_outputs_without_a_shape_and_those_of_no_rows_can_be_sent(client):
    mean = client.post("/v1/models/tiny:predict", json={"signature_name": "mean", "inputs": X.tolist()})
    assert mean.json() == {"outputs": pytest.approx(0, abs=1e-6)}
    none = client.post("/v1/models/tiny:predict", json={"signature_name": "sample", "inputs": {"seed": [1, 2], "n": 0}})
    assert none.json() == {"outputs": []}


def test_the_status_names_the_versions_as_tf_serving_does(client):
    assert client.get("/v1/models").json() == {"models": ["tiny", "other"]}
    for address in ("/v1/models/tiny", "/v1/models/tiny/versions/3"):
        answer = client.get(address).json()
        assert answer["model_version_status"] == [
            {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        ]


def test_the_metadata_are_the_signature_defs_of_the_file(client):
    answer = client.get("/v1/models/tiny/metadata").json()
    assert answer["model_spec"] == {"name": "tiny", "signature_name": "", "version": "3"}
    definitions = answer["metadata"]["signature_def"]["signature_def"]
    assert set(definitions) == {"serving_default", "encode", "sample", "log_table", "masked", "mean"}
    x = definitions["encode"]["inputs"]["x"]
    assert x["dtype"] == "DT_FLOAT"
    assert [size["size"] for size in x["tensor_shape"]["dim"]] == ["-1", "4"]
    assert definitions["encode"]["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    "address",
    [
        "/x",
        "/v1/models/",
        "/v1/models/tinny",
        "/v1/models/tiny/versions/9",
        "/v1/models/tiny/versions/x",
        "/v1/models/tiny/metadata/x",
        "/v2/models/tinny",
        "/v2/models/tiny/versions/9/ready",
        "/v1/models/..%2ftiny",
        "/v1/models/%2e%2e/metadata",
        "/v1/models/tiny%00",
        "/../../etc/passwd",
        "//v1/models/tiny",
    ],
)
def test_an_address_of_nothing_is_not_found(client, address):
    assert refusal(client.get(address), 404)


def test_an_unknown_model_or_version_is_answered_with_those_there_are(client):
    assert "Did you mean 'tiny'?" in refusal(client.post("/v1/models/tinny:predict", json=ROWS), 404)
    assert "Known: 3." in refusal(client.post("/v1/models/tiny/versions/2:predict", json=ROWS), 404)


def test_nobody_can_unload_a_model_or_reach_a_route_of_another_method(client):
    assert client.post("/v2/repository/models/tiny/unload").status_code == 404
    assert client.post("/v1/models/tiny:explain", json=ROWS).status_code in (404, 405)
    assert client.get("/v2/models/tiny/infer").status_code == 405
    assert client.get("/v1/models/tiny:predict").status_code == 404
    assert client.post("/v1/models/tiny:predict", json=ROWS).status_code == 200


# What is refused.


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff\xfe", b"[" * 90_000, b'{"instances": [[NaN]]}', b"nan", b"<xml/>", b"null", b"1"]
)
def test_a_body_that_is_no_request_is_refused(client, body):
    for address in ("/v1/models/tiny:predict", "/v2/models/tiny/infer"):
        assert refusal(client.post(address, content=body))


def test_the_size_of_a_request_is_bounded_whether_it_is_stated_or_not(client):
    body = b" " * (SETTINGS.max_request_bytes + 1)

    async def in_chunks():
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    for content in (body, in_chunks()):
        error = refusal(client.post("/v1/models/tiny:predict", content=content), 413)
        assert str(SETTINGS.max_request_bytes) in error
    exact = json.dumps(ROWS).encode().ljust(SETTINGS.max_request_bytes)
    assert client.post("/v1/models/tiny:predict", content=exact).status_code == 200


def test_more_rows_or_samples_than_allowed_are_refused_with_the_limit(client):
    for n in (51, 10**9, 2**31 - 1):
        error = refusal(
            client.post(
                "/v1/models/tiny:predict", json={"signature_name": "sample", "inputs": {"seed": [1, 2], "n": n}}
            )
        )
        assert f"at most 50 rows. Received: {n}" in error
    assert "at most 50" in refusal(client.post("/v1/models/tiny:predict", json={"instances": X.tolist() * 17}))
    for n in (-1, 2**31, 1.5, "many"):
        inputs = {"seed": [1, 2], "n": n}
        assert refusal(client.post("/v1/models/tiny:predict", json={"signature_name": "sample", "inputs": inputs}))


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "image/png", "application/xml", "x" * 1000])
def test_another_content_type_is_refused_by_name(client, kind):
    error = refusal(client.post("/v1/models/tiny:predict", content=b"{}", headers={"content-type": kind}), 415)
    assert "application/json" in error


def test_a_compressed_body_is_refused(client):
    content = gzip.compress(json.dumps(ROWS).encode())
    refusal(client.post("/v1/models/tiny:predict", content=content, headers={"content-encoding": "gzip"}), 415)


@pytest.mark.parametrize("kind", [None, "application/json; charset=utf-8", "application/x-www-form-urlencoded"])
def test_json_is_taken_from_clients_that_do_not_say_so(client, kind):
    headers = {"content-type": kind} if kind else {}
    assert client.post("/v1/models/tiny:predict", content=json.dumps(ROWS), headers=headers).status_code == 200


def test_a_failure_of_the_model_is_a_500_that_tells_nothing(models, client, monkeypatch):
    def fail(arrays):
        raise RuntimeError("/secret/path")

    caller = models.get_model("tiny")._callers["serving_default"]
    with monkeypatch.context() as patched:
        patched.setattr(caller, "_signature", fail)
        patched.setattr(caller, "_max_batch_size", 1)
        assert "secret" not in refusal(client.post("/v1/models/tiny:predict", json=ROWS), 500)
    assert client.post("/v1/models/tiny:predict", json=ROWS).status_code == 200


def test_too_many_rows_at_once_wait_in_line_and_are_sent_away_with_503(base, monkeypatch):
    limits = Settings(max_rows=2, max_batch_size=1, request_timeout=0.2)
    models = VersionedModels({"tiny": base}, limits)
    compute = Signature.__call__

    def slowly(self, arrays):
        time.sleep(0.6)
        return compute(self, arrays)

    monkeypatch.setattr(Signature, "__call__", slowly)
    request = ("/v1/models/tiny:predict", {"signature_name": "sample", "inputs": {"seed": [1, 2], "n": 2}})
    with Client(build_application(models, limits)) as client:
        answers = client.post_all([request] * 6)
        assert [answer.status_code for answer in answers] == [200] * 4 + [503] * 2
        assert answers[-1].headers["retry-after"] == "1"
        assert "try again later" in refusal(answers[-1], 503)
        assert client.post_all([request])[0].status_code == 200


def test_a_large_body_is_parsed_while_others_are_answered(base, monkeypatch):
    limits = Settings(max_request_mb=1)
    models = VersionedModels({"tiny": base}, limits)
    seen, parse = [], _V1Body.parse

    def remember(self, signatures):
        seen.append((threading.current_thread() is threading.main_thread(), gc.isenabled()))
        return parse(self, signatures)

    monkeypatch.setattr(_V1Body, "parse", remember)
    with Client(build_application(models, limits)) as client:
        for size in (0, 2**19):
            response = client.post("/v1/models/tiny:predict", content=json.dumps(ROWS).ljust(size))
            assert response.status_code == 200
    assert seen == [(True, True), (False, False)]
    assert gc.isenabled()


# The Open Inference Protocol.


def tensor(name, array, datatype):
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": array.tolist()}


def infer(client, payload, tail=b"", **headers):
    head = orjson.dumps(payload)
    if tail:
        headers["inference-header-content-length"] = str(len(head))
        headers["content-type"] = "application/octet-stream"
    return client.post("/v2/models/tiny/infer", content=head + tail, headers=headers)


def decoded(response):
    """The outputs by name, of JSON or binary data."""
    length = int(response.headers.get("inference-header-content-length", len(response.content)))
    answer, start = json.loads(response.content[:length]), length
    outputs = {}
    for output in answer["outputs"]:
        dtype = {"FP32": np.float32, "INT32": np.int32}[output["datatype"]]
        if "data" in output:
            values = np.array(output["data"], dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            values, start = np.frombuffer(response.content[start : start + size], dtype), start + size
        outputs[output["name"]] = values.reshape(output["shape"])
    assert start == len(response.content)
    return answer, outputs


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_json_and_binary_tensors_say_the_same(client, encoded, binary_in, binary_out):
    x = tensor("x", X, "FP32")
    if binary_in:
        del x["data"]
        x["parameters"] = {"binary_data_size": X.nbytes}
    parameters = {"signature_name": "encode", "binary_data_output": binary_out}
    payload = {"id": "7", "parameters": parameters, "inputs": [x]}
    response = infer(client, payload, X.tobytes() if binary_in else b"")
    answer, outputs = decoded(response)
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "tiny", "3")
    assert outputs.keys() == encoded.keys()
    for name, value in encoded.items():
        np.testing.assert_array_equal(outputs[name], value)
    assert ("inference-header-content-length" in response.headers) == binary_out


def test_several_binary_tensors_follow_each_other_in_the_requests_order(client):
    seed, n = np.array([3, 7], np.int32), np.array(2, np.int32)
    inputs = [
        {"name": name, "shape": list(v.shape), "datatype": "INT32", "parameters": {"binary_data_size": v.nbytes}}
        for name, v in (("seed", seed), ("n", n))
    ]
    payload = {"parameters": {"signature_name": "sample"}, "inputs": inputs}
    _, outputs = decoded(infer(client, payload, seed.tobytes() + n.tobytes()))
    np.testing.assert_array_equal(outputs["samples"], tf.random.stateless_uniform([2, 4], [3, 7]))


def test_only_the_outputs_asked_for_are_sent_each_in_its_form(client, encoded):
    wanted = [{"name": "index"}, {"name": "code", "parameters": {"binary_data": True}}]
    answer, outputs = decoded(infer(client, {"inputs": [tensor("x", X, "FP32")], "outputs": wanted}))
    assert ["data" in output for output in answer["outputs"]] == [True, False]
    assert list(outputs) == ["index", "code"]
    for name, value in outputs.items():
        np.testing.assert_array_equal(value, encoded[name])


def test_flat_data_are_row_major(client, encoded):
    flat = {**tensor("x", X, "FP32"), "data": X.ravel().tolist()}
    _, outputs = decoded(infer(client, {"inputs": [flat]}))
    np.testing.assert_array_equal(outputs["probabilities"], encoded["probabilities"])


def test_bfloat16_and_booleans_go_as_fp32_and_bool(client):
    metadata = client.get("/v2/models/tiny?signature_name=masked").json()
    assert metadata["inputs"] == [
        {"name": "a", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "keep", "datatype": "BOOL", "shape": [-1]},
    ]
    assert metadata["outputs"] == [{"name": "kept", "datatype": "FP32", "shape": [-1, 1]}]
    inputs = [tensor("a", np.array([[1.5], [2]]), "FP32"), tensor("keep", np.array([True, False]), "BOOL")]
    _, outputs = decoded(infer(client, {"parameters": {"signature_name": "masked"}, "inputs": inputs}))
    np.testing.assert_array_equal(outputs["kept"], [[1.5], [0]])


def change(**changes):
    return {**tensor("x", X, "FP32"), **changes}


BAD_V2 = {
    "no inputs": ({}, r"takes x: float32"),
    "inputs that are no list": ({"inputs": {"x": 1}}, "must be a list"),
    "an input that is no object": ({"inputs": [1]}, "must be a JSON object"),
    "no name": ({"inputs": [{"shape": [1]}]}, "needs a name"),
    "another name": ({"inputs": [change(name="y")]}, r"Received: \['y'\]"),
    "no shape": ({"inputs": [change(shape=None)]}, "list of at most 32 sizes"),
    "a negative size": ({"inputs": [change(shape=[-3, 4])]}, "list of at most 32 sizes"),
    "a boolean size": ({"inputs": [change(shape=[True, 4])]}, "list of at most 32 sizes"),
    "another shape": ({"inputs": [change(shape=[4, 3])]}, r"shape \[-1, 4\]. Received: \[4, 3\]"),
    "a shape of other data": ({"inputs": [change(shape=[2, 4])]}, "shape"),
    "a huge shape": ({"inputs": [change(shape=[2**62, 4])]}, r"cannot have data of shape \[3, 4\]"),
    "no rows": ({"inputs": [change(shape=[0, 4], data=[])]}, "empty"),
    "another datatype": ({"inputs": [change(datatype="FP64")]}, "FP32. Received: FP64"),
    "no datatype": ({"inputs": [change(datatype=None)]}, "FP32. Received: None"),
    "neither data nor size": ({"inputs": [{"name": "x", "shape": [3, 4], "datatype": "FP32"}]}, "48 bytes"),
    "texts": ({"inputs": [change(data=["1"] * 12)]}, "another type"),
    "parameters that are a list": ({"parameters": [], "inputs": [tensor("x", X, "FP32")]}, "JSON object"),
    "an unknown signature": (
        {"parameters": {"signature_name": "encod"}, "inputs": [tensor("x", X, "FP32")]},
        "Did you mean 'encode'",
    ),
    "a signature that is no text": ({"parameters": {"signature_name": {}}, "inputs": []}, "unknown signature"),
    "the same input twice": ({"inputs": [change(), change()]}, r"different names. Received: 2, named \['x'\]"),
    "the same output twice": (
        {"inputs": [change()], "outputs": [{"name": "index"}, {"name": "index"}]},
        "outputs must have different names",
    ),
    "very many inputs": ({"inputs": [change(data=0)] * 1001}, "at most 1000 tensors. Received: a list of 1001"),
    "an unknown output": ({"inputs": [tensor("x", X, "FP32")], "outputs": [{"name": "y"}]}, r"Received: \['y'\]"),
    "an id that is no text": ({"id": 1, "inputs": [tensor("x", X, "FP32")]}, "id must be a text"),
}


@pytest.mark.parametrize(("payload", "message"), BAD_V2.values(), ids=BAD_V2.keys())
def test_a_bad_inference_request_is_refused_with_a_reason(client, payload, message):
    assert re.search(message, refusal(infer(client, payload)))


DEEP = "deeper than Python prints"


@pytest.mark.parametrize(
    "payload",
    [
        {"parameters": {"signature_name": DEEP}, "inputs": []},
        {"inputs": [change(name=DEEP)]},
        {"inputs": [change(shape=DEEP)]},
        {"inputs": [change(datatype=DEEP)]},
        {"inputs": [change(data=DEEP)]},
        {"inputs": [{"name": "x", "shape": [3, 4], "datatype": "FP32", "parameters": {"binary_data_size": DEEP}}]},
        {"inputs": [change()], "outputs": DEEP},
        {"id": DEEP, "inputs": [change()]},
    ],
)
def test_depth_in_any_place_is_refused(client, payload):
    content = json.dumps(payload).replace(json.dumps(DEEP), "[" * 1000 + "]" * 1000)
    refusal(client.post("/v2/models/tiny/infer", content=content))


@pytest.mark.parametrize("size", [47, 49, -48, 2**63, 48.0, "48", None, True])
def test_binary_data_of_another_size_are_refused(client, size):
    x = {"name": "x", "shape": [3, 4], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    assert "48 bytes" in refusal(infer(client, {"inputs": [x]}, X.tobytes()))


def test_binary_data_that_are_too_short_too_long_or_not_finite_are_refused(client):
    x = {"name": "x", "shape": [3, 4], "datatype": "FP32", "parameters": {"binary_data_size": 48}}
    assert "47 bytes" in refusal(infer(client, {"inputs": [x]}, X.tobytes()[:-1]))
    assert "142 bytes" in refusal(infer(client, {"inputs": [x]}, X.tobytes() + b"!"))
    assert "NaN" in refusal(infer(client, {"inputs": [x]}, np.full([3, 4], np.nan, np.float32).tobytes()))
    assert "NaN" in refusal(infer(client, {"inputs": [x]}, np.full([3, 4], -np.inf, np.float32).tobytes()))


def test_a_boolean_that_is_neither_0_nor_1_is_refused(client):
    inputs = [
        tensor("a", np.ones([2, 1]), "FP32"),
        {"name": "keep", "shape": [2], "datatype": "BOOL", "parameters": {"binary_data_size": 2}},
    ]
    payload = {"parameters": {"signature_name": "masked"}, "inputs": inputs}
    _, outputs = decoded(infer(client, payload, b"\x01\x00"))
    np.testing.assert_array_equal(outputs["kept"], [[1], [0]])
    assert "keep has a byte of 0 or 1" in refusal(infer(client, payload, b"\x02\x00"))


@pytest.mark.parametrize("length", ["-1", "0", "1e3", "9" * 30, "x", "٣"])
def test_a_bad_length_of_the_json_part_is_refused(client, length):
    content = json.dumps({"inputs": [tensor("x", X, "FP32")]})
    headers = {"inference-header-content-length": length.encode()}
    assert "inference-header-content-length" in refusal(
        client.post("/v2/models/tiny/infer", content=content, headers=headers)
    )


# Health, metrics, page.


def test_health_and_metadata(client):
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    assert client.get("/v2/models/tiny/versions/3/ready").status_code == 200
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    metadata = client.get("/v2/models/tiny").json()
    assert metadata["versions"] == ["3"]
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert "unknown signature" in refusal(client.get("/v2/models/tiny?signature_name=x"))


def test_the_metrics_count_each_models_requests_and_rows(client):
    def counted():
        values = {}
        for line in client.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            values[name] = value
        return [
            float(values[f'{name}{{model_name="tiny"}}'])
            for name in ("request_predict_seconds_count", "tfdiscrete_batch_rows_sum")
        ]

    client.post("/v1/models/tiny:predict", json=ROWS)
    before = counted()
    for _ in range(4):
        client.post("/v1/models/tiny:predict", json=ROWS)
    client.post("/v1/models/nobody:predict", json=ROWS)
    np.testing.assert_array_equal(np.subtract(counted(), before), [4, 12])
    assert "nobody" not in client.get("/metrics").text


def test_the_page_needs_nothing_from_elsewhere(client):
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
