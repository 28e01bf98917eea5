"""Kullback-Leibler divergences that several distributions share, and the refusal where there is no closed form.

KL(q || p) = sum_k q_k (log q_k - log p_k)
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.errors import InputError

tfd = tfp.distributions


def categorical_kl(log_q: tf.Tensor, log_p: tf.Tensor) -> tf.Tensor:
    """KL between categorical laws in nats, from normalized log probabilities.

    Args:
        log_q: `[..., K]`; a category of -inf counts as 0.
        log_p: `[..., K]`, broadcast with `log_q`; cast to its dtype.

    Returns:
        `[...]`, in the dtype of `log_q`.
    """
    log_p = tf.cast(log_p, log_q.dtype)
    return tf.reduce_sum(tf.math.multiply_no_nan(log_q - log_p, tf.exp(log_q)), axis=-1)


def refuse_kl(q_class: type, p_class: type, instead: str) -> None:
    """Registers an `InputError` for `tfd.kl_divergence` of two classes whose KL has no closed form.

    Without it TFP raises a `NotImplementedError` that says what is not there, but not what to use.

    Args:
        q_class: a class of `tfd.Distribution`.
        p_class: another, or the same.
        instead: what to compute in its place, a full sentence.
    """

    @tfd.RegisterKL(q_class, p_class)
    def _refuse(q, p, name=None):
        raise InputError(f"KL({type(q).__name__} || {type(p).__name__}) has no closed form. {instead}")
