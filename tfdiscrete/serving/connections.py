"""uvicorn's HTTP connections, with bounds on the head of a request, which it would wait for without end.

The lines around the chunks of a body, and those after the last one, are bounded as a head is; the body itself where it
is read.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0
HEAD_BYTES = 2**16


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes a connection whose request line and headers take more than `HEAD_SECONDS` or `HEAD_BYTES`."""

    _timer = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport):
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc):
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data):
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        # Bytes of a body may come with the head; then it is complete.
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

    def on_message_begin(self):
        super().on_message_begin()
        if not self._in_head:
            self._wait_for_head()

    def on_headers_complete(self):
        self._stop_waiting()
        super().on_headers_complete()

    def on_chunk_header(self):
        # After the last one come trailers, of which the parser makes headers for as long as they come.
        self._wait_for_head()

    def on_body(self, body):
        self._stop_waiting()
        super().on_body(body)

    def on_message_complete(self):
        self._stop_waiting()
        super().on_message_complete()

    def _wait_for_head(self):
        self._stop_waiting()
        self._in_head = True
        self._head_bytes = 0
        self._start_timer()

    def _start_timer(self):
        self._timer = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _hang_up(self):
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:  # the request before is still being answered
            self._start_timer()

    def _stop_waiting(self):
        self._in_head = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
