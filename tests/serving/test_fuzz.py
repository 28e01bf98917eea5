"""Thousands of requests that nobody would send: none may fail the server, and it still answers right afterwards."""

import json

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("kserve", reason='needs KServe: pip install "tfdiscrete[serve]"')

from tfdiscrete.serving.application import build_application
from tfdiscrete.serving.repository import VersionedModels
from tfdiscrete.serving.settings import Settings

from .client import Client

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
LIMITS = Settings(max_rows=20, max_request_mb=0.01)


@pytest.fixture(scope="module")
def client(base):
    with Client(build_application(VersionedModels({"tiny": base}, LIMITS), LIMITS)) as client:
        yield client


numbers = st.one_of(
    st.integers(-3, 12),
    st.floats(-2, 2, width=32),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
DEEP = "deeper than Python's own functions go"
leaves = st.one_of(numbers, st.none(), st.text(max_size=5), st.just(DEEP))
anything = st.recursive(
    leaves,
    lambda children: st.one_of(
        st.lists(children, max_size=4), st.dictionaries(st.sampled_from(["x", "n", "seed", "é"]), children, max_size=3)
    ),
    max_leaves=12,
)
sizes = st.integers(-1, 5)
# Lists of nearly the right shapes get further than any others.
matrices = st.tuples(sizes, st.sampled_from([1, 2, 3, 4, 5]), numbers).map(
    lambda drawn: [[drawn[2]] * drawn[1] for _ in range(max(drawn[0], 0))]
)
values = st.one_of(anything, matrices, st.lists(numbers, max_size=5), numbers)
signatures = st.one_of(
    st.sampled_from(["serving_default", "encode", "sample", "log_table", "masked", "mean", "", "__proto__"]), anything
)
names = st.sampled_from(["x", "seed", "n", "index", "a", "keep", "y"])
columns = st.one_of(
    values,
    st.dictionaries(names, values, max_size=3),
    st.fixed_dictionaries({"seed": values, "n": values}),
    st.fixed_dictionaries({"a": matrices, "keep": st.lists(st.booleans(), max_size=4)}),
)
v1 = st.one_of(
    anything,
    st.fixed_dictionaries({"inputs": columns}, optional={"signature_name": signatures, "instances": values}),
    st.fixed_dictionaries(
        {"instances": st.one_of(values, st.lists(columns, max_size=4))}, optional={"signature_name": signatures}
    ),
)
parameters = st.one_of(
    anything,
    st.fixed_dictionaries(
        {}, optional={"signature_name": signatures, "binary_data_output": leaves, "binary_data_size": values}
    ),
)
tensors = st.fixed_dictionaries(
    {"name": st.one_of(names, anything)},
    optional={
        "shape": st.one_of(st.lists(st.integers(-1, 5), max_size=3), anything, st.just([3, 4])),
        "datatype": st.one_of(st.sampled_from(["FP32", "INT32", "BOOL", "BYTES", "FP16", "?"]), leaves),
        "data": values,
        "parameters": parameters,
    },
)
v2 = st.one_of(
    anything,
    st.fixed_dictionaries(
        {"inputs": st.one_of(st.lists(st.one_of(tensors, anything), max_size=3), anything)},
        optional={
            "parameters": parameters,
            "outputs": st.one_of(st.lists(tensors, max_size=2), anything),
            "id": leaves,
        },
    ),
)


def as_json(payload) -> bytes:
    text = json.dumps(payload, allow_nan=True).encode(errors="surrogatepass")
    return text.replace(json.dumps(DEEP).encode(), b"[" * 1000 + b"]" * 1000)


bodies = st.one_of(v1.map(as_json), v2.map(as_json), st.binary(max_size=100), st.just(b"[" * 500))
pieces = st.sampled_from(
    ["v1", "v2", "models", "tiny", "versions", "3", "infer", "metadata", "ready", "..", "%00", "ü"]
)
addresses = st.one_of(
    st.sampled_from(["/v1/models/tiny:predict", "/v2/models/tiny/infer", "/v1/models/tiny/versions/3:predict"]),
    st.lists(pieces, max_size=5).map(lambda parts: "/" + "/".join(parts) + ":predict"),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=10).map(lambda text: "/v1/models/" + text),
)
lengths = st.one_of(st.none(), st.integers(-1, 200).map(str), st.sampled_from(["", "x", "9" * 20]))
kinds = st.sampled_from(["application/json", "application/octet-stream", "", "text/plain", "image/png", "a/b;" * 50])
anys = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def check(client, address, body, length, kind, tail):
    headers = {"content-type": kind}
    if length is not None:
        headers["inference-header-content-length"] = length
    response = client.post(address, content=body + tail, headers=headers)
    assert response.status_code < 500, response.text
    assert response.status_code in (200, 400, 404, 405, 413, 415)
    if response.status_code >= 400:
        assert response.json()["error"]
    elif "octet-stream" not in response.headers["content-type"]:
        orjson.loads(response.content)


def check_that_it_still_answers(client, encoded):
    rows = client.post("/v1/models/tiny:predict", json={"instances": X.tolist()}).json()["predictions"]
    np.testing.assert_array_equal(np.float32([row["probabilities"] for row in rows]), encoded["probabilities"])


requests = given(addresses, bodies, lengths, kinds, st.binary(max_size=20))
near_v1, near_v2 = given(v1), given(v2, st.booleans(), st.binary(max_size=50))


@pytest.mark.parametrize("examples", [100, pytest.param(4000, marks=pytest.mark.slow)])
def test_no_request_fails_the_server(client, encoded, examples):
    bounded = settings(anys, max_examples=examples)

    @bounded
    @requests
    def anywhere(address, body, length, kind, tail):
        check(client, address, body, length, kind, tail)

    @bounded
    @near_v1
    def rows_and_columns(payload):
        check(client, "/v1/models/tiny:predict", as_json(payload), None, "application/json", b"")

    @bounded
    @near_v2
    def tensors_and_binary_data(payload, with_length, tail):
        body = as_json(payload)
        check(client, "/v2/models/tiny/infer", body, str(len(body)) if with_length else None, "", tail * with_length)

    for attack in (anywhere, rows_and_columns, tensors_and_binary_data):
        attack()
        check_that_it_still_answers(client, encoded)
