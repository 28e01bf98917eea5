"""The bridge between a counter and random numbers: every seed and every uniform of the package is made here.

Floating-point draws differ between eager execution and XLA for one seed, and XLA's default generator on CPU is
about thirty times slower than Philox; full-range integer bits agree everywhere. So uniforms are made from Philox
bits: the top 23 of 32 (52 of 64 for float64), as u = (bits + 1/2) 2^-23. They are the same in eager mode, in
`tf.function` and under XLA, and never 0 or 1.

John K. Salmon and others (2011), "Parallel random numbers: as easy as 1, 2, 3", SC 11 (Philox).
"""

import functools
import secrets
import zlib

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError

# dtype -> (integer type, bits dropped, bits of 1.0, half the grid's spacing)
_GRIDS = {
    tf.float32: (tf.uint32, 9, 0x3F800000, 2.0**-24),
    tf.float64: (tf.uint64, 12, 0x3FF0000000000000, 2.0**-53),
}
# TensorFlow's number of the algorithm, and the key under which it makes the stream's key from a seed.
_PHILOX, _KEY = 1, np.array([0x02461E293EC8F720], np.uint64)
_SECOND = np.array([0, 2**64 - 1], np.uint64)


def uniform(shape, seed, *, dtype=tf.float32) -> tf.Tensor:
    """Uniform numbers in the open interval (0, 1).

    Example:

        uniform([2, 3], [0, 1])        # [2, 3], equal in every execution mode

    Args:
        shape: the shape of the result, static or a tensor.
        seed: int32 `[2]`; the same seed gives the same numbers in every execution mode.
        dtype: float32 or float64.

    Returns:
        A tensor of `shape` in `[2^-24, 1 - 2^-24]` (float64: `2^-53`).

    Raises:
        InputError: for a seed that is not two integers, or another dtype; half types cannot hold numbers that close
            to 1.
    """
    dtype = tf.as_dtype(dtype)
    if dtype not in _GRIDS:
        raise InputError(f"uniform dtype must be float32 or float64. Received: dtype={dtype.name!r}.")
    integer, dropped, one, half = _GRIDS[dtype]
    kept = tf.bitwise.right_shift(_bits(shape, seed, integer), tf.constant(dropped, integer))
    # As the mantissa of a number in [1, 2); both steps are exact.
    return tf.bitcast(tf.bitwise.bitwise_or(kept, tf.constant(one, integer)), dtype) - tf.constant(1.0 - half, dtype)


def _bits(shape, seed, dtype) -> tf.Tensor:
    """Integers with all bits random, those of `tf.random.stateless_uniform(alg="philox")`, in fewer operations."""
    draw = tf.raw_ops.StatelessRandomUniformFullIntV2
    mixed = draw(shape=[2], key=_KEY, counter=tf.cast(_checked(seed), tf.uint64), alg=_PHILOX, dtype=tf.uint64)
    key, counter = mixed[:1], mixed & _SECOND
    static = tf.get_static_value(shape) if dtype == tf.uint32 else None
    if static is None or np.prod(static) % 2:
        return draw(shape=shape, key=key, counter=counter, alg=_PHILOX, dtype=dtype)
    # The same bits as pairs, of which XLA makes faster code.
    pairs = draw(shape=[int(np.prod(static)) // 2], key=key, counter=counter, alg=_PHILOX, dtype=tf.uint64)
    return tf.reshape(tf.bitcast(pairs, tf.uint32), static)


def _checked(seed) -> tf.Tensor:
    """The seed as a tensor; raises `InputError` for what is none."""
    try:
        tensor = None if seed is None else tf.convert_to_tensor(seed)
    except (TypeError, ValueError):
        tensor = None
    if tensor is None or not tensor.dtype.is_integer or not tensor.shape.is_compatible_with([2]):
        received = repr(seed) if tensor is None else f"{tensor.dtype.name} of shape {tensor.shape}"
        raise InputError(
            f"a seed must be two integers, int32 [2], such as [0, 1] or ops.seed_of(0). Received: {received}."
        )
    return tensor


def normal(shape, seed, *, dtype=tf.float32) -> tf.Tensor:
    """Standard normal numbers, the inverse normal cdf of `uniform`: in float32 within [-5.4, 5.4], in float64 8.2.

    Example:

        normal([2, 3], [0, 1])      # [2, 3]

    Arguments, errors and result as for `uniform`.
    """
    return tf.math.ndtri(uniform(shape, seed, dtype=dtype))


def fold_in(seed, data) -> tf.Tensor:
    """A new seed, int32 `[2]`, from a seed and an integer; the same in every execution mode.

    Of an int64 `data` the low 32 bits count. TensorFlow's own `stateless_fold_in` gives another seed under XLA than
    elsewhere where `seed` holds a negative number, as half of all made seeds do; Philox, asked for by name, does not.

    Example:

        fold_in([0, 1], 17)     # int32 [2]
    """
    return tf.stack([_bits([1], seed, tf.int32)[0], tf.cast(data, tf.int32)])


def split_seed(seed, count: int) -> list[tf.Tensor]:
    """`count` independent seeds, each int32 `[2]`; the same in every execution mode.

    Example:

        first, second = split_seed([0, 1], 2)
    """
    return tf.unstack(_bits([count, 2], seed, tf.int32))


def seed_of(base: int, purpose: str = "") -> tf.Tensor:
    """A seed from a Python integer; another one for each purpose, such as "evaluate".

    Example:

        seed_of(2026, "evaluate")       # int32 [2]

    Args:
        base: 0 to 2^62 - 1.
        purpose: any text; draws for different purposes are independent.

    Returns:
        int32 `[2]`.
    """
    return tf.constant(_numbers_of(base, purpose), tf.int32)


@functools.cache
def _numbers_of(base: int, purpose: str) -> tuple[int, int]:
    seed = (base & 0x7FFFFFFF, base >> 31)
    if not purpose:
        return seed
    # Outside of any graph under construction: the result is a constant of it.
    with tf.init_scope():
        first, second = fold_in(tf.constant(seed, tf.int32), zlib.crc32(purpose.encode()) & 0x7FFFFFFF).numpy()
    return int(first), int(second)


def random_base() -> int:
    """A base for `seed_of` drawn from the operating system."""
    return secrets.randbits(31)


def step_seed(base: int, counter, purpose: str = "") -> tf.Tensor:
    """The seed of one step: a base, a purpose, a counter and, under a strategy, the replica, folded into one.

    Replicas of one `tf.distribute` step share the others and still draw different noise.

    Example:

        step_seed(2026, tf.constant(17, tf.int64))      # int32 [2], another one on each replica

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
