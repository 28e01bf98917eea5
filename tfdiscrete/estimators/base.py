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

from tfdiscrete.distributions import Family, ProductMixed, is_family
from tfdiscrete.distributions.product_mixed import GivenContinuous
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.estimators.neighbours import join_own, other_codes
from tfdiscrete.ops.counter import add_counter
from tfdiscrete.ops.precision import widen
from tfdiscrete.ops.temperature import temperature_at

Cost = Callable[[tf.Tensor], tf.Tensor]
Reduce = Callable[[tf.Tensor], tf.Tensor]

NEEDS = frozenset({"hard", "relaxed", "gradient", "context"})


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


def mean_of_examples(tensor: tf.Tensor) -> tf.Tensor:
    """The mean of all entries, `[]`; 0 of none, as on a replica whose share of a batch is empty."""
    return tf.math.divide_no_nan(tf.reduce_sum(tensor), tf.cast(tf.size(tensor), tensor.dtype))


def log_mass(log_pi: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """The log probability of codes, one-hot `y` `[S, *batch, N, K]`, under `log_pi` `[*batch, N, K]`: `[S, *batch]`."""
    return tf.reduce_sum(tf.cast(y, log_pi.dtype) * log_pi, axis=[-2, -1])


class Estimator(keras.layers.Layer, abc.ABC):
    """Base of all gradient estimators.

    Subclasses state the class attributes below that differ, and write `_estimate`; one that owns variables also writes
    `build`, and one with running statistics extends `update`.

    Args:
        num_samples: the samples drawn for each example, `S`.
    """

    unbiased: bool = False
    """Whether the expected gradient is exact, for every cost that has what `needs` says, every setting and every
    `reduce` that is supported."""
    needs: frozenset[str] = frozenset({"hard"})
    """What is asked of the cost, among "hard" (values at outcomes), "relaxed" (at simplex points, or real ones) and
    "gradient" (with respect to z); and "context", if `estimate` must be given one."""
    takes: type = Family
    """The distributions that `estimate` takes: `Family` is any with a categorical view, or a `ProductMixed`."""
    any_reduce: bool = False
    """Whether a `reduce` other than the mean over samples is supported."""
    independent: bool = True
    """Whether `sample` holds `num_samples` independent draws, of whose costs `value` is the reduction."""
    annealed: str | None = None
    """The constructor argument, a number or a schedule of the step, at whose limit 0 the bias vanishes."""

    def __init__(self, num_samples: int = 1, **kwargs):
        super().__init__(**kwargs)
        self.num_samples = check_count("num_samples", num_samples)
        self.step = add_counter(self, "step")

    def build(self, logits_shape=None, context_shape=None) -> None:
        """Makes what the estimator owns.

        Args:
            logits_shape: `[*batch, N, K]`, the last two static.
            context_shape: that of `context`, `[*batch, ...]`, if there is one.
        """
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
            q: the distribution of z. The Gaussian variables of a `ProductMixed` have the gradient of `Pathwise`.
            cost: `[S', *batch, *event]` to `[S', *batch]` for any S'; a function of z (estimators that need its
                gradient refuse one that is none), finite, and pure, with its noise drawn outside;
                `check` finds what is wrong with one. It may return an `Estimate` of that batch, of another stochastic
                layer below: its value is the cost, and its auxiliary is added to that of the result. That layer's
                `update` is left to the caller.
            seed: int32 `[2]`, with the step and the replica already folded in (`ops.step_seed`).
            reduce: `[S, *batch]` to `[*batch]`. Estimators that support only the mean refuse another.
            context: what an input-dependent baseline reads, `[*batch, ...]`; ignored by the others.
            training: if False, the cost at hard samples, with no gradient for q's parameters and no auxiliary.

        Returns:
            An `Estimate`; its value has float32 at least.

        Raises:
            InputError: for a distribution, `reduce` or missing `context` that this estimator does not support, fewer
                than two categories, a cost of the wrong shape or type, one without the gradient that the estimator
                needs, or, where run eagerly, one that is not finite.
        """
        if reduce is not mean_over_samples:
            reduce = self._checked_reduce(reduce)
        q = self._on_path(q, seed, training)
        self._check_distribution(q)
        if context is None and "context" in self.needs:
            raise InputError(
                f"{type(self).__name__} has a baseline of the input: call estimate(..., context=x), x of shape "
                "[*batch, ...]. Received: context=None."
            )
        if not self.built:
            self.build(self._logits_shape(q), *([] if context is None else [tuple(context.shape)]))
        checked = self._checked(q, cost)
        if not training:
            return self._evaluate(q, checked, seed, reduce)
        estimate = self._estimate(q, checked, seed, reduce, context)
        if checked.auxiliary is None:
            return estimate
        return estimate._replace(auxiliary=estimate.auxiliary + tf.cast(checked.auxiliary, estimate.auxiliary.dtype))

    def check_distribution(self, q) -> None:
        """Raises `InputError` for a distribution that `estimate` does not take."""
        self._check_distribution(self._on_path(q, tf.zeros([2], tf.int32), training=False))

    def _on_path(self, q, seed, training):
        """What is left of a law with Gaussian variables once these are drawn, a `Family`; any other law as it is."""
        if self.takes is not Family or not isinstance(q, ProductMixed):
            return q
        # One noise for all codes of an example makes the cost one function of the code, whose differences have less
        # variance. Samples that may be reduced otherwise than by their mean are independent, each with its own noise.
        c = q.path(seed, self.num_samples if self.any_reduce else 1)
        return q.given(c if training else tf.stop_gradient(c))

    @abc.abstractmethod
    def _estimate(self, q, cost: "CheckedCost", seed, reduce, context) -> Estimate:
        """The training-time estimate; `cost` takes points of the categorical view, the rest is as for `estimate`."""

    def _evaluate(self, q, cost: "CheckedCost", seed, reduce) -> Estimate:
        y = q.sample_one_hot(seed, self.num_samples)
        costs = cost(y)
        return Estimate(reduce(costs), cost.decode(y), tf.zeros([], costs.dtype))

    def _check_distribution(self, q) -> None:
        """Raises `InputError` for a distribution that the estimator does not take."""
        if not (is_family(q) if self.takes is Family else isinstance(q, self.takes)):
            known = "Family, such as ProductCategorical or Truncated" if self.takes is Family else self.takes.__name__
            raise InputError(f"{type(self).__name__} takes a distributions.{known}. Received: {q!r}.")
        if is_family(q) and not (q.logits_shape[-1] or 0) >= 2:
            raise InputError(
                f"{type(self).__name__} needs variables of at least 2 categories, a static number: with one there is "
                f"nothing to choose. Received: logits of shape {q.logits_shape}."
            )

    def _checked_reduce(self, reduce: Reduce) -> Reduce:
        """Another `reduce` than the mean; raises `InputError`, also where it is called, for what is none."""
        if not self.any_reduce:
            raise InputError(
                f"{type(self).__name__} supports only the mean over samples as `reduce`, since its baseline or "
                "weights assume it. Estimators with any_reduce=True take another."
            )

        def checked(costs):
            result = reduce(costs) if callable(reduce) else None
            if not tf.is_tensor(result) or not result.shape.is_compatible_with(costs.shape[1:]):
                raise InputError(
                    "`reduce` must be a function over the first axis alone, whatever the others are, such as "
                    f"lambda costs: tf.reduce_mean(costs, axis=0). Received: of costs of shape {costs.shape} "
                    f"{result.shape if tf.is_tensor(result) else repr(result)}."
                )
            return result

        return checked

    def _logits_shape(self, q) -> tuple[int | None, ...]:
        return tuple(q.logits_shape)

    def _checked(self, q, cost: Cost) -> "CheckedCost":
        # What is drawn beside the codes differs between examples.
        shares = not isinstance(q, GivenContinuous)
        return CheckedCost(cost, lambda y: q.decode(tf.cast(y, q.dtype)), type(self).__name__, shares=shares)

    def annealed_value(self) -> tf.Tensor:
        """What is annealed, at the present step: `[]`, float32."""
        return temperature_at(getattr(self, self.annealed), self.step.value)  # type: ignore[arg-type]

    def update(self, estimate: Estimate) -> None:
        """Advances the step and the running statistics; call once per training step, after `estimate`."""
        self.step.assign_add(1)

    def get_config(self):
        return {**super().get_config(), "num_samples": self.num_samples}


class CheckedCost:
    """A cost of the categorical view, `y` `[S', *batch, N, K]` to `[S', *batch]`, whose result is checked.

    A mean over pixels, a missing sum and, where run eagerly, what is not finite are caught. Sizes that are unknown as
    a graph is made are compared as it runs, but for what XLA compiles. Half types become float32.
    """

    def __init__(
        self,
        cost: Cost,
        decode: Callable[[tf.Tensor], tf.Tensor],
        name: str,
        event_rank: int = 2,
        *,
        shares: bool = True,
    ):
        self._cost, self._name, self._event_rank = cost, name, event_rank
        self._shared = getattr(cost, "shared", None) if shares else None
        self.decode = decode
        self.auxiliary: tf.Tensor | None = None
        """That of the `Estimate` which the first evaluation gave, if it gave one."""

    def __call__(self, y: tf.Tensor) -> tf.Tensor:
        result = self._cost(self.decode(y))
        if isinstance(result, Estimate):
            self.auxiliary = result.auxiliary if self.auxiliary is None else self.auxiliary
            result = result.value
        return self._checked(
            result,
            y,
            y.shape.rank - self._event_rank,
            lambda expected: (
                f"the cost must map z of shape {self.decode(y).shape} to one value per sample and example, {expected}."
            ),
        )

    def value_and_slope(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The cost, as a call gives it, and its gradient with respect to y, `[S', *batch, N, K]`.

        Raises:
            InputError: for a cost that has none.
        """
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(y)
            costs = self(y)
        try:
            slope = tape.gradient(costs, y)
        except LookupError:  # an operation without a registered gradient
            slope = None
        if slope is None:
            raise InputError(
                f"{self._name} needs the cost's gradient with respect to z. Received: none: is there an arg max, a "
                "rounding, a comparison or a stop_gradient in the cost, or does it not depend on z? For discrete z, "
                "values at hard z are enough for estimators whose `needs` is {'hard'}, such as 'score_function'."
            )
        return costs, tf.convert_to_tensor(slope)

    def differentiable(self, y: tf.Tensor) -> tf.Tensor:
        """As a call, of a cost through which the caller differentiates: `InputError` where that cannot be.

        A graph leaves out the gradient that this takes; run eagerly it costs one more.
        """
        return self.value_and_slope(y)[0]

    def neighbours(self, y: tf.Tensor, costs: tf.Tensor | None = None) -> tf.Tensor:
        """The cost of every code that differs from `y` in at most one variable, without a gradient.

        A cost with an attribute `neighbours`, a callable of z with this result, is asked for it: one whose first
        layer is linear need not compute that layer anew for each code. Any other is evaluated at the `N (K - 1)` other
        codes, in one call.

        Args:
            y: one-hot, `[S, *batch, N, K]`.
            costs: those of `y` itself, `[S, *batch]`, where they are known.

        Returns:
            `[S, *batch, N, K]`: entry `(n, k)` is the cost with variable `n` set to category `k`.
        """
        if y.shape[-2] == 1 and self._shared is not None:
            return tf.stop_gradient(self._of_one_variable(y))
        quick = getattr(self._cost, "neighbours", None)
        if quick is not None:
            return tf.stop_gradient(
                self._checked(
                    quick(self.decode(y)),
                    y,
                    y.shape.rank,
                    lambda expected: f"the cost's `neighbours` must give the costs of all codes near z, {expected}.",
                )
            )
        own = self(y) if costs is None else costs
        return tf.stop_gradient(join_own(self(other_codes(y)), own, y))

    def _of_one_variable(self, y: tf.Tensor) -> tf.Tensor:
        """`neighbours` of a single variable: the costs of its `K` codes, whatever the samples are."""
        categories = y.shape[-1]
        costs = self.of_shared(tf.eye(categories, dtype=y.dtype)[:, tf.newaxis], y[0])
        table = tf.transpose(costs, [*range(1, costs.shape.rank), 0])[..., tf.newaxis, :]
        return tf.broadcast_to(table, tf.shape(y))

    def of_shared(self, codes: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        """The cost of codes that all examples share, as a call gives it.

        A cost with an attribute `shared`, a callable of z with batch dimensions of 1, is asked for it: a decoder need
        not decode a code anew for each example. Any other is evaluated at the codes of each.

        Args:
            codes: one-hot, `[C, N, K]`.
            like: a tensor with the batch of the examples, `[*batch, N, K]`.

        Returns:
            `[C, *batch]`.
        """
        batch = like.shape.rank - 2
        codes = tf.reshape(codes, [-1, *[1] * batch, *codes.shape[1:]])
        each = tf.broadcast_to(codes, tf.concat([tf.shape(codes)[:1], tf.shape(like)], axis=0))
        each = tf.ensure_shape(each, [codes.shape[0], *like.shape])
        if self._shared is None:
            return self(each)
        return self._checked(
            self._shared(self.decode(codes)),
            each,
            1 + batch,
            lambda expected: f"the cost's `shared` must give the costs of codes that all examples share, {expected}.",
        )

    def _checked(self, result, like: tf.Tensor, rank: int, requirement: Callable[[tf.TensorShape], str]) -> tf.Tensor:
        """The result, if it has the first `rank` sizes of `like`, and no more."""
        expected = like.shape[:rank]
        if not tf.is_tensor(result) or not result.shape.is_compatible_with(expected):
            raise InputError(
                f"{requirement(expected)} Received: {result.shape if tf.is_tensor(result) else repr(result)}."
            )
        if not result.dtype.is_floating:
            raise InputError(f"{requirement(expected)[:-1]}, a real number. Received: {result.dtype.name}.")
        if tf.executing_eagerly() and not bool(tf.reduce_all(tf.math.is_finite(result))):
            bad = tf.reduce_sum(tf.cast(~tf.math.is_finite(result), tf.int32))
            raise InputError(
                f"{self._name} needs a cost that is finite wherever it is evaluated. Received: NaN or infinity at "
                f"{int(bad)} of {int(tf.size(result))} places."
            )
        if not expected.is_fully_defined():
            same = tf.debugging.assert_equal(tf.shape(result), tf.shape(like)[:rank], requirement(expected))
            with tf.control_dependencies([same]):
                result = tf.identity(result)
        return widen(tf.ensure_shape(result, expected))
