import functools
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.serving import predict

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


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


# As deep as the server's parser goes; Python's own functions fail before.
DEEP = functools.reduce(lambda inner, _: [inner], range(1000), [])

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
    "a signature that is too deep": ({"signature_name": DEEP, "inputs": 1}, "signature 'a list of 1'"),
    "rows that are too deep": ({"instances": {"x": DEEP}}, "at least one row. Received: an object of 1"),
    "values that are too deep": ({"instances": DEEP}, "unequal lengths, or too deep"),
    "a very long signature": ({"signature_name": "e" * 10**6, "inputs": 1}, r"unknown signature 'e{80}\.\.\.'\."),
    "very many names": (dict.fromkeys(map(str, range(1000))), r"'9', \.\.\.\]\.$"),
    "very many inputs": ({"inputs": dict.fromkeys(map(str, range(1000)))}, r"takes x: .*'9', \.\.\.\]\.$"),
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
