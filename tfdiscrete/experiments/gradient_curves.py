"""The optimization of a problem's parameter with an estimator: loss, variance and bias of the gradient at every step.

Adam at a constant rate, on `PATHS` independent paths. At each step `DRAWS` gradients are drawn at each path's
parameter: the first one moves it, and all of them measure the variance, and the error against the exact gradient.
"""

from typing import NamedTuple

import keras
import numpy as np
import scipy.optimize
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.estimators import Estimator
from tfdiscrete.estimators.compare import (
    exact_gradients,
    prepare,
    replicate,
    train_step,
)
from tfdiscrete.estimators.problems import Problem
from tfdiscrete.ops import fold_in, seed_of

PATHS, DRAWS = 16, 4

GENERALIZED = "generalized_gumbel_softmax"
"""The estimator whose curves the others are compared with."""


class Curves(NamedTuple):
    """The optimization of one problem with one estimator, over `T` steps; averages over paths and draws."""

    problem: str
    estimator: str
    evaluations: int
    """Of the cost, by one draw."""
    loss: np.ndarray  # [T, PATHS], exact
    minimum: float
    """The least expected cost that any parameter has."""
    variance: np.ndarray  # [T], tr Cov of one draw
    error: np.ndarray  # [T, P], the draws' mean less the exact gradient

    @property
    def final_loss(self) -> float:
        """The expected cost above its minimum, averaged over the last tenth of the steps."""
        return float(self._final.mean()) - self.minimum

    @property
    def final_loss_error(self) -> float:
        """Its standard error, from the spread of the paths."""
        return float(self._final.std(ddof=1) / np.sqrt(len(self._final)))

    @property
    def _final(self) -> np.ndarray:
        return self.loss[-max(len(self.loss) // 10, 1) :].mean(axis=0)

    @property
    def mean_variance(self) -> float:
        """The variance averaged over the steps."""
        return float(self.variance.mean())

    @property
    def bias(self) -> float:
        """The norm of the mean error over the steps."""
        return float(np.linalg.norm(self.error.mean(axis=0)))

    @property
    def bias_error(self) -> float:
        """What noise alone would make of `bias`, about."""
        return float(np.sqrt(self.mean_variance / (PATHS * DRAWS * len(self.loss))))

    @property
    def within_noise(self) -> bool:
        """Whether `bias` is less than three times its noise."""
        return self.bias < 3.0 * self.bias_error

    @property
    def single_error(self) -> float:
        """The root mean square of a single draw's distance to the exact gradient."""
        return float(np.sqrt(np.mean(self.variance + np.sum(self.error**2, axis=-1))))


def optimize(
    problem: Problem, name: str, estimator: Estimator, *, steps: int, learning_rate: float, seed: int
) -> list[Curves]:
    """Optimizes the problem's parameters with the estimator's gradients; nothing, if the problem does not allow it."""
    try:
        sampler = prepare(problem, estimator, seed=seed)
    except InputError:
        return []
    variables = tf.nest.map_structure(
        lambda p: keras.Variable(np.broadcast_to(p, (PATHS, *np.shape(p))).copy(), dtype="float64"), problem.parameters
    )
    optimizer, own_optimizer = keras.optimizers.Adam(learning_rate), keras.optimizers.Adam(0.01)
    optimizer.build(tf.nest.flatten(variables))
    own_optimizer.build(sampler.estimator.trainable_variables)

    @tf.function
    def follow(seed):
        traces = [tf.TensorArray(tf.float64, steps) for _ in range(3)]
        for step in tf.range(steps):
            values = tf.nest.map_structure(lambda v: v.value, variables)
            repeated = tf.nest.map_structure(lambda v: tf.repeat(v, DRAWS, axis=0), values)
            drawn = train_step(problem, sampler.estimator, own_optimizer, repeated, fold_in(seed, step))
            drawn = tf.reshape(drawn, [PATHS, DRAWS, drawn.shape[-1]])
            loss, exact = exact_gradients(problem, tf.nest.map_structure(tf.identity, values))
            variance = tf.reduce_sum(tf.math.reduce_variance(drawn, axis=1), axis=-1) * DRAWS / (DRAWS - 1)
            error = tf.reduce_mean(drawn - exact[:, tf.newaxis], axis=[0, 1])
            measured = (loss, tf.reduce_mean(variance), error)
            traces = [trace.write(step, value) for trace, value in zip(traces, measured, strict=True)]
            optimizer.apply_gradients(_parts(drawn[:, 0], tf.nest.flatten(variables)))
        return [trace.stack() for trace in traces]

    loss, variance, error = (trace.numpy() for trace in follow(seed_of(seed, "optimize")))
    return [Curves(problem.name, name, sampler.evaluations, loss, minimum(problem), variance, error)]


def _parts(flat, variables):
    """Rows `[R, P]` as pairs of gradient and variable `[R, ...]`."""
    sizes = [int(np.prod(variable.shape[1:])) for variable in variables]
    split = tf.split(flat, sizes, axis=-1)
    return [(tf.reshape(part, variable.shape), variable) for part, variable in zip(split, variables, strict=True)]


def minimum(problem: Problem) -> float:
    """The least expected cost, found from the problem's parameters by BFGS on the exact gradient."""
    start = replicate(problem, 1)

    def value_and_gradient(flat):
        parts = tf.split(tf.constant(flat[None]), [int(np.prod(p.shape)) for p in tf.nest.flatten(start)], axis=-1)
        parts = [tf.reshape(part, p.shape) for part, p in zip(parts, tf.nest.flatten(start), strict=True)]
        value, gradient = exact_gradients(problem, tf.nest.pack_sequence_as(start, parts))
        return float(value[0]), gradient[0].numpy()

    flat = np.concatenate([np.ravel(part) for part in tf.nest.flatten(problem.parameters)])
    return float(scipy.optimize.minimize(value_and_gradient, flat, jac=True, method="BFGS").fun)
