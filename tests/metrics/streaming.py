"""What every metric that is summed over an epoch promises."""

import functools
import json

import keras
import numpy as np
import tensorflow as tf

from tests.replicas import two_replicas

# Equal batches and a smaller last one; the first and a later one are empty.
RAGGED = (0, 7, 7, 0, 7, 3)
MODES = ("eager", "graph", "compiled")


def batches(data):
    """`data` `[24, ...]` in parts of the sizes `RAGGED`."""
    assert len(data) == sum(RAGGED)
    return np.split(data, np.cumsum(RAGGED)[:-1])


def count(metric, data, mode="eager"):
    """Updates with all batches, in one traced function of unknown batch size unless eager."""
    update = metric.update_state
    if mode != "eager":
        spec = tf.TensorSpec([None, *data.shape[1:]], data.dtype)
        update = tf.function(update, input_signature=[spec], jit_compile=mode == "compiled")
    for batch in batches(data):
        update(tf.constant(batch))
    return metric


def count_on_two_replicas(make, data):
    """Updates on two devices, one of which has nothing of the last batch."""
    strategy = two_replicas()
    with strategy.scope():
        metric = make()

    @tf.function
    def update(batch):
        strategy.run(metric.update_state, [batch])

    for batch in batches(data):
        half = len(batch) // 2 if len(batch) > 3 else 0
        shares = [batch[:half], batch[half:]]
        update(strategy.experimental_distribute_values_from_function(functools.partial(_share, shares)))
    return metric


def _share(shares, context):
    return tf.constant(shares[context.replica_id_in_sync_group])


def twin_of(metric):
    """The metric again, from its serialized config and its variables, through JSON."""
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(metric)))
    twin = keras.saving.deserialize_keras_object(config)
    assert type(twin) is type(metric)
    assert twin.get_config() == metric.get_config()
    for theirs, ours in zip(twin.variables, metric.variables, strict=True):
        theirs.assign(ours)
    return twin


class Reporter(keras.Model):
    """A model that reports metrics of its inputs by name, with nothing to learn."""

    def __init__(self, **metrics):
        super().__init__()
        self.reported = metrics

    def test_step(self, x):
        for metric in self.reported.values():
            metric.update_state(x)
        return {name: metric.result() for name, metric in self.reported.items()}

    @property
    def metrics(self):
        return list(self.reported.values())
