"""Requests to an ASGI application in this process, without sockets."""

import asyncio

import httpx


class Client:
    """A context manager; `get` and `post` as httpx's, and the server's own failures as status 500."""

    def __init__(self, application):
        self._transport = httpx.ASGITransport(application, raise_app_exceptions=False)

    def __enter__(self):
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=self._transport, base_url="http://server")
        return self

    def __exit__(self, *_):
        self._runner.run(self._client.aclose())
        self._runner.close()

    def get(self, address, **options) -> httpx.Response:
        return self._runner.run(self._client.get(address, **options))

    def post(self, address, **options) -> httpx.Response:
        return self._runner.run(self._client.post(address, **options))

    def post_all(self, requests) -> list[httpx.Response]:
        """The responses to `(address, json)` pairs that are sent at once."""

        async def together():
            return await asyncio.gather(*(self._client.post(address, json=body) for address, body in requests))

        return self._runner.run(together())
