"""The bridge between a counter and random numbers: every seed and every uniform of the package is made here.

Floating-point draws differ between eager execution and XLA for one seed, and XLA's default generator on CPU is
about thirty times slower than Philox; full-range integer bits agree everywhere. So uniforms are made from Philox
bits: the top 23 of 32 (52 of 64 for float64), as u = (bits + 1/2) 2^-23. They are the same in eager mode, in
`tf.function` and under XLA, and never 0 or 1.

John K. Salmon and others (2011), "Parallel random numbers: as easy as 1, 2, 3", SC 11 (Philox).
"""

import tensorflow as tf

from tfdiscrete.errors import InputError

# dtype -> (integer type, bits dropped, grid spacing)
_GRIDS = {
    tf.float32: (tf.uint32, 9, 2.0**-23),
    tf.float64: (tf.uint64, 12, 2.0**-52),
}


def uniform(shape, seed, *, dtype=tf.float32) -> tf.Tensor:
    """Uniform numbers in the open interval (0, 1).

    Args:
        shape: the shape of the result, static or a tensor.
        seed: int32 `[2]`; the same seed gives the same numbers in every execution mode.
        dtype: float32 or float64.

    Returns:
        A tensor of `shape` in `[2^-24, 1 - 2^-24]` (float64: `2^-53`).

    Raises:
        InputError: for another dtype; half types cannot hold numbers that close to 1.
    """
    dtype = tf.as_dtype(dtype)
    if dtype not in _GRIDS:
        raise InputError(f"uniform dtype must be float32 or float64. Received: dtype={dtype.name!r}.")
    integer, dropped, spacing = _GRIDS[dtype]
    bits = tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=integer, alg="philox")
    kept = tf.bitwise.right_shift(bits, tf.constant(dropped, integer))
    return (tf.cast(kept, dtype) + 0.5) * tf.constant(spacing, dtype)


def fold_in(seed, data) -> tf.Tensor:
    """A new seed, int32 `[2]`, from a seed and an integer; the same in every execution mode.

    Of an int64 `data` the low 32 bits count.
    """
    # TensorFlow gives the new seed the dtype of `data`, and TFP takes int32 only.
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(data, tf.int32))


def split_seed(seed, count: int) -> list[tf.Tensor]:
    """`count` independent seeds, each int32 `[2]`."""
    return tf.unstack(tf.random.split(seed, count))


def step_seed(base: int, counter) -> tf.Tensor:
    """The seed of one step: `base`, a counter and, under a strategy, the replica, folded into one.

    Replicas of one `tf.distribute` step share `base` and `counter` and still draw different noise.

    Args:
        base: a Python integer of up to 63 bits.
        counter: int64 `[]`, the number of steps so far.

    Returns:
        int32 `[2]`.
    """
    low, high = base & 0x7FFFFFFF, (base >> 31) & 0x7FFFFFFF
    seed = fold_in(tf.constant([low, high], tf.int32), tf.cast(counter, tf.int64))
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    return fold_in(seed, tf.cast(replica.replica_id_in_sync_group, tf.int64))
