"""How many rows are computed at a time: who asks for more waits in line, and is sent away after a while."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Busy(Exception):
    """It is not a request's turn, and it has waited long enough."""


class Admission:
    """Lets requests in, first come first served; of one event loop.

    Args:
        most_rows: that are let in at a time; a request of more is let in alone.
        patience: seconds that a request waits.
    """

    def __init__(self, most_rows: int, patience: float):
        self._most_rows = most_rows
        self._patience = patience
        self._rows = 0
        self._first_in_line = asyncio.Lock()
        self._some_left = asyncio.Event()

    @contextlib.asynccontextmanager
    async def rows(self, num_rows: int) -> AsyncIterator[None]:
        """Within it so many rows may be computed; raises `Busy`."""
        try:
            async with asyncio.timeout(self._patience), self._first_in_line:
                while self._rows and self._rows + num_rows > self._most_rows:
                    self._some_left.clear()
                    await self._some_left.wait()
        except TimeoutError:
            raise Busy(f"other requests have kept the server busy for {self._patience} s: try again later.") from None
        self._rows += num_rows
        try:
            yield
        finally:
            self._rows -= num_rows
            self._some_left.set()
