"""Mini-batches whose order is a function of the seed and the epoch alone, so that a resumed run repeats it."""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_finite, check_seed
from tfdiscrete.ops import fold_in, seed_of
from tfdiscrete.ops.shares import Shares, WorkerDataset


def finished(batches: tf.data.Dataset, cardinality: int) -> tf.data.Dataset:
    """Batches made ahead of their use, with a known number of them and without autotuning.

    The autotuner's thread sleeps for 10 ms, then twice as long each time, and the end of an epoch waits for it to wake:
    an epoch would take 10 ms times a power of 2, up to twice its time. There is nothing to tune here.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.apply(tf.data.experimental.assert_cardinality(cardinality)).prefetch(8).with_options(options)


class ShuffledBatches(keras.callbacks.Callback):
    """A `tf.data.Dataset` over an array in memory, and the callback that tells it the epoch.

    Every epoch passes over each example once, in its own order; the last batch may be smaller.

    Example:

        batches = ShuffledBatches(images, batch_size=100, seed=0)
        model.fit(batches.dataset, epochs=10, callbacks=[batches])

    Under a strategy of several workers `batches.shared(strategy)` in the place of `batches.dataset` lets each worker
    read its own rows alone.

    Args:
        x: `[n, ...]`, all finite.
        batch_size: examples in a batch, of all replicas together.
        seed: of the order.

    Raises:
        InputError: for an empty array, or one with NaN or infinite values.
    """

    def __init__(self, x: np.ndarray, *, batch_size: int, seed: int):
        super().__init__()
        check_count("batch_size", batch_size)
        check_seed(seed)
        check_finite(x)
        if not len(x):
            raise InputError(f"training needs at least one example. Received: data of shape {x.shape}.")
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.steps_per_epoch = -(-len(x) // batch_size)
        self._x = tf.constant(x)
        self._indices = self._make_indices(len(x), batch_size, seed_of(seed, "order"))
        self.dataset = finished(self._indices.map(self._rows), self.steps_per_epoch)

    def shared(self, strategy: tf.distribute.Strategy) -> WorkerDataset:
        """This worker's part of the batches, as `fit` takes it under the strategy: see `ops.shares`."""
        known = self._indices.apply(tf.data.experimental.assert_cardinality(self.steps_per_epoch))
        return Shares(strategy).read(known, self._rows)

    def _rows(self, index):
        return tf.gather(self._x, index)

    def _make_indices(self, size, batch_size, base):
        """The row numbers of each batch."""

        def one_epoch(_):
            order = tf.random.experimental.stateless_shuffle(tf.range(size), fold_in(base, self._epoch))
            starts = tf.data.Dataset.range(0, size, batch_size)
            return starts.map(lambda start: order[start : start + batch_size])

        return tf.data.Dataset.from_tensors(0).flat_map(one_epoch)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch.assign(epoch)
