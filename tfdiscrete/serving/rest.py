"""The request and response bodies of TF Serving's REST predict API, for a loaded SavedModel.

    {"signature_name": ..., "instances": rows} -> {"predictions": rows}
    {"signature_name": ..., "inputs": columns} -> {"outputs": columns}

Unlike TF Serving it takes and returns numbers and booleans only, accepts no NaN or infinity, and leaves those that a
model computes to the server, which writes them as `null`.

TensorFlow authors, "RESTful API", https://www.tensorflow.org/tfx/serving/api_rest.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tfdiscrete.errors import InputError, unknown_name
from tfdiscrete.serving.arrays import describe, from_lists
from tfdiscrete.serving.received import brief, names
from tfdiscrete.serving.signatures import Signature, signatures_of


def predict(saved_model, payload: dict) -> dict:
    """Answers one request as TF Serving's REST predict API does; safe to call from several threads.

    Rows, `{"instances": [row, ...]}`, become `{"predictions": [row, ...]}`, and need inputs and outputs whose first
    dimension is the batch. Columns, `{"inputs": {name: value}}`, become `{"outputs": {name: value}}`, of any shapes. A
    single input may be given without its name, and a single output is. An empty input is refused in both forms.

    Example:

        predict(tf.saved_model.load("vae/1"), {"signature_name": "sample", "inputs": {"seed": [0, 1], "n": 2}})

    Args:
        saved_model: a SavedModel, as `tf.saved_model.load` returns it.
        payload: the decoded JSON body, with an optional `signature_name`, by default "serving_default".

    Raises:
        InputError: for a body, a signature, or inputs (names, shapes, types, values) that the model does not take.
    """
    request = PredictRequest.parse(payload, signatures_of(saved_model))
    return _listed(request.answer(request.signature(request.arrays)))


class PredictRequest(NamedTuple):
    """A checked request."""

    signature: Signature
    arrays: dict[str, np.ndarray]
    num_rows: int | None
    """Of "instances"; None for "inputs"."""

    @classmethod
    def parse(cls, payload, signatures: Mapping[str, Signature]) -> "PredictRequest":
        """Checks a decoded body; raises `InputError`."""
        if not isinstance(payload, dict) or ("instances" in payload) == ("inputs" in payload):
            received = names(payload) if isinstance(payload, dict) else type(payload).__name__
            raise InputError(f'expected a JSON object with either "instances" or "inputs". Received: {received}.')
        signature = choose(signatures, payload.get("signature_name", "serving_default"))
        if "inputs" in payload:
            columns, num_rows = signature.named(payload["inputs"]), None
        else:
            columns, num_rows = _columns(payload["instances"], signature), len(payload["instances"])
        arrays = {name: from_lists(name, columns[name], spec) for name, spec in signature.inputs.items()}
        return cls(signature, arrays, num_rows)

    def answer(self, outputs: dict[str, np.ndarray]) -> dict:
        """The body of the response, with arrays where JSON has lists."""
        if self.num_rows is None:
            return {"outputs": _bare(outputs)}
        odd = {name: list(value.shape) for name, value in outputs.items() if value.shape[:1] != (self.num_rows,)}
        if odd:
            raise InputError(
                f'outputs of shapes {odd} have no row for each of the {self.num_rows} "instances": use "inputs".'
            )
        if len(outputs) == 1:
            return {"predictions": _bare(outputs)}
        rows = zip(*outputs.values(), strict=True)
        return {"predictions": [dict(zip(outputs, row, strict=True)) for row in rows]}


def choose(signatures: Mapping[str, Signature], name) -> Signature:
    """The signature of that name; raises `InputError` that lists them all."""
    if isinstance(name, str) and name in signatures:
        return signatures[name]
    raise unknown_name("signature", brief(name), signatures)


def _columns(rows, signature):
    if not isinstance(rows, list) or not rows:
        raise InputError(f'"instances" must be a list of at least one row. Received: {brief(rows)}.')
    if not signature.has_rows:
        raise InputError(
            f"signature {signature.name!r} takes {describe(signature.inputs)}, not batches: "
            'use "inputs". Received: "instances".'
        )
    if len(signature.inputs) == 1 and not isinstance(rows[0], dict):
        return dict.fromkeys(signature.inputs, rows)
    rows = [signature.named(row) for row in rows]
    return {name: [row[name] for row in rows] for name in signature.inputs}


def _bare(values):
    return next(iter(values.values())) if len(values) == 1 else values


def _listed(answer):
    """The same with lists for arrays."""
    if isinstance(answer, dict):
        return {name: _listed(value) for name, value in answer.items()}
    return [_listed(value) for value in answer] if isinstance(answer, list) else answer.tolist()
