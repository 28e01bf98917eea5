"""What a server allows and how it batches."""

import math
from typing import NamedTuple

from tfdiscrete.errors import InputError, check_count, check_non_negative, check_positive


class Settings(NamedTuple):
    """The options of `serve`, which documents them."""

    versions: int = 1
    max_batch_size: int = 1024
    batch_wait: float = 0.0
    max_rows: int = 4096
    max_request_mb: float = 16.0
    request_timeout: float = 30.0
    poll_seconds: float = 1.0

    def checked(self) -> "Settings":
        """Itself; raises `InputError` for a value that makes no sense."""
        for name in ("versions", "max_batch_size", "max_rows"):
            check_count(name, getattr(self, name))
        for name in ("max_request_mb", "request_timeout", "poll_seconds"):
            check_positive(name, getattr(self, name))
        if check_non_negative("batch_wait", self.batch_wait) > 1:
            raise InputError(f"batch_wait is in seconds, at most 1. Received: {self.batch_wait}.")
        return self

    @property
    def max_rows_at_once(self) -> int:
        """Of all requests that are being computed, or wait for a batch: one that is computed and the next."""
        return max(4 * self.max_rows, 2 * self.max_batch_size)

    @property
    def max_request_bytes(self) -> int:
        """`max_request_mb` in bytes."""
        return math.ceil(self.max_request_mb * 2**20)
