"""The HTTP interface of the server: TF Serving's REST v1, the Open Inference Protocol v2, metrics and a page.

KServe's data plane, repository and metrics, under routes of our own: KServe's answer a version with 501 and a malformed
v2 body with 500, and let anybody unload a model. Every error of a request that is HTTP is `{"error": message}`.
"""

import asyncio
import contextlib
from importlib import resources
from typing import NamedTuple

import orjson
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.rest.server import metrics_handler
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from tfdiscrete.errors import InputError, unknown_name
from tfdiscrete.serving import open_inference
from tfdiscrete.serving.admission import Busy
from tfdiscrete.serving.repository import VersionedModels
from tfdiscrete.serving.rest import PredictRequest, choose
from tfdiscrete.serving.settings import Settings
from tfdiscrete.version import __version__

# `curl -d` calls its JSON a form.
_CONTENT_TYPES = ("application/json", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain")
_PAGE_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'"


def build_application(models: VersionedModels, settings: Settings) -> Starlette:
    """The ASGI application; while it runs, `models` follow their folders."""
    handlers = _Handlers(models, settings)
    v1, v2 = "/v1/models/{name}", "/v2/models/{name}"
    versions = "/versions/{version}"
    routes = [
        Route(f"{v1}:predict", handlers.predict, methods=["POST"]),
        Route(f"{v2}/infer", handlers.infer, methods=["POST"]),
        Route(f"{v1}{versions}:predict", handlers.predict, methods=["POST"]),
        Route(f"{v2}{versions}/infer", handlers.infer, methods=["POST"]),
        Route("/", _page),
        Route("/metrics", metrics_handler),
        Route("/v1/models", handlers.list_models),
        Route("/v2", _server_metadata),
        Route("/v2/health/live", handlers.live),
        Route("/v2/health/ready", handlers.ready),
        Route("/v2/models", handlers.list_models),
    ]
    for version in ("", versions):
        routes += [
            Route(v1 + version, handlers.status),
            Route(f"{v1}{version}/metadata", handlers.signatures),
            Route(v2 + version, handlers.metadata),
            Route(f"{v2}{version}/ready", handlers.model_ready),
        ]

    @contextlib.asynccontextmanager
    async def following(_):
        watch = asyncio.create_task(models.watch())
        yield
        watch.cancel()

    errors = {
        InputError: _refuse,
        HTTPException: _http_error,
        ClientDisconnect: _refuse,
        Busy: _busy,
        Exception: _failure,
    }
    application = Starlette(routes=routes, exception_handlers=errors, lifespan=following)
    # A redirect would send the client to whatever host its own header names.
    application.router.redirect_slashes = False
    return application


class _V1Body(NamedTuple):
    content: bytes

    def parse(self, signatures):
        return PredictRequest.parse(_json(self.content), signatures)

    def answer(self, request, outputs, name, version):
        return _answer(request.answer(outputs))


class _V2Body(NamedTuple):
    content: bytes
    json_length: int

    def parse(self, signatures):
        try:
            return open_inference.InferRequest.parse(self.content, self.json_length, signatures)
        except orjson.JSONDecodeError as error:
            raise InputError(f"expected JSON: {error}.") from error

    def answer(self, request, outputs, name, version):
        content, json_length = request.answer(outputs, model_name=name, version=version)
        if json_length is None:
            return Response(content, media_type="application/json")
        return Response(
            content, media_type="application/octet-stream", headers={open_inference.HEADER: str(json_length)}
        )


class _Handlers:
    """The routes that look at the models."""

    def __init__(self, models, settings):
        self._models = models
        self._settings = settings
        self._data_plane = DataPlane(models)

    async def predict(self, request):
        return await self._infer(request, _V1Body(await self._body(request)))

    async def infer(self, request):
        content = await self._body(request)
        length = request.headers.get(open_inference.HEADER, str(len(content)))
        if not (length.isascii() and length.isdecimal() and len(length) < 12):
            raise InputError(f"{open_inference.HEADER} must be a number of bytes. Received: {length!r:.40}.")
        return await self._infer(request, _V2Body(content, int(length)))

    async def _infer(self, request, body):
        response, _ = await self._data_plane.infer(self._key(request), body)
        return response

    async def _body(self, request):
        """The bytes of a request; refuses what is too much, too slow, compressed, or no JSON by its own account."""
        limit = self._settings.max_request_bytes
        too_large = HTTPException(413, f"a request may have at most {limit} bytes.")
        kind = request.headers.get("content-type", _CONTENT_TYPES[0]).partition(";")[0].strip().lower()
        if kind not in _CONTENT_TYPES:
            raise HTTPException(415, f"expected Content-Type: application/json. Received: {kind:.60}.")
        if request.headers.get("content-encoding", "identity") != "identity":
            raise HTTPException(415, "expected a body without Content-Encoding.")
        stated = request.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > limit:
            raise too_large
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self._settings.request_timeout):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limit:
                        raise too_large
                    chunks.append(chunk)
        except TimeoutError:
            raise HTTPException(408, f"the request took over {self._settings.request_timeout} s to arrive.") from None
        return b"".join(chunks)

    def _key(self, request):
        """The name in the repository of the model that the address names."""
        name, version = request.path_params["name"], request.path_params.get("version")
        if name not in self._models.names:
            raise HTTPException(404, str(unknown_name("model", name[:80], self._models.names)))
        key = name if version is None else f"{name}/versions/{version}"
        if self._models.get_model(key) is None:
            numbers = [str(model.version.number) for model in self._models.versions(name)]
            raise HTTPException(404, str(unknown_name(f"version of {name}", version[:80], numbers)))
        return key

    def _asked(self, request):
        """The loaded versions that the address names: the newest first, or the one."""
        key = self._key(request)
        named = "version" in request.path_params
        return [self._models.get_model(key)] if named else self._models.versions(key)[::-1]

    async def list_models(self, request):
        return _answer({"models": self._models.names})

    async def live(self, request):
        return _answer({"live": (await self._data_plane.live())["status"] == "alive"})

    async def ready(self, request):
        return _answer({"ready": await self._data_plane.ready()})

    async def model_ready(self, request):
        return _answer(
            {"name": request.path_params["name"], "ready": await self._data_plane.model_ready(self._key(request))}
        )

    async def status(self, request):
        """KServe's answer and TF Serving's in one."""
        ok = {"error_code": "OK", "error_message": ""}
        states = [
            {"version": str(model.version.number), "state": "AVAILABLE", "status": ok} for model in self._asked(request)
        ]
        return _answer({"name": request.path_params["name"], "ready": True, "model_version_status": states})

    async def signatures(self, request):
        version = self._asked(request)[0].version
        return _answer(
            {
                "model_spec": {
                    "name": request.path_params["name"],
                    "signature_name": "",
                    "version": str(version.number),
                },
                "metadata": {"signature_def": {"signature_def": version.signature_defs}},
            }
        )

    async def metadata(self, request):
        models = self._asked(request)
        chosen = request.query_params.get("signature_name", "serving_default")
        signature = choose(models[0].version.signatures, chosen)
        return _answer(
            {
                "name": request.path_params["name"],
                "versions": [str(model.version.number) for model in models],
                "platform": "tensorflow_savedmodel",
                "inputs": open_inference.tensor_metadata(signature.inputs),
                "outputs": open_inference.tensor_metadata(signature.outputs),
            }
        )


async def _server_metadata(request):
    return _answer({"name": "tfdiscrete", "version": __version__, "extensions": ["binary_tensor_data"]})


async def _page(request):
    page = resources.files("tfdiscrete.serving").joinpath("page.html").read_text("utf-8")
    return HTMLResponse(page, headers={"content-security-policy": _PAGE_POLICY})


def _json(content):
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InputError(f"expected JSON: {error}.") from error


def _answer(content, status=200):
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


async def _refuse(request: Request, error: Exception):
    return _answer({"error": str(error)}, 400)


async def _busy(request, error):
    answer = _answer({"error": str(error)}, 503)
    answer.headers["retry-after"] = "1"
    return answer


async def _http_error(request, error):
    return _answer({"error": error.detail}, error.status_code)


async def _failure(request, error):
    return _answer({"error": "the model failed; the server's log says why."}, 500)
