"""A check of a cost function, alone or with an estimator, before anything is trained.

A wrong cost seldom fails: noise drawn inside it, statistics over the samples, or a step that has no derivative give
numbers too, and the gradient of something else.
"""

import numpy as np
import tensorflow as tf

from tfdiscrete.distributions import Family, ProductMixed, is_family
from tfdiscrete.errors import InputError
from tfdiscrete.estimators.base import CheckedCost, Cost, Estimator
from tfdiscrete.estimators.neighbours import other_codes
from tfdiscrete.estimators.pathwise import Pathwise, reparameterized_sample

# Parts of the largest cost: what rounding may change in one computation done twice, and in another order of its sums.
_SAME, _REORDERED = 1e-6, {tf.float64: 1e-7, tf.float32: 1e-3, tf.bfloat16: 0.05, tf.float16: 0.05}
_TEMPERATURE, _MOST_CODES = 0.5, 16


def check(q, cost: Cost, estimator: str | Estimator | None = None, *, seed=(0, 1), context=None) -> None:
    """Raises an `InputError` that names what a cost, or an estimator's need of it, does not meet.

    The cost is evaluated a few times at samples of q: it must have one finite value for each sample and example, the
    same each time, and each sample's own, whatever other samples come with it. Given an estimator, the cost must have
    what the estimator needs, and one estimate is made. No state changes. Run it eagerly.

    Example:

        q = ProductCategorical(tf.zeros([5, 20, 10]))
        check(q, lambda z: tf.reduce_sum(z[..., 0], axis=-1), "gumbel_softmax")

    Args:
        q: the distribution of z.
        cost: as for `Estimator.estimate`.
        estimator: an estimator or its name; None to check the cost alone.
        seed: int32 `[2]`.
        context: as for `Estimator.estimate`.

    Raises:
        InputError: for the first thing found, with what would work.
    """
    from tfdiscrete.estimators import get

    if not tf.executing_eagerly():
        raise InputError("check looks at values: call it eagerly, outside of tf.function.")
    if estimator is not None:
        estimator = get(estimator)
    if isinstance(q, ProductMixed) and (estimator is None or estimator.takes is Family):
        q = q.given(q.path(seed, 1))
    if estimator is not None:
        estimator._check_distribution(q)
    points = _points(q, estimator, seed)
    checked = _checked(q, cost, estimator)
    for kind, point in points.items():
        _check_values(checked, point, kind, q)
    if estimator is None:
        return
    if "gradient" in estimator.needs:
        kind = "relaxed" if "relaxed" in estimator.needs else "hard"
        _check_gradient(checked, points[kind], kind, estimator, q)
    if "hard" in points and hasattr(cost, "neighbours"):
        _check_neighbours(checked, points["hard"][:1], q)
    if "hard" in points and hasattr(cost, "shared"):
        _check_shared(checked, points["hard"][:1], q)
    # By a copy, so that looking at an estimator does not build it.
    type(estimator).from_config(estimator.get_config()).estimate(q, cost, seed=seed, context=context)


def _points(q, estimator: Estimator | None, seed) -> dict[str, tf.Tensor]:
    """Two samples of each kind at which the cost is to be evaluated, in the categorical view if there is one."""
    if is_family(q):
        points = {"hard": q.sample_one_hot(seed, 2)}
        if estimator and "relaxed" in estimator.needs:
            points["relaxed"] = tf.exp(q.relax(seed, 2, _TEMPERATURE))
        return points
    Pathwise()._check_distribution(q)
    return {"relaxed": reparameterized_sample(q, seed, 2)}


def _checked(q, cost: Cost, estimator: Estimator | None) -> CheckedCost:
    if estimator is not None:
        return estimator._checked(q, cost)
    if not is_family(q):
        return Pathwise()._checked(q, cost)
    return CheckedCost(cost, lambda y: q.decode(tf.cast(y, q.dtype)), "check")


def _check_values(checked: CheckedCost, point: tf.Tensor, kind: str, q) -> None:
    try:
        both, again = checked(point), checked(point)
    except Exception as error:
        # At outcomes it is the caller's error as it stands; elsewhere it is the estimator that asks for the values.
        if kind == "hard":
            raise
        raise InputError(f"the cost fails at relaxed z. {_without_derivatives(q)} Received: {error}") from error
    largest = np.abs(both).max()
    change = np.abs(both - again).max()
    if change > _SAME * largest:
        raise InputError(
            "the cost must give the same value for the same z: draw its noise outside, from a seed, and no dropout in "
            f"it. Received: values of one z that differ by up to {change:.3g}."
        )
    alone = tf.concat([checked(point[:1]), checked(point[1:])], axis=0)
    change = np.abs(both - alone).max()
    if change > _REORDERED[q.dtype] * largest:
        raise InputError(
            "each sample's cost must depend on that sample alone: no mean over axis 0, no batch statistics, no noise "
            f"of the shape of z. Received: values that differ by up to {change:.3g} between S=2 and S=1."
        )
    _check_examples(checked, point, both, q)


def _check_examples(checked: CheckedCost, point: tf.Tensor, both: tf.Tensor, q) -> None:
    """That an example's cost is the same whatever the codes of the other examples are."""
    batch_rank = both.shape.rank - 1
    if batch_rank == 0 or both.shape[1] == 1:
        return
    # The two samples change places in every second example of the batch's first dimension.
    swapped = tf.reshape(tf.range(both.shape[1]) % 2 == 1, [1, -1, *[1] * (point.shape.rank - 2)])
    mixed = checked(tf.where(swapped, tf.reverse(point, [0]), point))
    change = np.abs(both[:, ::2] - mixed[:, ::2]).max()
    if change > _REORDERED[q.dtype] * np.abs(both).max():
        raise InputError(
            "each example's cost must depend on that example's z alone: no mean or normalization over the batch, as of "
            f"BatchNormalization in training. Received: values that change by up to {change:.3g} with the others' z."
        )


