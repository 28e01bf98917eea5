"""Sampling without replacement: the k largest of the perturbed logits, in their order.

The categories i_1, ..., i_k of the k largest log pi_i + G_i follow the Plackett-Luce law,

    p(i_1, ..., i_k) = prod_j pi_{i_j} / (1 - sum_{l < j} pi_{i_l})

Wouter Kool, Herke van Hoof, Max Welling (2019), "Stochastic Beams and Where to Find Them: The Gumbel-Top-k Trick for
Sampling Sequences Without Replacement", arXiv 1903.06059.
"""

from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.ops.precision import widen


class OrderedSample(NamedTuple):
    """`k` different categories in the order of their draws."""

    index: tf.Tensor  # int32 [..., k]
    perturbed: tf.Tensor  # [..., k], falling; the gradient passes to the perturbed logits


def gumbel_top_k(perturbed: tf.Tensor, k: int) -> OrderedSample:
    """The `k` largest perturbed logits of each row: an ordered sample without replacement.

    Example:

        sample = gumbel_top_k(perturb(tf.zeros([4, 10]), 1, [0, 1])[0], 3)
        sample.index.shape                                              # [4, 3]
        plackett_luce_log_prob(tf.zeros([4, 10]), sample.index).shape   # [4]

    Args:
        perturbed: `[..., K]`, logits plus Gumbel noise, as of `perturb`; `K` static.
        k: how many to draw, from 1 to `K`.

    Returns:
        `OrderedSample`, the first draw first. Ties go to the lower index.

    Raises:
        InputError: for `k` that is not an integer from 1 to `K`, or a `K` that is not static.
    """
    _check_draws(perturbed.shape, k)
    values, index = tf.math.top_k(perturbed, k)
    return OrderedSample(tf.cast(index, tf.int32), values)


def plackett_luce_log_prob(logits: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    """The log probability of an ordered sample without replacement.

    Each draw is normalized over what is left, summed in log space, so that it stays exact where the first draws hold
    nearly all of the mass. Half types are computed in float32.

    Example:

        plackett_luce_log_prob(tf.zeros([3]), tf.constant([2, 0]))      # log(1/3 * 1/2)

    Args:
        logits: `[..., K]`, finite, not necessarily normalized; `K` static.
        index: integer `[..., k]`, in `[0, K)`, `k` static; the leading dimensions are those of `logits`.

    Returns:
        `[...]`, float64 for float64 logits and float32 otherwise; -inf where a category comes twice.

    Raises:
        InputError: for more draws than categories, or a `k` or `K` that is not static.
    """
    wide, index = widen(logits), tf.convert_to_tensor(index)
    categories, k = wide.shape[-1], index.shape[-1]
    _check_draws(wide.shape, k)
    drawn = tf.gather(wide, index, axis=-1, batch_dims=index.shape.rank - 1)
    times, impossible = _times_drawn(index, categories), tf.constant(-float("inf"), wide.dtype)
    mass = drawn
    if k < categories:
        never = tf.reduce_logsumexp(tf.where(times > 0, impossible, wide), axis=-1, keepdims=True)
        mass = tf.concat([drawn, never], axis=-1)
    left = tf.math.cumulative_logsumexp(mass, axis=-1, reverse=True)[..., :k]
    log_prob = tf.reduce_sum(drawn - left, axis=-1)
    return tf.where(tf.reduce_any(times > 1, axis=-1), impossible, log_prob)


def _times_drawn(index: tf.Tensor, categories: int) -> tf.Tensor:
    """How often each category is among those drawn, int32 `[..., k]` to `[..., K]`."""
    rows = tf.reshape(tf.cast(index, tf.int32), [-1, index.shape[-1]])
    count = tf.shape(rows)[0]
    segments = rows + categories * tf.range(count)[:, tf.newaxis]
    times = tf.math.unsorted_segment_sum(tf.ones_like(segments), segments, count * categories)
    return tf.reshape(times, tf.concat([tf.shape(index)[:-1], [categories]], axis=0))


def _check_draws(shape: tf.TensorShape, k) -> None:
    if shape.rank is None or shape.rank < 1 or not shape[-1]:
        raise InputError(f"logits must have shape [..., K] with K >= 1 static. Received: shape {shape}.")
    if check_count("k", k) > shape[-1]:
        raise InputError(f"k must be at most the number of categories, {shape[-1]}. Received: k={k}.")
