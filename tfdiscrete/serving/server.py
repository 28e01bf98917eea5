"""A model server: SavedModels over HTTP, with the request and response bodies of TF Serving's REST predict API.

    BASE/<integer version>/saved_model.pb  ->  POST /v1/models/NAME:predict  {"inputs": ...} -> {"outputs": ...}

The server is KServe's (`pip install "tfdiscrete[serve]"`). Unlike TF Serving it loads one version of a model, has no
`/versions/N` and no `/metadata`, takes numbers and booleans only, refuses NaN and infinity, and writes those that a
model computes as `null`.

TensorFlow authors, "RESTful API", https://www.tensorflow.org/tfx/serving/api_rest.
KServe authors, "V1 inference protocol", https://kserve.github.io/website.
"""

import asyncio
import contextlib
import json
import logging
import re
import signal
import socket
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_name


def find_model(path: Path | str) -> Path:
    """The version folder to load from a run folder, a base folder of versions, or a version folder itself.

    Args:
        path: holds `saved_model/<version>/`, `<version>/` or `saved_model.pb`; the highest integer version is taken.

    Raises:
        InputError: where there is no SavedModel, for example in the folder of a run that has not finished.
    """
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return path
    base = path / "saved_model" if (path / "saved_model").is_dir() else path
    versions = [file.parent for file in base.glob("*/saved_model.pb") if file.parent.name.isdecimal()]
    if versions:
        return max(versions, key=lambda version: int(version.name))
    received = f"{path}, which holds no SavedModel" if path.is_dir() else f"{path}, which is no folder"
    if (path / "config.json").is_file():
        received = f"{path}, a run that has not exported its model; let it finish first"
    raise InputError(
        f"expected the folder of a finished run, of integer versions, or of a saved_model.pb. Received: {received}."
    )


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
    specs = _specs(signature)
    columns = _columns(payload, name, specs)
    tensors = {key: _tensor(key, columns[key], spec) for key, spec in specs.items()}
    try:
        outputs = {key: value.numpy() for key, value in sorted(signature(**tensors).items())}
    except tf.errors.InvalidArgumentError as error:
        reason = error.message.split("\n\t [[")[0].rsplit("\n", 1)[-1]
        raise InputError(f"signature {name!r} cannot take these values: {reason}.") from error
    if "instances" in payload:
        return {"predictions": _to_rows(outputs, len(payload["instances"]))}
    return {"outputs": _bare({key: value.tolist() for key, value in outputs.items()})}


def serve(models: Mapping[str, Path | str], *, port: int = 8080, host: str = "127.0.0.1") -> None:
    """Serves each model at `/v1/models/NAME` until Ctrl-C or SIGTERM, then finishes the open requests and returns.

    A refused request is answered with status 400, an unknown model with 404, both with `{"error": message}`. Call it
    in the main thread, once in a process.

    Args:
        models: name in the URL to folder, as `find_model` takes it.
        port: 0 takes a free one.
        host: the address to listen on; "0.0.0.0" also answers other machines, without any authentication.

    Raises:
        InputError: if KServe is missing, a name or folder cannot be used, or the port is taken; before loading.
    """
    kserve = _import_kserve()
    if not models or not all(re.fullmatch(r"[\w.-]+", name, re.ASCII) for name in models):
        raise InputError(f"name each model with letters, digits, '_', '-' and '.'. Received: names {list(models)}.")
    folders = {name: find_model(path) for name, path in models.items()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        listener = stack.enter_context(_listen(host, port))
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler))
        loaded = {name: tf.saved_model.load(str(folder)) for name, folder in folders.items()}
        url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}/v1/models"
        print(_announcement(url, folders, loaded), flush=True)
        _rest_server(kserve, loaded).run(sockets=[listener])


# From JSON to tensors and back.


def _specs(signature):
    return dict(sorted(signature.structured_input_signature[1].items()))


