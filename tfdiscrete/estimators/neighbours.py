"""The codes that differ from a given one in a single variable, and the table of their costs.

neighbours of y: y with y_n = e_k, for every variable n and category k; for k = k_n it is y itself
"""

import tensorflow as tf


def other_categories(y: tf.Tensor) -> tf.Tensor:
    """The categories that each variable does not have, in order: one-hot `[..., N, K]` to int32 `[K - 1, ..., N]`."""
    chosen = tf.argmax(y, axis=-1, output_type=tf.int32)
    position = tf.reshape(tf.range(y.shape[-1] - 1), [-1, *[1] * chosen.shape.rank])
    # Positions from the chosen category on are those of the next ones.
    return position + tf.cast(position >= chosen, tf.int32)


def other_codes(y: tf.Tensor) -> tf.Tensor:
    """The `N (K - 1)` codes that differ from each `y` in exactly one variable.

    Args:
        y: one-hot, `[S, *batch, N, K]`, `N` and `K` static.

    Returns:
        `[N (K - 1) S, *batch, N, K]`: of the parts of the first axis, the variable changes slowest, then come the
        categories that it does not have, in order.
    """
    latents, categories = y.shape[-2:]
    batch_rank = y.shape.rank - 2
    rows = tf.one_hot(other_categories(y), categories, dtype=y.dtype)
    changed = tf.reshape(tf.eye(latents, dtype=tf.int32) == 1, [latents, *[1] * (batch_rank + 1), latents, 1])
    codes = tf.where(changed, rows, y)
    count = None if y.shape[0] is None else latents * (categories - 1) * y.shape[0]
    codes = tf.reshape(codes, tf.concat([[-1], tf.shape(y)[1:]], axis=0))
    return tf.ensure_shape(codes, [count, *y.shape[1:]])


def join_own(costs: tf.Tensor, own: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """The table of the costs of `other_codes(y)` with that of `y` itself in the places of its own categories.

    Args:
        costs: of `other_codes(y)`, `[N (K - 1) S, *batch]`.
        own: of `y`, `[S, *batch]`.
        y: one-hot, `[S, *batch, N, K]`.

    Returns:
        `[S, *batch, N, K]`: entry `(n, k)` is the cost with variable `n` set to category `k`.
    """
    latents, categories = y.shape[-2:]
    costs = tf.reshape(costs, tf.concat([[latents, categories - 1], tf.shape(own)], axis=0))
    costs = tf.transpose(costs, [*range(2, 2 + own.shape.rank), 0, 1])
    gap = tf.zeros_like(costs[..., :1])
    chosen, k = tf.argmax(y, axis=-1, output_type=tf.int32)[..., tf.newaxis], tf.range(categories)
    # Behind the own category each cost moves one place up.
    up_to, behind = tf.concat([costs, gap], axis=-1), tf.concat([gap, costs], axis=-1)
    table = tf.where(k < chosen, up_to, tf.where(k > chosen, behind, own[..., tf.newaxis, tf.newaxis]))
    return tf.ensure_shape(table, y.shape)
