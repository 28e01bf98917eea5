"""The strategy of the tests: two replicas on the processor."""

import tensorflow as tf


def two_replicas():
    """One of several in a process, whose collective reductions would mistake one another's shapes."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
