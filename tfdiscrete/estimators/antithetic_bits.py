"""What ARM and DisARM share: a categorical variable as bits, drawn twice from one noise and its mirror image.

By stick breaking category k is the first of K - 1 independent bits that is 1, and the last one if none is:

    P(b_i = 1) = sigmoid(a_i),    a_i = log p_i - log sum_{j > i} p_j
    b_i = 1[u_i > sigmoid(-a_i)],    b~_i = 1[u_i < sigmoid(a_i)],    u_i uniform on (0, 1)

Two categories are one bit, whose logit is the difference of theirs. Both codes z(b) and z(b~) have the law q, and for
both estimators

    grad E_q[f(z)] = E[sum_i (f(z(b)) - f(z(b~))) w_i grad a_i],    w_i odd under u_i -> 1 - u_i

Once a variable's code has its first 1, later bits do not change it. So the weight of a bit that follows the first 1 of
both codes is set to 0: given the noise of all other bits the difference of the costs is one number, whatever u_i is,
and w_i has mean 0, so the term has expectation 0; and whether it is set to 0 depends on the bits before it alone.

Zhe Dong, Andriy Mnih, George Tucker (2021), "Coupled Gradient Estimators for Discrete Latent Variables",
arXiv 2106.08056 (categorical variables by stick breaking).
"""

import abc

import tensorflow as tf

from tfdiscrete.estimators.base import Estimate, Estimator
from tfdiscrete.ops import gumbel_max, uniform, with_gradient_of
from tfdiscrete.ops.precision import widen


def stick_breaking_logits(logits: tf.Tensor) -> tf.Tensor:
    """The logits of the bits: `a_i = logits_i - logsumexp_{j > i} logits_j`, `[..., K]` to `[..., K-1]`.

    Finite for every finite `logits`. The sums over all suffixes take log2 K steps of pairs, of which XLA makes faster
    code than of a cumulative sum.
    """
    suffix = logits[..., 1:]
    reach = 1
    while reach < suffix.shape[-1]:
        longer = _log_add_exp(suffix[..., :-reach], suffix[..., reach:])
        suffix = tf.concat([longer, suffix[..., -reach:]], axis=-1)
        reach *= 2
    return logits[..., :-1] - suffix


def _log_add_exp(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """log(e^a + e^b), with the exact gradient where they are equal, too."""
    largest = tf.stop_gradient(tf.maximum(a, b))
    return largest + tf.math.log(tf.exp(a - largest) + tf.exp(b - largest))


def first_one(bits: tf.Tensor) -> tf.Tensor:
    """The one-hot place of the first 1, the last place if there is none: `[..., K-1]` to `[..., K]`."""
    return gumbel_max(tf.concat([bits, tf.ones_like(bits[..., :1])], axis=-1))


class AntitheticBits(Estimator):
    """Base of the two; a subclass writes the weights of the bits.

    Args:
        num_samples: pairs of codes for each example, `S`; their gradients are averaged.
    """

    unbiased = True
    needs = frozenset({"hard"})
    independent = False

    @abc.abstractmethod
    def _weights(self, u: tf.Tensor, bits: tf.Tensor, mirrored: tf.Tensor, bit_logits: tf.Tensor) -> tf.Tensor:
        """The weights w, `[S, *batch, N, K-1]`; all arguments but the last, `[*batch, N, K-1]`, have that shape."""

    def _estimate(self, q, cost, seed, reduce, context):
        bit_logits = stick_breaking_logits(widen(q.logits))
        shape = tf.concat([[self.num_samples], tf.shape(bit_logits)], axis=0)
        u = uniform(shape, seed, dtype=bit_logits.dtype)
        u = tf.ensure_shape(u, [self.num_samples, *bit_logits.shape])
        noise = tf.math.log(u) - tf.math.log1p(-u)
        # u > sigmoid(-a) and u < sigmoid(a), in logits: exact for extreme ones.
        bits, mirrored = (tf.cast(bit_logits + signed > 0.0, u.dtype) for signed in (noise, -noise))
        codes = [first_one(bits), first_one(mirrored)]
        y = tf.concat(codes, axis=0)
        costs = cost(y)
        undecided = _until_decided(codes[0], codes[1])
        weights = tf.stop_gradient(self._weights(u, bits, mirrored, bit_logits) * undecided)
        difference = tf.stop_gradient(costs[: self.num_samples] - costs[self.num_samples :])
        score = tf.reduce_sum(weights * with_gradient_of(bit_logits), axis=[-2, -1])
        value = reduce(costs) + reduce(difference * tf.cast(score, costs.dtype))
        return Estimate(value, cost.decode(y), tf.zeros([], value.dtype))


def _until_decided(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """1 for the bits up to the later of two one-hot codes, `[..., K]` to `[..., K-1]`."""
    later = tf.maximum(tf.argmax(first, axis=-1), tf.argmax(second, axis=-1))[..., tf.newaxis]
    places = tf.range(first.shape[-1] - 1, dtype=later.dtype)
    return tf.cast(places <= later, first.dtype)
