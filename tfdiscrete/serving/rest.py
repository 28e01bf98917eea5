"""The request and response bodies of TF Serving's REST predict API, for a loaded SavedModel.

    {"signature_name": ..., "instances": rows} -> {"predictions": rows}
    {"signature_name": ..., "inputs": columns} -> {"outputs": columns}

Unlike TF Serving it takes and returns numbers and booleans only, accepts no NaN or infinity, and leaves those that a
model computes to the server, which writes them as `null`.

TensorFlow authors, "RESTful API", https://www.tensorflow.org/tfx/serving/api_rest.
"""

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_name


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
    if not isinstance(payload, dict) or ("instances" in payload) == ("inputs" in payload):
        received = sorted(payload) if isinstance(payload, dict) else type(payload).__name__
        raise InputError(f'expected a JSON object with either "instances" or "inputs". Received: {received}.')
    name = check_name("signature", payload.get("signature_name", "serving_default"), saved_model.signatures)
    signature = saved_model.signatures[name]
    specs = input_specs(signature)
    columns = _columns(payload, name, specs)
    tensors = {key: _tensor(key, columns[key], spec) for key, spec in specs.items()}
    try:
        outputs = {key: value.numpy() for key, value in sorted(signature(**tensors).items())}
    except (tf.errors.InvalidArgumentError, tf.errors.ResourceExhaustedError) as error:
        reason = error.message.split("\n\t [[")[0].rsplit("\n", 1)[-1]
        raise InputError(f"signature {name!r} cannot take these values: {reason}.") from error
    if "instances" in payload:
        return {"predictions": _to_rows(outputs, len(payload["instances"]))}
    return {"outputs": _bare({key: value.tolist() for key, value in outputs.items()})}


def input_specs(signature) -> dict[str, tf.TensorSpec]:
    """The inputs of a signature, by name."""
    return dict(sorted(signature.structured_input_signature[1].items()))


def describe(specs: dict[str, tf.TensorSpec]) -> str:
    """Inputs as a person reads them: `x: float32 [None, 8, 8]`."""
    shapes = {name: "[...]" if s.shape.rank is None else s.shape.as_list() for name, s in specs.items()}
    return ", ".join(f"{name}: {specs[name].dtype.name} {shape}" for name, shape in shapes.items())


def _named(values, signature, specs):
    if not isinstance(values, dict) and len(specs) == 1:
        return {next(iter(specs)): values}
    received = sorted(values) if isinstance(values, dict) else "values without names"
    if received != sorted(specs):
        raise InputError(f"signature {signature!r} takes {describe(specs) or 'no inputs'}. Received: {received}.")
    return values


def _columns(payload, signature, specs):
    if "inputs" in payload:
        return _named(payload["inputs"], signature, specs)
    rows = payload["instances"]
    if not isinstance(rows, list) or not rows:
        raise InputError(f'"instances" must be a list of at least one row. Received: {rows!s:.40}.')
    if any(spec.shape.rank is not None and spec.shape[:1].as_list() != [None] for spec in specs.values()):
        raise InputError(
            f'signature {signature!r} takes {describe(specs)}, not batches: use "inputs". Received: "instances".'
        )
    rows = [_named(row, signature, specs) for row in rows]
    return {name: [row[name] for row in rows] for name in specs}


def _tensor(name, value, spec):
    """The checked tensor: nothing is rounded to an integer, wrapped around or made infinite on the way."""
    expected = f"expected {describe({name: spec})}. Received:"
    kinds = "iuf" if spec.dtype.is_floating else "iu" if spec.dtype.is_integer else "b"
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{expected} nested lists of unequal lengths.") from error
    if not array.size or not spec.shape.is_compatible_with(array.shape):
        raise InputError(f"{expected} shape {list(array.shape)}{'' if array.size else ', which is empty'}.")
    if array.dtype.kind not in kinds:
        raise InputError(f"{expected} values of another type.")
    with np.errstate(over="ignore"):
        cast = array.astype(spec.dtype.as_numpy_dtype)
    if not (np.isfinite(cast).all() if spec.dtype.is_floating else np.array_equal(cast, array)):
        raise InputError(f"{expected} NaN, infinity, or a number beyond the type's range.")
    return tf.constant(cast)


def _bare(values):
    return next(iter(values.values())) if len(values) == 1 else values


def _to_rows(outputs, batch):
    odd = {name: list(value.shape) for name, value in outputs.items() if value.shape[:1] != (batch,)}
    if odd:
        raise InputError(f'outputs of shapes {odd} have no row for each of the {batch} "instances": use "inputs".')
    rows = zip(*(value.tolist() for value in outputs.values()), strict=True)
    return [_bare(dict(zip(outputs, row, strict=True))) for row in rows]
