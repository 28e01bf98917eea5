"""A model server: SavedModels over HTTP, with the request and response bodies of TF Serving's REST predict API.

    BASE/<integer version>/saved_model.pb  ->  POST /v1/models/NAME:predict  {"inputs": ...} -> {"outputs": ...}

The server is KServe's (`pip install "tfdiscrete[serve]"`). Unlike TF Serving it loads one version of a model, and has
no `/versions/N` and no `/metadata`.

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

from tfdiscrete.errors import InputError
from tfdiscrete.serving.rest import describe, input_specs, predict


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
    if not 0 <= port < 2**16:
        raise InputError(f"--port must be from 0 to 65535. Received: {port}.")
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"cannot listen on port {port} of {host}: {error.args[1]}. Choose another --port.") from error


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

    # KServe logs a traceback for each refused request; uvicorn still logs those of the server's own failures.
    logging.getLogger("kserve").addHandler(logging.NullHandler())
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
            specs = input_specs(signature)
            lines.append(f"  {key}({describe(specs)}) -> {', '.join(sorted(signature.structured_outputs))}")
            body = json.dumps({"signature_name": key, "inputs": {k: _example(spec) for k, spec in specs.items()}})
            requests.append(f"curl -d '{body}' {url}/{name}:predict")
    return "\n".join([*lines, "", min(requests, key=len, default="")])


def _example(spec):
    shape = [size or 1 for size in spec.shape.as_list()] if spec.shape.rank else []
    return np.full(shape, 0 if shape else 1, spec.dtype.as_numpy_dtype).tolist()
