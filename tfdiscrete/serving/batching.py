"""Calls of a signature from an event loop: in threads, and the rows of requests that wait together as one batch.

A request waits for others while a batch is on its way, and `batch_wait` seconds more: with 0 s an idle server answers
at once, and a busy one in batches that grow with the load.
"""

import asyncio
from typing import NamedTuple

import numpy as np
from prometheus_client import Histogram

from tfdiscrete.errors import InputError
from tfdiscrete.serving.signatures import Signature

Arrays = dict[str, np.ndarray]

BATCH_ROWS = Histogram(
    "tfdiscrete_batch_rows", "Rows of one call of a signature", ["model_name"], buckets=[2**i for i in range(13)]
)


class _Waiting(NamedTuple):
    arrays: Arrays
    num_rows: int
    answer: asyncio.Future


class Caller:
    """Awaitable calls of one signature; of one event loop, from its own thread only.

    Args:
        signature: what is called.
        model_name: the label of the batches' sizes among the metrics.
        max_batch_size: rows that are put together; a request of as many or more is called alone, and 1 puts none
            together.
        batch_wait: seconds that a batch which is not full waits for more.
    """

    def __init__(self, signature: Signature, *, model_name: str, max_batch_size: int, batch_wait: float):
        self._signature = signature
        self._max_batch_size = max_batch_size if signature.takes_batches else 1
        self._batch_wait = batch_wait
        self._sizes = BATCH_ROWS.labels(model_name)
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task | None = None

    async def __call__(self, arrays: Arrays) -> Arrays:
        """The outputs, as alone up to rounding; raises `InputError` for values that the model refuses."""
        num_rows = self._signature.rows(arrays)
        if num_rows >= self._max_batch_size or not self._signature.has_even_rows(arrays):
            return await self._call(arrays, num_rows)
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(arrays, num_rows, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self):
        try:
            while self._waiting:
                if self._batch_wait and sum(one.num_rows for one in self._waiting) < self._max_batch_size:
                    await asyncio.sleep(self._batch_wait)
                await self._answer(self._next_batch())
        finally:
            self._worker = None

    def _next_batch(self):
        """As many of those that wait as fit, first come first served."""
        count, num_rows = 0, 0
        for one in self._waiting:
            num_rows += one.num_rows
            if count and num_rows > self._max_batch_size:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch

    async def _answer(self, batch):
        try:
            outputs = await self._call(_stacked(batch), sum(one.num_rows for one in batch))
            answers = _split(outputs, [one.num_rows for one in batch])
        except (InputError, _Mixed) as error:
            if len(batch) > 1:
                # One of them is at fault, or none can share: the others must not pay for it.
                for one in batch:
                    await self._answer([one])
                return
            answers = [error]
        except Exception as error:
            answers = [error] * len(batch)
        for one, answer in zip(batch, answers, strict=True):
            if one.answer.done():  # its client has gone
                continue
            if isinstance(answer, Exception):
                one.answer.set_exception(answer)
            else:
                one.answer.set_result(answer)

    async def _call(self, arrays, num_rows):
        self._sizes.observe(num_rows)
        return await asyncio.get_running_loop().run_in_executor(None, self._signature, arrays)


class _Mixed(Exception):
    """The outputs have not a row for each of the inputs."""


def _stacked(batch):
    if len(batch) == 1:
        return batch[0].arrays
    return {name: np.concatenate([one.arrays[name] for one in batch]) for name in batch[0].arrays}


def _split(outputs, sizes):
    if len(sizes) == 1:
        return [outputs]
    ends = np.cumsum(sizes)
    if any(len(value) != ends[-1] for value in outputs.values()):
        raise _Mixed
    parts = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return [{name: value[part] for name, value in outputs.items()} for part in parts]
