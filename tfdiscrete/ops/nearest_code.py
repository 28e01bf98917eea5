"""The nearest code of each row, and the statistics of the rows of each code.

    argmin_k |x - c_k|^2 = argmax_k (x - m) . (c_k - m) - |c_k - m|^2 / 2    for any m; here the mean code

The last term is one more column of the matrix product, against a one. So nothing of the size rows x codes x D is made,
and rows are taken in chunks, so that at most 128 MiB of scores exist at a time (8 MiB under XLA, where the best code
is then found in the cache).
"""

from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.errors import check_name
from tfdiscrete.ops.precision import widen
from tfdiscrete.ops.sizes import sizes

METRICS = ("euclidean", "cosine")
_MOST_SCORES, _MOST_SCORES_XLA = 2**25, 2**21

try:  # Only speed depends on it.
    from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext as _in_xla
except ImportError:  # pragma: no cover

    def _in_xla(graph) -> bool:
        return False


class CodeStatistics(NamedTuple):
    """What the rows assigned to each code add up to."""

    counts: tf.Tensor
    """`[K]`, the number of rows of each code, in the rows' dtype."""
    sums: tf.Tensor
    """`[K, D]`, their sums."""


def nearest_code(x, codebook, *, metric: str = "euclidean", most_scores: int | None = None) -> tf.Tensor:
    """The index of the code nearest to each row.

    Computed in float32, or in float64 where an input has it. Rounding may choose the second nearest of two codes whose
    distances agree to about seven digits, on GPUs about three, unless TensorFloat-32 is switched off
    (`tf.config.experimental.enable_tensor_float_32_execution(False)`). Among equal scores the first code wins. A row
    with a NaN or infinite value has no nearest code: some index in `[0, K)` is returned.

    Example:

        nearest_code([[0.9, 0.1]], [[0.0, 1.0], [1.0, 0.0]])  # [1]

    Args:
        x: `[..., D]`; leading dimensions may be unknown, or 0.
        codebook: `[K, D]`, `K >= 1`, finite.
        metric: "euclidean", or "cosine", the largest cosine of the angle; a code of zeros has the cosine 0.
        most_scores: how many row-code scores may exist at a time; None: as above.

    Returns:
        int32 `[...]`, in `[0, K)`. It has no gradient.

    Raises:
        InputError: for an unknown metric.
    """
    check_name("metric", metric, METRICS)
    x, codebook = (
        tf.stop_gradient(widen(tf.convert_to_tensor(x))),
        tf.stop_gradient(widen(tf.convert_to_tensor(codebook))),
    )
    if x.dtype != codebook.dtype:
        x, codebook = tf.cast(x, tf.float64), tf.cast(codebook, tf.float64)
    rows = tf.reshape(x, [-1, codebook.shape[-1]])
    if metric == "euclidean":
        center = tf.reduce_mean(codebook, axis=0)
        rows, codes = rows - center, codebook - center
        rows = tf.pad(rows, [[0, 0], [0, 1]], constant_values=1.0)
        codes = tf.concat([codes, -0.5 * tf.reduce_sum(codes * codes, axis=-1, keepdims=True)], axis=-1)
    else:
        codes = unit_rows(codebook)
    xla = _in_xla(tf.compat.v1.get_default_graph())
    best = _best_by_comparison if xla else _best_by_argmax
    index = _in_chunks(best, rows, codes, most_scores or (_MOST_SCORES_XLA if xla else _MOST_SCORES))
    return tf.reshape(index, tf.shape(x)[:-1] if x.shape.rank is None else sizes(x)[:-1])


def _best_by_argmax(rows, codes) -> tf.Tensor:
    return tf.argmax(tf.matmul(rows, codes, transpose_b=True), axis=-1, output_type=tf.int32)


def _best_by_comparison(rows, codes) -> tf.Tensor:
    """The first code whose score is the largest: half the time of argmax, which XLA does not vectorise on a CPU."""
    scores, num_codes = tf.matmul(rows, codes, transpose_b=True), codes.shape[0]
    largest = tf.reduce_max(scores, axis=-1, keepdims=True)
    places = tf.where(scores >= largest, tf.range(num_codes, dtype=scores.dtype), float(num_codes))
    # All comparisons with NaN are false.
    return tf.minimum(tf.cast(tf.reduce_min(places, axis=-1), tf.int32), num_codes - 1)


def _in_chunks(best, rows, codes, most_scores: int) -> tf.Tensor:
    """`best` of as many rows at a time as `most_scores` allows."""
    if rows.shape[0] is not None and rows.shape[0] * codes.shape[0] <= most_scores:
        return best(rows, codes)
    count, most_rows = tf.shape(rows)[0], max(1, most_scores // codes.shape[0])
    # Static, or else LiteRT has no loop for it; an eighth, so that little is computed of the padding.
    length = max(1, most_rows // 8)

    def chunked():
        # -(-count // length) would be rounded towards zero in ONNX.
        chunks = (count + length - 1) // length
        padded = tf.pad(rows, [[0, chunks * length - count], [0, 0]])
        stacked = tf.reshape(padded, [chunks, length, rows.shape[1]])
        # One chunk at a time: a graph would else have ten of them alive.
        index = tf.map_fn(
            lambda chunk: best(chunk, codes),
            stacked,
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec([length], tf.int32),
        )
        return tf.reshape(index, [-1])[:count]

    return tf.cond(count <= most_rows, lambda: best(rows, codes), chunked)


def gather_codes(codebook: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """The codes `[..., D]` of an index int32 `[...]`, with a dense gradient to the codebook `[K, D]`.

    That of `tf.gather` is sparse, which gradient clipping and many a training loop do not expect.
    """

    @tf.custom_gradient
    def gathered(codebook):
        def backward(upstream):
            return tf.math.unsorted_segment_sum(upstream, index, codebook.shape[0])

        return tf.gather(codebook, index), backward

    return gathered(codebook)


def unit_rows(x: tf.Tensor) -> tf.Tensor:
    """`[..., D]` with each row scaled to length 1, and a row of zeros left at zero; its gradient is finite there."""
    square = tf.reduce_sum(x * x, axis=-1, keepdims=True)
    return x * tf.math.rsqrt(tf.maximum(square, 1e-24))


def code_statistics(rows: tf.Tensor, index: tf.Tensor, num_codes: int) -> CodeStatistics:
    """Counts and sums of the rows of each code, by segment sums: faster than a product with one-hot rows.

    Args:
        rows: `[M, D]`, float. Rows of a negative index are left out, whatever they hold.
        index: int32 `[M]`, below `num_codes`.
        num_codes: `K`.

    Returns:
        `CodeStatistics`, exact counts up to 2^24 of float32.
    """
    return CodeStatistics(
        tf.math.unsorted_segment_sum(tf.ones_like(rows[:, 0]), index, num_codes),
        tf.math.unsorted_segment_sum(rows, index, num_codes),
    )
