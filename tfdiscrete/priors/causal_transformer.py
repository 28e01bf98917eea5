"""A causal Transformer: what it makes of a position depends on that position and those before it.

    x <- x + W_o softmax(Q K^T / sqrt(d) + M) V,    M_nm = 0 for m <= n and -inf otherwise,    Q, K, V of norm(x)
    x <- x + W_2 gelu(W_1 norm(x))

Of all positions at once, or of one after another with the keys and values of those before it kept.

Ashish Vaswani and others (2017), "Attention Is All You Need", arXiv 1706.03762.
Ruibin Xiong and others (2020), "On Layer Normalization in the Transformer Architecture", arXiv 2002.04745 (norm first).
"""

import itertools

import keras
import tensorflow as tf

from tfdiscrete.ops import split_seed, uniform


class CausalBlock(keras.layers.Layer):
    """Attention to the positions so far, and a network of each position.

    Args:
        num_heads: of the attention, a divisor of the width.
        dropout: the fraction of what the attention and the network add that is left out in training.
        seed: of the initial weights.
    """

    def __init__(self, num_heads: int, dropout: float, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.num_heads, self.dropout, self.seed = num_heads, dropout, seed

    def build(self, input_shape):
        width = input_shape[-1]
        seeds = itertools.count(self.seed)

        def dense(units, name, activation=None):
            initializer = keras.initializers.GlorotUniform(next(seeds))
            options = {"dtype": self.dtype_policy, "name": name}
            return keras.layers.Dense(units, activation, kernel_initializer=initializer, **options)

        def norm(name):
            return keras.layers.LayerNormalization(dtype=self.dtype_policy, name=name)

        self.attention_norm, self.network_norm = norm("attention_norm"), norm("network_norm")
        self.project_in, self.project_out = dense(3 * width, "project_in"), dense(width, "project_out")
        self.widen, self.narrow = dense(4 * width, "widen", "gelu"), dense(width, "narrow")
        for layer in (self.attention_norm, self.network_norm, self.project_in, self.project_out, self.widen):
            layer.build((*input_shape[:-1], width))
        self.narrow.build((*input_shape[:-1], 4 * width))
        self.built = True

    def _queries_keys_values(self, x) -> list[tf.Tensor]:
        """`[..., W]` to three of `[..., heads, W / heads]`."""
        projected = self.project_in(self.attention_norm(x))
        shape = tf.concat([tf.shape(x)[:-1], [3, self.num_heads, x.shape[-1] // self.num_heads]], axis=0)
        return tf.unstack(tf.reshape(projected, shape), num=3, axis=-3)

    def _add(self, x, attended, seed):
        first, second = (None, None) if seed is None else split_seed(seed, 2)
        attended = tf.reshape(attended, tf.shape(x))
        x += dropped(self.project_out(tf.ensure_shape(attended, x.shape)), self.dropout, first)
        return x + dropped(self.narrow(self.widen(self.network_norm(x))), self.dropout, second)

    def call(self, x, seed=None):
        queries, keys, values = self._queries_keys_values(x)
        scores = tf.einsum("snhd,smhd->shnm", queries * queries.shape[-1] ** -0.5, keys)
        positions = tf.range(x.shape[1])
        weights = masked_softmax(scores, positions <= positions[:, None])
        return self._add(x, tf.einsum("shnm,smhd->snhd", weights, values), seed)

    def empty(self, num_samples, length: int, width: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Keys and values of no position yet, `[N, S, heads, W / heads]` each."""
        shape = [length, num_samples, self.num_heads, width // self.num_heads]
        return tf.zeros(shape, self.compute_dtype), tf.zeros(shape, self.compute_dtype)

    def step(self, x, position, kept):
        """One position `[S, W]`: its result, and the keys and values with its own."""
        queries, keys, values = self._queries_keys_values(x)
        all_keys, all_values = (
            tf.tensor_scatter_nd_update(before, position[None, None], own[None])
            for before, own in zip(kept, (keys, values), strict=True)
        )
        scores = tf.einsum("shd,mshd->shm", queries * queries.shape[-1] ** -0.5, all_keys)
        weights = masked_softmax(scores, tf.range(tf.shape(all_keys)[0]) <= position)
        return self._add(x, tf.einsum("shm,mshd->shd", weights, all_values), None), (all_keys, all_values)


class CausalTransformer(keras.layers.Layer):
    """Blocks and a last normalization.

    Args:
        num_blocks: how many.
        num_heads: of each block's attention, a divisor of the width.
        dropout: in [0, 1), of training.
        seed: of the initial weights.

    Call arguments:
        x: `[S, N, W]`, `N` and `W` static.
        seed: int32 `[2]`, of the dropout; None for none.

    Returns:
        `[S, N, W]`.
    """

    def __init__(self, num_blocks: int, num_heads: int, dropout: float, seed: int, **kwargs):
        super().__init__(**kwargs)
        self.num_blocks = num_blocks
        for i in range(num_blocks):
            block = CausalBlock(num_heads, dropout, 1000 * seed + 10 * i, dtype=self.dtype_policy, name=f"block_{i}")
            setattr(self, f"block_{i}", block)  # TensorFlow checkpoints do not see those in a list.
        self.norm = keras.layers.LayerNormalization(dtype=self.dtype_policy, name="norm")

    @property
    def blocks(self) -> list[CausalBlock]:
        """The blocks in their order."""
        return [getattr(self, f"block_{i}") for i in range(self.num_blocks)]

    def build(self, input_shape):
        for layer in (*self.blocks, self.norm):
            layer.build(input_shape)
        self.built = True

    def call(self, x, seed=None):
        seeds = [None] * self.num_blocks if seed is None else split_seed(seed, self.num_blocks)
        for block, own in zip(self.blocks, seeds, strict=True):
            x = block(x, seed=own)
        return self.norm(x)

    def empty(self, num_samples, length: int, width: int) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """What `step` keeps, of no position yet."""
        return [block.empty(num_samples, length, width) for block in self.blocks]

    def step(self, x, position, kept):
        """One position, after all before it.

        Args:
            x: `[S, W]`.
            position: int32 `[]`.
            kept: what the step before returned, or `empty`.

        Returns:
            Its result, `[S, W]`, and what to keep.
        """
        result = []
        for block, before in zip(self.blocks, kept, strict=True):
            x, after = block.step(x, position, before)
            result.append(after)
        return self.norm(x), result


def masked_softmax(scores: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """The softmax over the last axis where `mask` is, in the precision of the scores."""
    return tf.nn.softmax(tf.where(mask, scores, tf.constant(scores.dtype.min, scores.dtype)), axis=-1)


def dropped(x: tf.Tensor, rate: float, seed) -> tf.Tensor:
    """`x` with a fraction of its entries zero and the others scaled up; as it is without a seed."""
    if seed is None or not rate:
        return x
    return tf.where(uniform(tf.shape(x), seed) < rate, tf.zeros([], x.dtype), x / (1.0 - rate))
