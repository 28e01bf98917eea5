"""Mini-batches whose order is a function of the seed and the epoch alone, so that a resumed run repeats it."""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_finite, check_seed
from tfdiscrete.ops import fold_in, seed_of


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

    Args:
        x: `[n, ...]`, all finite.
        batch_size: examples in a batch.
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
        self.dataset = self._make_dataset(tf.constant(x), batch_size, seed)

    def _make_dataset(self, data, batch_size, seed):
        size = data.shape[0]
        base = seed_of(seed, "order")

        def one_epoch(_):
            seeds = fold_in(base, self._epoch)
            order = tf.random.experimental.stateless_shuffle(tf.range(size), seeds)
            starts = tf.data.Dataset.range(0, size, batch_size)
            return starts.map(lambda start: tf.gather(data, order[start : start + batch_size]))

        batches = tf.data.Dataset.from_tensors(0).flat_map(one_epoch)
        return finished(batches, self.steps_per_epoch)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch.assign(epoch)
