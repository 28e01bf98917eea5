"""Gumbel noise, the Gumbel-max trick and its softmax relaxation.

    G = -log(-log U),    argmax_k (log pi_k + G_k) ~ Categorical(pi),    y = softmax((log pi + G) / temperature)

Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
Chris J. Maddison, Andriy Mnih, Yee Whye Teh (2017), "The Concrete Distribution", arXiv 1611.00712.
"""

import tensorflow as tf

from tfdiscrete.ops.random import uniform


def gumbel_noise(shape, seed, *, dtype=tf.float32) -> tf.Tensor:
    """Standard Gumbel noise.

    The uniforms lie on a grid of 2^-23, so float32 noise lies in [-2.82, 16.64]: a category whose probability is
    below about 2^-24 relative to the others is never drawn, an error of at most 6e-8 in total variation for each.
    float64 noise lies in [-3.61, 36.8]. Half types are drawn in float32 and rounded at the end.

    Args:
        shape: the shape of the result.
        seed: int32 `[2]`.
        dtype: any floating type.

    Returns:
        A tensor of `shape`.
    """
    dtype = tf.as_dtype(dtype)
    wide = dtype if dtype == tf.float64 else tf.float32
    return tf.cast(-tf.math.log(-tf.math.log(uniform(shape, seed, dtype=wide))), dtype)


def perturb(logits: tf.Tensor, num_samples, seed) -> tf.Tensor:
    """Normalized logits plus Gumbel noise: the arg max of each row is an exact sample.

    Half types are computed in float32 and stay there: rounded noise would tie, and ties go to the first category.

    Args:
        logits: `[..., K]`.
        num_samples: `S`; may be a tensor.
        seed: int32 `[2]`.

    Returns:
        `[S, ..., K]`, float64 for float64 and float32 otherwise.
    """
    wide = logits if logits.dtype == tf.float64 else tf.cast(logits, tf.float32)
    shape = tf.concat([[num_samples], tf.shape(wide)], axis=0)
    perturbed = tf.nn.log_softmax(wide, axis=-1) + gumbel_noise(shape, seed, dtype=wide.dtype)
    return tf.ensure_shape(perturbed, [num_samples if isinstance(num_samples, int) else None, *wide.shape])


def gumbel_max(perturbed: tf.Tensor) -> tf.Tensor:
    """The one-hot arg max of perturbed logits `[..., K]`; no gradient. Ties go to the first.

    `K` must be static.
    """
    return tf.one_hot(tf.argmax(perturbed, axis=-1), perturbed.shape[-1], dtype=perturbed.dtype)


def gumbel_softmax(perturbed: tf.Tensor, temperature) -> tf.Tensor:
    """The logarithm of the relaxed sample, `log softmax(perturbed / temperature)`, `[..., K]`.

    In log space entries that underflow on the simplex stay finite. Half types are computed in float32 and stay
    there, since `perturbed / temperature` overflows float16 for temperatures below about 1e-3.

    Args:
        perturbed: `[..., K]`, logits plus Gumbel noise.
        temperature: a positive scalar; to 0 the sample becomes one-hot.

    Returns:
        `[..., K]`, float64 for float64 and float32 otherwise.
    """
    wide = perturbed if perturbed.dtype == tf.float64 else tf.cast(perturbed, tf.float32)
    return tf.nn.log_softmax(wide / tf.cast(temperature, wide.dtype), axis=-1)
