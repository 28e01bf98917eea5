"""A model server: SavedModels over HTTP, with TF Serving's REST requests and the Open Inference Protocol.

    BASE/<integer version>/saved_model.pb  ->  POST /v1/models/NAME:predict  {"inputs": ...} -> {"outputs": ...}

| address, after `http://HOST:PORT` | answers |
|---|---|
| `/` | a page to draw, encode and sample on |
| `/v1/models`, `/v1/models/NAME` | what is served, and in which versions |
| `/v1/models/NAME/metadata` | the signatures, as TF Serving gives them |
| `/v1/models/NAME:predict` | TF Serving's rows and columns; see `tfdiscrete.serving.rest` |
| `/v2/models/NAME`, `/v2/models/NAME/ready` | the tensors of a signature (`?signature_name=`) |
| `/v2/models/NAME/infer` | JSON or binary tensors; see `tfdiscrete.serving.open_inference` |
| `/v2/health/live`, `/v2/health/ready`, `/metrics` | for Kubernetes and Prometheus |

After NAME, `/versions/N` asks for one version. The server is KServe's (`pip install "tfdiscrete[serve]"`).

KServe authors, "V1 inference protocol", https://kserve.github.io/website.
"""

import contextlib
import gc
import json
import re
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfdiscrete.errors import InputError
from tfdiscrete.serving.arrays import describe
from tfdiscrete.serving.examples import examples
from tfdiscrete.serving.settings import Settings
from tfdiscrete.serving.versions import find_model

STOP_SECONDS = 30
"""How long a server that is told to stop waits for the open requests."""
_MOST_NUMBERS = 400  # in a request that is printed
_SWITCH_SECONDS = 0.0005  # between two threads of Python


def serve(models: Mapping[str, Path | str], *, port: int = 8080, host: str = "127.0.0.1", **options) -> None:
    """Serves each model at `/v1/models/NAME` until Ctrl-C or SIGTERM, then finishes the open requests and returns.

    A new version that appears in a model's folder, or one whose files change, is served as soon as it is loaded; an
    older one, once it is no longer kept, is released after its last request. A refused request is answered with status
    400, an unknown model or version with 404, a request that is too slow with 408, too large with 413, of another
    content type with 415, and one that has waited for too many others with 503, all with `{"error": message}`; what is
    no HTTP, or has too long a head, with 400 and plain text. Call it in the main thread, once in a process.

    Args:
        models: name in the URL to folder, as `find_model` takes it.
        port: 0 takes a free one.
        host: the address to listen on; "0.0.0.0" also answers other machines, without any authentication.
        **options: the fields of `Settings`:

            versions (1): the newest versions of each model that are served side by side;
            max_batch_size (1024): rows of waiting requests that are computed together; 1 computes each alone;
            batch_wait (0): seconds that a batch which is not full waits for more;
            max_rows (4096): rows that a request may have, or ask for as `n`; four times as many are computed at once;
            max_request_mb (16): the largest body, in MiB;
            request_timeout (30): seconds that a body may take to arrive, and then wait for its turn;
            poll_seconds (1): time between two looks for new versions.

    Raises:
        InputError: if KServe is missing, a name, folder or option cannot be used, or the port is taken; before loading.
    """
    settings = _settings(options)
    _import_kserve()
    if not models or not all(re.fullmatch(r"[\w.-]+", name, re.ASCII) for name in models):
        raise InputError(f"name each model with letters, digits, '_', '-' and '.'. Received: names {list(models)}.")
    folders = {name: find_model(path) for name, path in models.items()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        listener = stack.enter_context(_listen(host, port))
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, signal.default_int_handler))
        # A thread back from a model's call would wait for up to 5 ms, until the event loop lets go of Python.
        stack.callback(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(_SWITCH_SECONDS)
        # Here, since the modules that import KServe can be imported only where it is installed.
        from tfdiscrete.serving.repository import VersionedModels

        # The libraries' objects stay for ever: a full collection would walk over them for 0.2 s, in which nobody is
        # answered. The models, which come later, are collected as ever.
        gc.collect()
        gc.freeze()
        repository = VersionedModels(models, settings)
        url = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        print(_announcement(url, folders, repository), flush=True)
        _http_server(repository, settings).run(sockets=[listener])


def name_models(arguments: Sequence[str]) -> dict[str, Path]:
    """The models of a command line, by name, from `NAME=PATH` or `PATH`, which is named after its folder.

    An argument that exists as a path is one, even with "=" in it; what a name cannot hold becomes "-".

    Raises:
        InputError: if two have the same name.
    """
    models: dict[str, Path] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or Path(argument).exists():
            path = argument
            name = re.sub(r"[^\w.-]", "-", Path(argument).resolve().name, flags=re.ASCII)
        if name in models:
            raise InputError(f"two models are named {name!r}: give NAME=PATH. Received: {models[name]} and {path}.")
        models[name] = Path(path)
    return models


def _settings(options):
    unknown = sorted(set(options) - set(Settings._fields))
    if unknown:
        raise InputError(f"serve takes the options {', '.join(Settings._fields)}. Received: {', '.join(unknown)}.")
    return Settings(**options).checked()


def _import_kserve():
    # KServe reads sys.argv when it is imported: our own options are not for it.
    arguments, sys.argv = sys.argv, sys.argv[:1]
    try:
        import kserve  # noqa: F401
    except ImportError as error:
        raise InputError(f'serving needs KServe ({error}): pip install "tfdiscrete[serve]".') from error
    finally:
        sys.argv = arguments


def _listen(host, port):
    if not 0 <= port < 2**16:
        raise InputError(f"--port must be from 0 to 65535. Received: {port}.")
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise InputError(f"cannot listen on port {port} of {host}: {error.args[1]}. Choose another --port.") from error


def _http_server(repository, settings):
    import uvicorn

    from tfdiscrete.serving.application import build_application
    from tfdiscrete.serving.connections import BoundedHttpProtocol

    config = uvicorn.Config(
        build_application(repository, settings),
        http=BoundedHttpProtocol,
        ws="none",
        # Longer than the idle time of common proxies, which would otherwise send a request into a closing connection.
        timeout_keep_alive=65,
        timeout_graceful_shutdown=STOP_SECONDS,
        log_config=None,
        access_log=False,
        server_header=False,
    )
    return uvicorn.Server(config)


def _announcement(url, folders, repository):
    """What is served, and a request to paste: the one with the shortest body, unless that is long."""
    lines, requests = [f"Serving on {url} until Ctrl-C; models on {url}/v1/models"], []
    for name, folder in folders.items():
        lines.append(f"\n{name}  ({folder})")
        for key, signature in repository.get_model(name).version.signatures.items():
            lines.append(f"  {key}({describe(signature.inputs)}) -> {', '.join(signature.outputs)}")
            inputs = examples(signature.inputs)
            if sum(value.size for value in inputs.values()) > _MOST_NUMBERS:
                continue
            body = json.dumps({"signature_name": key, "inputs": {k: value.tolist() for k, value in inputs.items()}})
            requests.append(f"curl -d '{body}' {url}/v1/models/{name}:predict")
    return "\n".join([*lines, "", min(requests, key=len, default="")])
