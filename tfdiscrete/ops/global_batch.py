"""One computation on the batch of all replicas of a `tf.distribute` strategy.

The rows of the replicas in their order are the global batch, whatever the number of replicas: what is computed from
them, and from a seed, does not depend on it.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

# What workers can send each other; bool is not among it.
_SENT = (tf.float16, tf.float32, tf.float64, tf.int32, tf.int64)


class GlobalBatch(NamedTuple):
    """How to bring together what each replica holds; both are the identity where there is one replica."""

    total: Callable
    """Tensor of each replica to their sum."""
    gather: Callable
    """Tensor `[M, ...]` of each replica to `[sum of M, ...]`, in the order of the replicas."""


def on_global_batch(function: Callable, *tensors) -> None:
    """Calls `function(batch, *tensors)` once for all replicas, to update variables that they share.

    Inside, `batch` is a `GlobalBatch`; `batch.total` and `batch.gather` take the tensors, and may stand inside a
    `tf.cond`; a variable is assigned on every replica, with one value.

    Args:
        function: `function(batch, *tensors) -> None`; what depends on the replica must be among its arguments.
        *tensors: of this replica.
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        function(GlobalBatch(tf.identity, tf.identity), *tensors)
        return

    def merged(strategy, *values):
        batch = GlobalBatch(
            lambda value: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None),
            lambda value: gathered(strategy, value),
        )
        function(batch, *values)

    replica.merge_call(merged, args=tensors)


def gathered(strategy: tf.distribute.Strategy, value) -> tf.Tensor:
    """Each replica's `[M, ...]` as `[sum of M, ...]`, in the order of the replicas; outside of them."""
    local = strategy.experimental_local_results(value)[0]
    if local.dtype not in _SENT:
        wide = tf.float32 if local.dtype.is_floating else tf.int32
        value = tf.nest.map_structure(lambda tensor: tf.cast(tensor, wide), value, expand_composites=True)
    # Workers' collectives lose the static shape.
    rows = tf.ensure_shape(strategy.gather(value, axis=0), [None, *local.shape[1:]])
    return tf.cast(rows, local.dtype)


def sum_over_replicas(tensor: tf.Tensor) -> tf.Tensor:
    """The sum of each replica's tensor, on every replica, differentiable; the tensor itself where there is one."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return tensor
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, tensor)
