"""What estimators share that evaluate the cost at a few different codes, each with a weight.

    value = sum_j w_j f(b_j),    gradient = sum_j w_j s_j grad log q(b_j) + sum_j w_j grad f(b_j)

with weights w_j and signals s_j, such as the cost itself, through which no gradient passes.
"""

import abc
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.estimators.base import Estimate, Estimator, log_mass
from tfdiscrete.ops import with_gradient_of
from tfdiscrete.ops.precision import widen

BASELINES = ("none", "built_in")


def less_mean_of_first(count: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """A `Choice.signal`: the costs less the mean of the `count` first, exactly 0 of equal costs, however large.

    The gradient keeps its mean if the weighted scores of all codes have mean 0 given the first ones.
    """

    def signal(costs: tf.Tensor) -> tf.Tensor:
        differences = costs - costs[:1]
        return differences - tf.reduce_mean(differences[:count], axis=0)

    return signal


class Choice(NamedTuple):
    """Different codes and how they count."""

    index: tf.Tensor
    """int32 `[S', *batch, N]`."""
    weights: tf.Tensor
    """`[S', *batch]`, whose sum is 1."""
    signal: Callable[[tf.Tensor], tf.Tensor] = tf.identity
    """From the costs of the codes, `[S', *batch]`, what multiplies each one's weighted score."""


class WeightedCodes(Estimator):
    """Base of the estimators that choose different codes; a subclass writes `_choose`."""

    unbiased = True
    needs = frozenset({"hard"})
    independent = False
    number_of_codes: str = "num_samples"
    """The constructor argument that the number of codes must not be below."""

    def build(self, logits_shape=None, context_shape=None):
        if logits_shape is not None:
            self._check_number_of_codes(*logits_shape[-2:])
        super().build(logits_shape, context_shape)

    def _check_number_of_codes(self, latents: int, categories: int) -> None:
        wanted = getattr(self, self.number_of_codes)
        if wanted > categories**latents:
            raise InputError(
                f"{type(self).__name__} takes different codes, without replacement: {self.number_of_codes} must be at "
                f"most the number of codes, here {categories}^{latents} = {categories**latents}, at which it is exact. "
                f"Received: {self.number_of_codes}={wanted}."
            )

    @abc.abstractmethod
    def _choose(self, log_pi: tf.Tensor, seed) -> Choice:
        """The codes at which the cost is evaluated, `log_pi` `[*batch, N, K]` normalized and without a gradient."""

    def _estimate(self, q, cost, seed, reduce, context):
        log_pi = tf.nn.log_softmax(widen(q.logits), axis=-1)
        self._check_number_of_codes(*log_pi.shape[-2:])
        choice = self._choose(tf.stop_gradient(log_pi), seed)
        y = tf.one_hot(choice.index, log_pi.shape[-1], dtype=log_pi.dtype)
        costs = cost(y)
        weights = tf.cast(choice.weights, costs.dtype)
        signal = tf.stop_gradient(choice.signal(costs))
        score = with_gradient_of(tf.cast(log_mass(log_pi, y), costs.dtype))
        value = tf.reduce_sum(weights * (costs + signal * score), axis=0)
        return Estimate(value, cost.decode(y), tf.zeros([], value.dtype))
