"""Gumbel noise, the Gumbel-max trick and its softmax relaxation.

    G = -log(-log U),    argmax_k (log pi_k + G_k) ~ Categorical(pi),    y = softmax((log pi + G) / temperature)

and the noise that led to a given arg max k (the posterior Gumbels): the maximum T is a standard Gumbel, whatever k is,
and the others are Gumbels truncated below it, with E_i standard exponentials,

    log pi_k + G_k = T = -log E_k,    log pi_i + G_i = -log(E_i / pi_i + E_k),  i != k

Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
Chris J. Maddison, Andriy Mnih, Yee Whye Teh (2017), "The Concrete Distribution", arXiv 1611.00712.
Chris J. Maddison, Daniel Tarlow, Tom Minka (2014), "A* Sampling", arXiv 1411.0030 (truncated Gumbels).
"""

import numpy as np
import tensorflow as tf

from tfdiscrete.ops.precision import wide_dtype, widen
from tfdiscrete.ops.random import uniform


def gumbel_noise(shape, seed, *, dtype=tf.float32) -> tf.Tensor:
    """Standard Gumbel noise.

    The uniforms lie on a grid of 2^-23, so float32 noise lies in [-2.82, 16.64]: a category whose probability is
    below about 2^-24 relative to the others is never drawn, an error of at most 6e-8 in total variation for each.
    float64 noise lies in [-3.61, 36.8]. Half types are drawn in float32 and rounded at the end.

    Example:

        gumbel_noise([2, 3], [0, 1])        # [2, 3]

    Args:
        shape: the shape of the result.
        seed: int32 `[2]`.
        dtype: any floating type.

    Returns:
        A tensor of `shape`.
    """
    return tf.cast(-tf.math.log(-tf.math.log(uniform(shape, seed, dtype=wide_dtype(dtype)))), dtype)


def perturb(logits: tf.Tensor, num_samples, seed) -> tf.Tensor:
    """Normalized logits plus Gumbel noise: the arg max of each row is an exact sample.

    Half types are computed in float32 and stay there: rounded noise would tie, and ties go to the first category.

    Example:

        perturb(tf.zeros([4, 10]), 5, [0, 1]).shape     # [5, 4, 10]

    Args:
        logits: `[..., K]`.
        num_samples: `S`; may be a tensor.
        seed: int32 `[2]`.

    Returns:
        `[S, ..., K]`, float64 for float64 and float32 otherwise.
    """
    wide = widen(logits)
    shape = tf.concat([[num_samples], tf.shape(wide)], axis=0)
    perturbed = tf.nn.log_softmax(wide, axis=-1) + gumbel_noise(shape, seed, dtype=wide.dtype)
    return tf.ensure_shape(perturbed, [num_samples if isinstance(num_samples, int) else None, *wide.shape])


def gumbel_max(perturbed: tf.Tensor) -> tf.Tensor:
    """The one-hot arg max of perturbed logits `[..., K]`; no gradient. Ties go to the first.

    `K` must be static.

    Example:

        gumbel_max(tf.constant([[0.1, 2.0, 0.3]]))      # [[0, 1, 0]]
    """
    return tf.one_hot(tf.argmax(perturbed, axis=-1), perturbed.shape[-1], dtype=perturbed.dtype)


def posterior_gumbels(logits: tf.Tensor, one_hot: tf.Tensor, seed) -> tf.Tensor:
    """Perturbed logits given their arg max: a draw from the law of `perturb`, conditioned on `gumbel_max` of it.

    The arg max of the result is exactly that of `one_hot`. For any finite logits the result is finite, and it is
    differentiable in them at fixed noise; the maximum itself does not depend on them. For `one_hot` drawn from the
    logits' own law the result has the law of `perturb`.

    Example:

        logits = tf.zeros([4, 10])
        hard = gumbel_max(perturb(logits, 5, [0, 1]))               # [5, 4, 10]
        relaxed = gumbel_softmax(posterior_gumbels(logits, hard, [2, 3]), temperature=0.5)

    Args:
        logits: `[..., K]`, finite.
        one_hot: `[S..., ..., K]`, whose trailing dimensions are those of `logits`; no gradient passes through it.
        seed: int32 `[2]`, another one than of the noise that chose `one_hot`.

    Returns:
        The shape of `one_hot`, float64 for float64 logits and float32 otherwise.
    """
    log_pi = tf.nn.log_softmax(widen(logits), axis=-1)
    noise = gumbel_noise(tf.shape(one_hot), seed, dtype=log_pi.dtype)
    chosen = tf.cast(one_hot, tf.bool)
    top = tf.reduce_sum(tf.where(chosen, noise, 0.0), axis=-1, keepdims=True)
    # -log(exp(-a) + exp(-top)) for a = log_pi + noise, kept apart from the maximum, to which it rounds for large a
    below = top - tf.nn.softplus(top - (log_pi + noise))
    limit = top - np.finfo(log_pi.dtype.as_numpy_dtype).eps * tf.maximum(tf.abs(top), 1.0)
    return tf.ensure_shape(tf.where(chosen, top, tf.minimum(below, limit)), one_hot.shape)


def gumbel_softmax(perturbed: tf.Tensor, temperature) -> tf.Tensor:
    """The logarithm of the relaxed sample, `log softmax(perturbed / temperature)`, `[..., K]`.

    In log space entries that underflow on the simplex stay finite. Half types are computed in float32 and stay
    there, since `perturbed / temperature` overflows float16 for temperatures below about 1e-3.

    Example:

        log_y = gumbel_softmax(perturb(tf.zeros([4, 10]), 5, [0, 1]), temperature=0.5)      # [5, 4, 10]

    Args:
        perturbed: `[..., K]`, logits plus Gumbel noise.
        temperature: a positive scalar; to 0 the sample becomes one-hot.

    Returns:
        `[..., K]`, float64 for float64 and float32 otherwise.
    """
    wide = widen(perturbed)
    return tf.nn.log_softmax(wide / tf.cast(temperature, wide.dtype), axis=-1)


def relaxed_one_hot(perturbed: tf.Tensor, temperature) -> tf.Tensor:
    """The relaxed sample itself, `softmax(perturbed / temperature)`; entries far below the largest underflow to 0.

    Example:

        y = relaxed_one_hot(perturb(tf.zeros([4, 10]), 5, [0, 1]), temperature=0.5)     # [5, 4, 10]

    Args:
        perturbed: `[..., K]`, logits plus Gumbel noise. Half types are computed in float32 and stay there.
        temperature: a positive scalar; to 0 the sample becomes one-hot.

    Returns:
        `[..., K]`, float64 for float64 and float32 otherwise.
    """
    wide = widen(perturbed)
    # A product, of which the temperature's gradient is left out where nobody asks for it.
    scaled = wide * (1.0 / tf.cast(temperature, wide.dtype))
    if tf.executing_eagerly():
        return tf.nn.softmax(scaled, axis=-1)
    # In graphs and under XLA faster than the operation, which is made for long rows.
    exponentials = tf.exp(scaled - tf.stop_gradient(tf.reduce_max(scaled, axis=-1, keepdims=True)))
    return exponentials * tf.math.reciprocal(tf.reduce_sum(exponentials, axis=-1, keepdims=True))
