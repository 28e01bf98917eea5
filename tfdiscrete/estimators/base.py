"""The contract of a gradient estimator.

An estimator takes a distribution and a cost function of z, and returns a value per example whose gradient is that
estimator's gradient, with respect to the distribution's parameters and to everything that the cost closes over:

    estimate = estimator.estimate(q, lambda z: -log_likelihood(x, z), seed=seed)
    loss = tf.reduce_mean(estimate.value + kl(q, prior))

`estimate` reads the estimator's state and never writes it, so that it may be compiled with XLA on each replica
alone; `update` writes it, once per training step.
"""

import abc
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from tfdiscrete.distributions import Family
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.ops import gumbel_max, perturb
from tfdiscrete.ops.counter import add_counter

Cost = Callable[[tf.Tensor], tf.Tensor]
Reduce = Callable[[tf.Tensor], tf.Tensor]


class Estimate(NamedTuple):
    """What `Estimator.estimate` returns."""

    value: tf.Tensor
    """`[*batch]`: an estimate of the expected cost; its gradient serves all weights but the estimator's own."""
    sample: tf.Tensor
    """`[S, *batch, *event]`: the z at which the cost was evaluated."""
    auxiliary: tf.Tensor
    """`[]`: its gradient serves the estimator's `trainable_variables` only."""


def mean_over_samples(costs: tf.Tensor) -> tf.Tensor:
    """`[S, *batch]` to `[*batch]`; the default `reduce` of `Estimator.estimate`."""
    return tf.reduce_mean(costs, axis=0)


class Estimator(keras.layers.Layer, abc.ABC):
    """Base of all gradient estimators.

    Subclasses state `unbiased` and `needs`, and write `_estimate`; one that owns variables also writes `build`,
    and one with running statistics extends `update`.

    Args:
        num_samples: the samples drawn for each example, `S`.
    """

    unbiased: bool = False
    """Whether the expected gradient is exact, for every cost and every `num_samples`."""
    needs: frozenset[str] = frozenset({"hard"})
    """What is asked of the cost, among "hard" (values at outcomes), "relaxed" (at simplex points), "gradient"."""
    any_reduce: bool = False
    """Whether a `reduce` other than the mean over samples is supported."""

    has_temperature: bool = False
    """Whether there is a `current_temperature()`, and a constructor argument `temperature`."""

    def __init__(self, num_samples: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.num_samples = check_count("num_samples", num_samples)
        self.step = add_counter(self, "step")

    def build(self, logits_shape=None) -> None:
        self.built = True

    def estimate(
        self,
        q: Family,
        cost: Cost,
        *,
        seed: tf.Tensor,
        reduce: Reduce = mean_over_samples,
        context: tf.Tensor | None = None,
        training: bool = True,
    ) -> Estimate:
        """Estimates the expected cost and, by differentiation of the result, its gradient.

        Args:
            q: the distribution of z.
            cost: `[S', *batch, *event]` to `[S', *batch]` for any S'; pure, with its noise drawn outside.
            seed: int32 `[2]`, with the step and the replica already folded in (`ops.step_seed`).
            reduce: `[S, *batch]` to `[*batch]`. Estimators that support only the mean refuse another.
            context: what an input-dependent baseline reads, `[*batch, ...]`; ignored by the others.
            training: if False, the cost at hard samples, with no gradient for q's parameters and no auxiliary.

        Returns:
            An `Estimate`.

        Raises:
            InputError: for a `reduce` that this estimator does not support, or a cost of the wrong shape.
        """
        if reduce is not mean_over_samples and not self.any_reduce:
            raise InputError(
                f"{type(self).__name__} supports only the mean over samples as `reduce`, since its baseline or "
                "weights assume it. Estimators with any_reduce=True take another."
            )
        if not self.built:
            self.build(tuple(q.logits.shape))
        checked = _CheckedCost(cost, q.logits.shape[:-2])
        if training:
            return self._estimate(q, checked, seed, reduce, context)
        return self._evaluate(q, checked, seed, reduce)

    @abc.abstractmethod
    def _estimate(self, q, cost, seed, reduce, context) -> Estimate:
        """The training-time estimate; arguments as for `estimate`."""

    def _evaluate(self, q, cost, seed, reduce) -> Estimate:
        sample = q.decode(tf.stop_gradient(self.hard_sample(q, seed)))
        return Estimate(reduce(cost(sample)), sample, tf.zeros([], sample.dtype))

    def hard_sample(self, q: Family, seed: tf.Tensor) -> tf.Tensor:
        """Exact one-hot samples by Gumbel-max, `[S, *batch, N, K]`, without a gradient."""
        return tf.cast(gumbel_max(perturb(q.logits, self.num_samples, seed)), q.logits.dtype)

    def update(self, estimate: Estimate) -> None:
        """Advances the step and the running statistics; call once per training step, after `estimate`."""
        self.step.assign_add(1)

    def get_config(self):
        return {**super().get_config(), "num_samples": self.num_samples}


class _CheckedCost:
    """A cost whose result is checked: `[S, *batch]`, where a mean over pixels or a missing sum is caught."""

    def __init__(self, cost: Cost, batch_shape: tf.TensorShape):
        self._cost = cost
        self._batch_shape = batch_shape

    def __call__(self, z: tf.Tensor) -> tf.Tensor:
        value = self._cost(z)
        expected = z.shape[:1].concatenate(self._batch_shape)
        if not value.shape.is_compatible_with(expected):
            raise InputError(
                f"the cost must map z of shape {z.shape} to one value per sample and example, {expected}. "
                f"Received: {value.shape}."
            )
        return value
