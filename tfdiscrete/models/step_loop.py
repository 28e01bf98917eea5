"""`fit`, `evaluate` and `predict` of a model that was made under a `tf.distribute` strategy.

Keras's own loop cannot take several steps in one call where there are several replicas, and none where there are
several workers; and it gives every replica's mean of its share the same weight. This one

- gives each replica its share of the batch (see `ops.shares`), and the step the size of the whole;
- takes the steps in a loop inside one graph, which ends where the data do: their number need not divide that of the
  batches;
- reads the metrics once the steps are made, from the sums over all replicas.

A model without a strategy keeps Keras's loop.
"""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.ops.global_batch import gathered
from tfdiscrete.ops.shares import Shares, WorkerBatch, WorkerDataset


class StepLoop(keras.Model):
    """Base of the models: makes of Keras's loop one that runs under any strategy.

    A subclass has a `seed`, and writes `train_step(data, size=None)`: of this replica's share of a batch, and the size
    of the whole, an int64 `[]`; and `_build_for_batch(data)`, which makes all variables that are not there yet.
    """

    def _build_for_batch(self, data) -> None:
        """Makes the variables that the first data decide on."""

    # Data.

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        epochs=1,
        verbose="auto",
        callbacks=None,
        validation_split=0.0,
        validation_data=None,
        shuffle=True,
        validation_batch_size=None,
        **kwargs,
    ):
        """As `keras.Model.fit`. Under a strategy `batch_size` counts the examples of all replicas."""
        if self._distribute_strategy is not None:
            if validation_split:
                raise InputError("under a strategy give validation_data. Received: validation_split.")
            if validation_data is not None:
                validation_data = self._divided(validation_data, validation_batch_size or batch_size)
            x = self._divided(x if y is None else (x, y), batch_size, shuffle=shuffle)
            y, batch_size, validation_batch_size, shuffle = None, None, None, False
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            validation_batch_size=validation_batch_size,
            **kwargs,
        )

    def evaluate(self, x=None, y=None, batch_size=None, **kwargs):
        """As `keras.Model.evaluate`."""
        # Within `fit` Keras has kept the data.
        if self._distribute_strategy is not None and "_use_cached_eval_dataset" not in kwargs:
            x, y, batch_size = self._divided(x if y is None else (x, y), batch_size), None, None
        return super().evaluate(x, y, batch_size=batch_size, **kwargs)

    def predict(self, x, batch_size=None, **kwargs):
        """As `keras.Model.predict`. Each of several workers must call it, and gets all outputs."""
        if self._distribute_strategy is not None:
            x, batch_size = self._divided(x, batch_size), None
            if not self.built:
                self._maybe_symbolic_build(data_batch=next(iter(x)).rows)
        return super().predict(x, batch_size=batch_size, **kwargs)

    def _divided(self, x, batch_size: int | None, *, shuffle: bool = False) -> WorkerDataset:
        """Arrays, or a data set of global batches, as what this worker reads of them."""
        if isinstance(x, WorkerDataset):
            return x
        if isinstance(x, tf.distribute.DistributedDataset):
            raise InputError(
                "the model divides each batch among its replicas. Received: a data set that is divided; give the "
                "data set of whole batches."
            )
        if not isinstance(x, tf.data.Dataset):
            x = self._batches(x, batch_size or 32, shuffle)
        return self._shares.read(x)

    def _batches(self, arrays, batch_size: int, shuffle: bool) -> tf.data.Dataset:
        if isinstance(arrays, list | tuple):
            arrays = _without_none(arrays)
        parts = tf.nest.flatten(arrays)
        if not all(isinstance(part, np.ndarray | tf.Tensor) for part in parts):
            raise InputError(
                "under a strategy the data are arrays, or a tf.data.Dataset of batches that is the same on every "
                f"worker. Received: {', '.join(type(part).__name__ for part in parts)}."
            )
        with tf.device("CPU:0"):
            data = tf.nest.map_structure(tf.identity, arrays)
        rows = tf.data.Dataset.range(len(parts[0]))
        if shuffle:
            # Seeded: all workers go through the examples in one order, another one each epoch.
            rows = rows.shuffle(len(parts[0]), seed=self.seed, reshuffle_each_iteration=True)
        return rows.batch(batch_size).map(
            lambda index: tf.nest.map_structure(lambda part: tf.gather(part, index), data)
        )

    @property
    def _shares(self) -> Shares:
        return Shares(self.distribute_strategy)

    # The loop.

    def make_train_function(self, force=False):
        if self._distribute_strategy is None:
            return super().make_train_function(force)
        if force or self.train_function is None:  # type: ignore[has-type]
            normalizes = any(isinstance(each, keras.layers.BatchNormalization) for each in self._flatten_layers())
            self.train_function = self._looped(self.train_step, fills_shares=normalizes)
        return self.train_function

    def make_test_function(self, force=False):
        if self._distribute_strategy is None:
            return super().make_test_function(force)
        if force or self.test_function is None:  # type: ignore[has-type]
            self.test_function = self._looped(lambda data, size: self.test_step(data))
        return self.test_function

    def make_predict_function(self, force=False):
        if self._distribute_strategy is None:
            return super().make_predict_function(force)
        if force or self.predict_function is None:  # type: ignore[has-type]
            self.predict_function = self._gathered(self.predict_step)
        return self.predict_function

    def _looped(self, step, *, fills_shares: bool = False):
        """Takes `steps_per_execution` steps, or fewer where the data end, and returns the metrics.

        With `fills_shares` a batch that leaves a replica without examples is refused.
        """
        strategy, shares, length = self.distribute_strategy, self._shares, int(self.steps_per_execution)

        def one_step(batch: WorkerBatch):
            if fills_shares:  # the mean of an empty share is NaN, and stays in the moving average
                enough = tf.debugging.assert_greater_equal(
                    batch.size,
                    tf.constant(strategy.num_replicas_in_sync, tf.int64),
                    message="with BatchNormalization every replica needs an example of each batch: take another batch "
                    "size, or leave out the rest of the data",
                )
                with tf.control_dependencies([] if enough is None else [enough]):
                    batch = batch._replace(size=tf.identity(batch.size))
            strategy.run(step, args=(shares.of_replicas(batch), batch.size))

        def steps(iterator):
            following = iterator.get_next_as_optional()
            some = following.has_value()

            def body(count, following):
                one_step(following.get_value())
                # Not one beyond the last step: it would be lost to the next execution.
                more = tf.cond(count + 1 < length, iterator.get_next_as_optional, lambda: following)
                return count + 1, more

            def goes_on(count, following):
                return tf.logical_and(count < length, following.has_value())

            count, _ = tf.while_loop(goes_on, body, (tf.constant(0), following), parallel_iterations=1)
            with tf.control_dependencies([count]):
                return some, self.get_metrics_result()

        traced = steps if self.run_eagerly else tf.function(steps, autograph=False, reduce_retracing=True)
        single = one_step if self.run_eagerly else tf.function(one_step, autograph=False, reduce_retracing=True)

        def function(iterator):
            if not isinstance(iterator, tf.data.Iterator):  # that of `train_on_batch`
                for data in iterator:
                    single(shares.of_worker(_without_none(data)))
                return self.get_metrics_result()
            some, logs = traced(iterator)
            if not bool(some):
                raise StopIteration
            return logs

        return function

    def _gathered(self, step):
        """The outputs of a list of batches, in order, on every worker."""
        strategy, shares = self.distribute_strategy, self._shares

        def one_batch(batch: WorkerBatch):
            x = keras.utils.unpack_x_y_sample_weight(shares.of_replicas(batch))[0]
            outputs = strategy.run(step, args=((x,),))
            return tf.nest.map_structure(lambda output: gathered(strategy, output), outputs)

        traced = one_batch if self.run_eagerly else tf.function(one_batch, autograph=False, reduce_retracing=True)

        def function(batches):
            worker = [b if isinstance(b, WorkerBatch) else shares.of_worker(_without_none(b)) for b in batches]
            outputs = [traced(batch) for batch in worker]
            return tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *outputs)

        return function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # Keras builds from a batch that it first averages over the replicas, which several workers cannot.
        if self._distribute_strategy is None:
            return
        if iterator is not None:
            for _, _, batches in iterator:
                data_batch = next(batches).rows
                break
        with self._distribute_strategy.scope():
            self._build_for_batch(data_batch)


def _without_none(data):
    """The tensors of (x, None, None)."""
    data = tuple(part for part in data if part is not None)
    return data[0] if len(data) == 1 else data
