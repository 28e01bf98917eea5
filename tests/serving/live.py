"""A server on a loopback port, in a thread of this process."""

import contextlib
import socket
import threading
import time

from tfdiscrete.serving.repository import VersionedModels
from tfdiscrete.serving.server import _http_server
from tfdiscrete.serving.settings import Settings


@contextlib.contextmanager
def live_server(folders, **options):
    """Yields the uvicorn server and its port; at the end it is told to stop, and has."""
    settings = Settings(**options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = _http_server(VersionedModels(folders, settings), settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 30
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.01)
            yield server, listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(40)
            assert not thread.is_alive()