def _check_gradient(checked: CheckedCost, point: tf.Tensor, kind: str, estimator: Estimator, q) -> None:
    costs, gradient = _costs_and_gradient(checked, point)
    needs = f"{type(estimator).__name__} needs the cost's gradient with respect to {kind} z."
    if gradient is None or (not np.any(gradient) and np.any(costs[0] != costs[1])):
        raise InputError(
            f"{needs} {_without_derivatives(q)} Received: {'none' if gradient is None else '0 everywhere'}: is there "
            "an arg max, a rounding, a comparison or a stop_gradient in the cost, or does it not depend on z?"
        )
    gradient = tf.cast(gradient, tf.float64).numpy()
    if is_family(q) and (deaf := _deaf_variables(checked, point, gradient, _REORDERED[q.dtype])):
        raise InputError(
            f"{needs} {_without_derivatives(q)} Received: none that tells categories apart for variables "
            f"{', '.join(map(str, deaf))}, on which the cost depends: is there an arg max, a rounding, a comparison or "
            "a stop_gradient on their way?"
        )
    if not np.isfinite(gradient).all():
        bad = np.count_nonzero(~np.isfinite(gradient))
        raise InputError(
            f"{needs} {_without_derivatives(q)} Received: a gradient that is not finite at {bad} of "
            f"{gradient.size} places."
        )


def _deaf_variables(checked: CheckedCost, point: tf.Tensor, gradient: np.ndarray, rounding: float) -> list[int]:
    """Which variables change the cost though all their categories have one slope, here and there: the first few."""
    flat = np.all(gradient == gradient[..., :1], axis=-1)
    costs, deaf = checked(point).numpy(), []
    for n in np.flatnonzero(flat.all(axis=tuple(range(flat.ndim - 1))))[:_MOST_CODES]:
        moved = point.numpy()
        moved[..., n, :] = np.roll(moved[..., n, :], 1, axis=-1)
        others, slope = _costs_and_gradient(checked, tf.constant(moved))
        flat_there = slope is None or np.all(slope[..., n, :] == slope[..., n, :1])
        if flat_there and np.abs(others - costs).max() > rounding * np.abs(costs).max():
            deaf.append(int(n))
    return deaf


def _costs_and_gradient(checked: CheckedCost, point: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | None]:
    with tf.GradientTape() as tape:
        tape.watch(point)
        costs = checked(point)
    try:
        return costs, tape.gradient(costs, point)
    except LookupError:  # an operation without a registered gradient
        return costs, None


def _check_neighbours(checked: CheckedCost, y: tf.Tensor, q) -> None:
    """That the cost's own `neighbours` are what it says of these codes, for a few of them."""
    table = checked.neighbours(y)
    # y itself first; of a code that differs from it in variable n, entry n is the one to compare.
    codes = tf.concat([y, other_codes(y)], axis=0)
    variables = np.concatenate([[0], np.repeat(np.arange(y.shape[-2]), y.shape[-1] - 1)])
    some = np.unique(np.linspace(0, len(variables) - 1, _MOST_CODES).astype(int))
    codes, variables = tf.gather(codes, some), variables[some]
    listed = tf.stack(
        [
            tf.reduce_sum(table[0, ..., n, :] * tf.cast(code[..., n, :], table.dtype), axis=-1)
            for n, code in zip(variables, codes, strict=True)
        ]
    )
    costs = checked(codes)
    change = np.abs(costs - tf.cast(listed, costs.dtype)).max()
    if change > _REORDERED[q.dtype] * np.abs(costs).max():
        raise InputError(
            "the cost's `neighbours` must give the costs themselves, entry (n, k) that of z with variable n set to "
            f"category k. Received: entries that differ from them by up to {change:.3g}."
        )


def _check_shared(checked: CheckedCost, y: tf.Tensor, q) -> None:
    """That the cost's own `shared` are what it says of the same codes for each example, for a few of them."""
    codes = tf.reshape(y, [-1, *y.shape[-2:]])[:_MOST_CODES]
    listed = checked.of_shared(codes, y[0])
    each = tf.reshape(codes, [-1, *[1] * (y.shape.rank - 3), *codes.shape[1:]])
    costs = checked(tf.broadcast_to(each, [codes.shape[0], *y.shape[1:]]))
    change = np.abs(costs - tf.cast(listed, costs.dtype)).max()
    if change > _REORDERED[q.dtype] * np.abs(costs).max():
        raise InputError(
            "the cost's `shared` must give the costs themselves, entry (c, b) that of code c for example b. Received: "
            f"entries that differ from them by up to {change:.3g}."
        )


def _without_derivatives(q) -> str:
    from tfdiscrete.estimators import REGISTRY

    if not is_family(q):
        return "No estimator of continuous variables does without."
    names = [name for name, cls in REGISTRY.items() if cls.needs == {"hard"} and _takes(cls(), q)]
    return f"Values at outcomes alone are enough for {', '.join(names)}."


def _takes(estimator: Estimator, q) -> bool:
    try:
        estimator._check_distribution(q)
    except InputError:
        return False
    return True