def _describe(specs):
    shapes = {name: "[...]" if s.shape.rank is None else s.shape.as_list() for name, s in specs.items()}
    return ", ".join(f"{name}: {specs[name].dtype.name} {shape}" for name, shape in shapes.items())


def _named(values, signature, specs):
    if not isinstance(values, dict) and len(specs) == 1:
        return {next(iter(specs)): values}
    received = sorted(values) if isinstance(values, dict) else "values without names"
    if received != sorted(specs):
        raise InputError(f"signature {signature!r} takes {_describe(specs) or 'no inputs'}. Received: {received}.")
    return values


def _columns(payload, signature, specs):
    if "inputs" in payload:
        return _named(payload["inputs"], signature, specs)
    rows = payload["instances"]
    if not isinstance(rows, list) or not rows:
        raise InputError(f'"instances" must be a list of at least one row. Received: {rows!s:.40}.')
    if any(spec.shape.rank is not None and spec.shape[:1].as_list() != [None] for spec in specs.values()):
        raise InputError(
            f'signature {signature!r} takes {_describe(specs)}, not batches: use "inputs". Received: "instances".'
        )
    rows = [_named(row, signature, specs) for row in rows]
    return {name: [row[name] for row in rows] for name in specs}


def _tensor(name, value, spec):
    """The checked tensor: nothing is rounded to an integer, wrapped around or made infinite on the way."""
    expected = f"expected {_describe({name: spec})}. Received:"
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


# The server.


def _import_kserve():
    # KServe reads sys.argv when it is imported: our own options are not for it.
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        import kserve
    except ImportError as error:
        raise InputError(f'serving needs KServe ({error}): pip install "tfdiscrete[serve]".') from error
    finally:
        sys.argv = arguments
    return kserve


def _listen(host, port):
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot listen on {host}, port {port} ({error}): give a free one with --port.") from error


def _rest_server(kserve, loaded):
    """KServe's HTTP server; `ModelServer.start` would listen on all addresses."""
    from kserve.errors import InvalidInput
    from kserve.protocol.rest.server import RESTServer

    class SavedModel(kserve.Model):
        async def predict(self, payload, headers=None):
            try:
                # curl -d sends its JSON as a form, which KServe hands over undecoded.
                payload = json.loads(payload) if isinstance(payload, bytes) else payload
                return await asyncio.to_thread(predict, loaded[self.name], payload)
            except (InputError, json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                raise InvalidInput(str(error)) from error

    # KServe logs a traceback for each refused request; failures inside are logged by uvicorn too, and still seen.
    logging.getLogger("kserve").addHandler(logging.NullHandler())
    logging.getLogger("kserve").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "ORJSONResponse is deprecated")
    server = kserve.ModelServer(enable_grpc=False, enable_latency_logging=False)
    for name in loaded:
        model = SavedModel(name)
        model.load()
        server.register_model(model)
    return RESTServer("kserve.model_server:app", server.dataplane, server.model_repository_extension, http_port=0)


def _announcement(url, folders, loaded):
    """What is served, and a request to paste: the one with the shortest body."""
    lines, requests = [f"Serving on {url} until Ctrl-C"], []
    for name, saved_model in loaded.items():
        lines.append(f"\n{name}  ({folders[name]})")
        for key, signature in saved_model.signatures.items():
            specs = _specs(signature)
            lines.append(f"  {key}({_describe(specs)}) -> {', '.join(sorted(signature.structured_outputs))}")
            body = json.dumps({"signature_name": key, "inputs": {k: _example(spec) for k, spec in specs.items()}})
            requests.append(f"curl -d '{body}' {url}/{name}:predict")
    return "\n".join([*lines, "", min(requests, key=len, default="")])


def _example(spec):
    shape = [size or 1 for size in spec.shape.as_list()] if spec.shape.rank else []
    return np.full(shape, 0 if shape else 1, spec.dtype.as_numpy_dtype).tolist()
