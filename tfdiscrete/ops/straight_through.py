"""Values of one tensor with the gradient of another.

    straight_through(hard, soft) = hard + (soft - stop_gradient(soft))
    STEP(a) = 1 iff a >= 0,    SNAP(u) = e_k, k = argmax_k u_k,    both with the gradient of the identity

and ReinMax, for a one-hot sample D of pi = softmax(logits): with J(p) = diag(p) - p p^T, the Jacobian of the softmax,

    dD / dlogits := 2 J((D + pi) / 2) - J(pi) / 2

Yoshua Bengio, Nicholas Leonard, Aaron Courville (2013), "Estimating or Propagating Gradients Through Stochastic
Neurons", arXiv 1308.3432.
Liyuan Liu, Chengyu Dong, Xiaodong Liu, Bin Yu, Jianfeng Gao (2023), "Bridging Discrete and Backpropagation:
Straight-Through and Beyond", arXiv 2304.08612 (ReinMax).
"""

import tensorflow as tf

from tfdiscrete.ops.gumbel import gumbel_max
from tfdiscrete.ops.logspace import finite_logits
from tfdiscrete.ops.precision import widen


def with_gradient_of(tensor: tf.Tensor) -> tf.Tensor:
    """Zeros whose gradient is that of `tensor`: the carrier of a surrogate gradient. `tensor` must be finite.

    Example:

        with_gradient_of(tf.constant([3.0]))        # [0.0]
    """
    return tensor - tf.stop_gradient(tensor)


def straight_through(hard: tf.Tensor, soft: tf.Tensor) -> tf.Tensor:
    """`hard` forward, exactly, and the gradient of `soft` backward.

    The order of the terms matters: `soft + stop_gradient(hard - soft)` is exact for `soft` in [0, 1] alone, and
    `hard + soft - stop_gradient(soft)` not even there.

    Example:

        probabilities = tf.constant([0.2, 0.7, 0.1])
        straight_through(gumbel_max(probabilities), probabilities)      # [0, 1, 0]

    Args:
        hard: `[...]`, the value.
        soft: `[...]`, finite, of the same shape and dtype.

    Returns:
        `[...]`.
    """
    return tf.stop_gradient(hard) + with_gradient_of(soft)


def step(a: tf.Tensor) -> tf.Tensor:
    """STEP: 1 where `a >= 0` and 0 elsewhere, with the gradient of `a`.

    `step(probability - u)`, `u` uniform on (0, 1), is an exact Bernoulli sample with the probability's gradient.

    Example:

        step(tf.constant([-0.1, 0.0, 2.0]))     # [0, 1, 1]

    Args:
        a: `[...]`, finite.

    Returns:
        `[...]`, in the dtype of `a`.
    """
    return straight_through(tf.cast(a >= 0.0, a.dtype), a)


def snap(u: tf.Tensor) -> tf.Tensor:
    """SNAP: the one-hot arg max of each row, with the gradient of `u`. Ties go to the first.

    Example:

        snap(tf.constant([0.2, 0.7, 0.1]))      # [0, 1, 0]

    Args:
        u: `[..., K]`, finite, `K` static.

    Returns:
        `[..., K]`, in the dtype of `u`.
    """
    return straight_through(gumbel_max(u), u)


def reinmax(logits: tf.Tensor, hard: tf.Tensor, temperature=1.0) -> tf.Tensor:
    """`hard` forward, and the second-order straight-through gradient backward.

    For samples `hard` of `softmax(logits)` and `temperature=1` the expected gradient is exact for every quadratic
    function of one categorical variable, where that of `straight_through(hard, softmax(logits))` is exact for linear
    ones alone. Half types are computed in float32. A gradient of this gradient is not supported.

    Example:

        logits = tf.zeros([4, 10])
        z = reinmax(logits, gumbel_max(perturb(logits, 5, [0, 1])))     # [5, 4, 10]

    Args:
        logits: `[..., K]`; -inf for categories that cannot occur.
        hard: one-hot, `[..., K]`; may have more leading dimensions, of samples.
        temperature: a positive scalar; above 1 it trades bias for less variance.

    Returns:
        The shape and dtype of `hard`.
    """
    wide, sample = finite_logits(widen(logits)), tf.stop_gradient(hard)
    temperature = tf.cast(tf.convert_to_tensor(temperature, dtype_hint=wide.dtype), wide.dtype)
    pi = tf.stop_gradient(tf.nn.softmax(wide, axis=-1))
    tempered = tf.stop_gradient(tf.nn.softmax(wide / temperature, axis=-1))
    halfway = (tf.cast(sample, wide.dtype) + tempered) / 2.0
    surrogate = 2.0 * _softmax_tangent(wide, halfway) - _softmax_tangent(wide, pi) / 2.0
    return straight_through(sample, tf.cast(surrogate, sample.dtype))


def _softmax_tangent(logits: tf.Tensor, p: tf.Tensor) -> tf.Tensor:
    """A tensor whose gradient is that of a softmax which has the value `p`, a constant, at `logits`."""
    return p * (logits - tf.reduce_sum(p * logits, axis=-1, keepdims=True))
