"""All codes of enumerable latent variables, by their numbers."""

import math

import tensorflow as tf

from tfdiscrete.distributions import is_family
from tfdiscrete.errors import InputError


def count_codes(q, max_codes: int) -> int:
    """`K^N`, of a `Family`; raises `InputError` for another law, or where it is more than `max_codes`."""
    if not is_family(q):
        raise InputError(
            "the codes of categorical variables can be enumerated; of others, bound log p(x) by samples, as "
            f"`discrete_bounds` and `prior_sampling_bound` do. Received: {q!r}."
        )
    latents, categories = q.logits_shape[-2:]
    count = categories**latents
    if count > max_codes:
        raise InputError(
            f"{latents} latent variables of {categories} categories have {categories}^{latents} = "
            f"10^{latents * math.log10(categories):.1f} codes, more than max_codes={max_codes}. Bound log p(x) by "
            "samples instead, as `discrete_bounds` and `prior_sampling_bound` do, or take fewer variables."
        )
    return count


def codes_at(q, numbers: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """The codes of these numbers for each example, decoded: integers `[M]` to z `[M, B, *event]`.

    A number's digits to the base `K`, the first variable's being the highest, are the categories.
    """
    latents, categories = q.logits_shape[-2:]
    powers = tf.constant([categories**n for n in reversed(range(latents))], tf.int32)
    digits = numbers[:, tf.newaxis] // powers % categories
    one_hot = tf.one_hot(digits, categories, dtype=dtype)[:, tf.newaxis]
    shape = tf.concat([tf.shape(numbers), tf.shape(q.logits)], axis=0)
    return q.decode(tf.ensure_shape(tf.broadcast_to(one_hot, shape), [numbers.shape[0], *q.logits_shape]))
