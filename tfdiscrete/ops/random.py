"""The bridge between a counter and random numbers: every seed and every uniform of the package is made here.

Floating-point draws differ between eager execution and XLA for one seed, and XLA's default generator on CPU is
about thirty times slower than Philox; full-range integer bits agree everywhere. So uniforms are made from Philox
bits: the top 23 of 32 (52 of 64 for float64), as u = (bits + 1/2) 2^-23. They are the same in eager mode, in
`tf.function` and under XLA, and never 0 or 1.

John K. Salmon and others (2011), "Parallel random numbers: as easy as 1, 2, 3", SC 11 (Philox).
"""

import secrets
import zlib

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

    Of an int64 `data` the low 32 bits count. TensorFlow's own `stateless_fold_in` gives another seed under XLA than
    elsewhere where `seed` holds a negative number, as half of all made seeds do; Philox, asked for by name, does not.
    """
    return tf.stack([_integers([1], seed)[0], tf.cast(data, tf.int32)])


def split_seed(seed, count: int) -> list[tf.Tensor]:
    """`count` independent seeds, each int32 `[2]`; the same in every execution mode."""
    return tf.unstack(_integers([count, 2], seed))


def _integers(shape, seed) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox")


def seed_of(base: int, purpose: str = "") -> tf.Tensor:
    """A seed from a Python integer; another one for each purpose, such as "evaluate".

    Args:
        base: 0 to 2^62 - 1.
        purpose: any text; draws for different purposes are independent.

    Returns:
        int32 `[2]`.
    """
    seed = tf.constant([base & 0x7FFFFFFF, base >> 31], tf.int32)
    return fold_in(seed, zlib.crc32(purpose.encode()) & 0x7FFFFFFF) if purpose else seed


def random_base() -> int:
    """A base for `seed_of` drawn from the operating system."""
    return secrets.randbits(31)


def step_seed(base: int, counter, purpose: str = "") -> tf.Tensor:
    """The seed of one step: a base, a purpose, a counter and, under a strategy, the replica, folded into one.

    Replicas of one `tf.distribute` step share the others and still draw different noise.

    Args:
        base: 0 to 2^62 - 1.
        counter: int64 `[]`, the number of steps so far.
        purpose: as for `seed_of`.

    Returns:
        int32 `[2]`.
    """
    seed = fold_in(seed_of(base, purpose), counter)
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    return fold_in(seed, replica.replica_id_in_sync_group)
