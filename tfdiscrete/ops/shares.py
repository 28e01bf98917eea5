"""The part of each batch that a worker reads, and that each of its replicas computes on.

Of a batch of B examples replica r of N has the rows from floor(r B / N) up to floor((r + 1) B / N): none is lost or
seen twice, the replicas in their order hold the batch in its order, and shares differ by one row at most. Where B < N
some are empty. A worker reads the rows of its own replicas alone, of an order that all workers know; so all have
equally many batches, and need not ask each other whether there is another.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf


class WorkerBatch(NamedTuple):
    """What a worker reads of a global batch."""

    rows: Any
    """A structure of tensors `[M, ...]`, the rows of this worker's replicas."""
    size: tf.Tensor
    """`[]`, int64: B, the examples of all workers."""


class WorkerDataset(tf.data.Dataset, tf.distribute.DistributedDataset):
    """A data set of `WorkerBatch`es; being a `DistributedDataset`, it is one that Keras does not divide again.

    It needs no strategy of its own, which could not be iterated over in the scope of another.
    """

    def __init__(self, dataset: tf.data.Dataset):
        self._dataset = dataset
        super().__init__(dataset._variant_tensor)

    def _inputs(self):
        return [self._dataset]

    @property
    def element_spec(self):
        return self._dataset.element_spec

    def skip(self, count, name=None) -> "WorkerDataset":
        return WorkerDataset(self._dataset.skip(count, name))


class Shares:
    """The shares of a `tf.distribute` strategy's replicas.

    Example:

        shares = Shares(strategy)
        for batch in shares.read(tf.data.Dataset.from_tensor_slices(x).batch(100)):
            strategy.run(step, args=(shares.of_replicas(batch),))

    Args:
        strategy: any; the default one has one replica.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        self._count = strategy.num_replicas_in_sync
        replicas: list[int] = []

        def note(context):
            replicas.append(context.replica_id_in_sync_group)
            return tf.zeros([])

        strategy.experimental_distribute_values_from_function(note)
        self._first, self._end = min(replicas), max(replicas) + 1

    def read(self, batches: tf.data.Dataset, row_reader: Callable[[Any], Any] | None = None) -> WorkerDataset:
        """This worker's part of global batches.

        Args:
            batches: the same on every worker; of tensors, or structures of them, that begin with the batch's dimension.
            row_reader: applied to the rows; where `batches` are of row numbers, it reads these rows and no others.

        Returns:
            `WorkerBatch`es, one for each batch.
        """

        def part(*batch):
            rows, size = self.of_worker(batch[0] if len(batch) == 1 else batch)
            return WorkerBatch(rows if row_reader is None else row_reader(rows), size)

        options = tf.data.Options()
        # Its thread would hold up the end of each epoch, for up to twice the epoch's time.
        options.autotune.enabled = False
        return WorkerDataset(batches.map(part).prefetch(8).with_options(options))

    def of_worker(self, batch) -> WorkerBatch:
        """This worker's part of one global batch."""
        size = tf.shape(tf.nest.flatten(batch)[0], out_type=tf.int64)[0]
        return WorkerBatch(_rows(batch, self._bound(self._first, size), self._bound(self._end, size)), size)

    def of_replicas(self, batch: WorkerBatch):
        """The rows of each replica, as `strategy.run` takes them."""
        before = self._bound(self._first, batch.size)

        def share(context):
            replica = context.replica_id_in_sync_group
            return _rows(
                batch.rows,
                self._bound(replica, batch.size) - before,
                self._bound(replica + 1, batch.size) - before,
            )

        return self.strategy.experimental_distribute_values_from_function(share)

    def _bound(self, replica: int, size: tf.Tensor) -> tf.Tensor:
        return replica * size // self._count


def _rows(batch, start, end):
    return tf.nest.map_structure(lambda tensor: tensor[start:end], batch)
