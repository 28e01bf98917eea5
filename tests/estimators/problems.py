"""Problems with an answer by enumeration in NumPy, and the checks of estimators against it.

A cost is written once, in what TensorFlow and NumPy have in common: it maps codes [S, B, N, K] and its own parameters
[B, 2, N, K] to [S, B].
"""

import functools
import itertools
import operator
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdiscrete import distributions
from tfdiscrete.distributions import Family, ProductCategorical
from tfdiscrete.ops import with_gradient_of

SEED = [3, 5]


def linear(np_or_tf, z, parameters):
    return np_or_tf.einsum("sbnk,bnk->sb", z, parameters[:, 0])


def quadratic(np_or_tf, z, parameters):
    return (linear(np_or_tf, z, parameters) - 0.5) ** 2 + linear(np_or_tf, z, parameters[:, 1:])


def product(np_or_tf, z, parameters):
    factors = np_or_tf.einsum("sbnk,bnk->sbn", z, parameters[:, 0])
    return functools.reduce(operator.mul, (factors[..., n] for n in range(z.shape[-2])))


def neural_network(np_or_tf, z, parameters):
    first, second = linear(np_or_tf, z, parameters), linear(np_or_tf, z, parameters[:, 1:])
    return 2.0 * np_or_tf.tanh(first) - np_or_tf.tanh(second + 0.3)


COSTS = [linear, quadratic, product, neural_network]


class Problem(NamedTuple):
    cost: object
    logits: np.ndarray  # [N, K]
    parameters: np.ndarray  # [2, N, K]

    def expectation(self, logits, parameters, reduce=None, num_samples=1):
        """sum_z q(z) f(z), over all codes; with `reduce`, over all `num_samples` independent ones."""
        latents, categories = logits.shape
        codes = np.eye(categories)[list(itertools.product(range(categories), repeat=latents))]
        log_q = np.sum(codes * (logits - np.log(np.exp(logits).sum(-1, keepdims=True))), axis=(-2, -1))
        costs = self.cost(np, codes[:, None], parameters[None])[:, 0]
        if reduce is None:
            return np.sum(np.exp(log_q) * costs)
        tuples = np.array(list(itertools.product(range(len(codes)), repeat=num_samples))).T
        return np.sum(np.exp(log_q[tuples].sum(axis=0)) * reduce(costs[tuples]))

    def value(self, **options):
        return self.expectation(self.logits, self.parameters, **options)

    def gradient(self, **options):
        """With respect to all logits and then all parameters of the cost, by complex steps (exact to rounding)."""
        step, gradient = 1e-30, []
        for which in (0, 1):
            for index in np.ndindex(*(self.logits, self.parameters)[which].shape):
                arguments = [self.logits.astype(complex), self.parameters.astype(complex)]
                arguments[which][index] += 1j * step
                gradient.append(self.expectation(*arguments, **options).imag / step)
        return np.array(gradient)


def random_problem(cost, latents, categories, seed=0):
    rng = np.random.default_rng([seed, latents, categories])
    return Problem(cost, rng.normal(size=(latents, categories)), rng.normal(size=(2, latents, categories)))


def invertible_gaussian(logits):
    return distributions.InvertibleGaussian(logits[..., :-1], tf.exp(0.3 * logits[..., 1:]))


def normal(logits):
    tfd = distributions.truncated.tfd
    return tfd.Independent(tfd.Normal(logits, tf.ones_like(logits)), 2)


def distribution_for(estimator, logits):
    """A distribution with these parameters that the estimator takes, whose z is `[S, B, N, K]`."""
    if estimator.takes is Family:
        return ProductCategorical(logits)
    if estimator.takes is distributions.InvertibleGaussian:
        return invertible_gaussian(logits)
    return normal(logits)


def estimate_and_gradient(estimator, cost, logits, parameters, seed=SEED, change=None, **options):
    """The estimate, and the gradient of each example's value, `[B, coordinates]`; logits [B, N, K].

    `change`: a way to break the estimator, one of `BROKEN`.
    """
    logits, parameters = tf.convert_to_tensor(logits), tf.convert_to_tensor(parameters)
    change = change or Sound()
    with tf.GradientTape() as tape:
        tape.watch([logits, parameters])
        q = distribution_for(estimator, change.logits(logits))
        estimate = estimator.estimate(
            q,
            lambda z: cost(tf, z, change.parameters(parameters)),
            seed=seed,
            context=tf.reshape(parameters, [-1, parameters.shape[1] * parameters.shape[2] * parameters.shape[3]]),
            **options,
        )
        value = change.value(estimate, q, lambda z: cost(tf, z, parameters))
    gradients = tape.gradient(value, [logits, parameters], unconnected_gradients="zero")
    coordinates = logits.shape[1] * logits.shape[2]
    flat = [tf.reshape(g, [-1, n * coordinates]) for n, g in zip((1, 2), gradients, strict=True)]
    return estimate._replace(value=value), tf.concat(flat, axis=-1)


class Sound:
    """The estimator as it is, and hooks for ways to break any estimator."""

    def logits(self, logits):
        return logits

    def parameters(self, parameters):
        return parameters

    def value(self, estimate, q, cost):
        return estimate.value


class FlippedSign(Sound):
    def logits(self, logits):
        return 2.0 * tf.stop_gradient(logits) - logits


class NoGradientOfTheCost(Sound):
    def parameters(self, parameters):
        return tf.stop_gradient(parameters)


class NoGradientOfTheLogits(Sound):
    def logits(self, logits):
        return tf.stop_gradient(logits)


class ValueTimesTwo(Sound):
    def value(self, estimate, q, cost):
        return estimate.value + tf.stop_gradient(estimate.value)


class BaselineOfItsOwnSample(Sound):
    def value(self, estimate, q, cost):
        baseline = tf.stop_gradient(self.baseline(cost(estimate.sample)))
        return estimate.value - 0.5 * tf.reduce_mean(baseline * with_gradient_of(q.log_prob(estimate.sample)), axis=0)

    def baseline(self, costs):
        return costs


class BaselineOfTheBatch(BaselineOfItsOwnSample):
    def baseline(self, costs):
        return tf.reduce_mean(costs, axis=1, keepdims=True)


BROKEN = [FlippedSign(), NoGradientOfTheCost(), NoGradientOfTheLogits(), ValueTimesTwo(), BaselineOfItsOwnSample()]


def replicated(problem, replicates):
    return (np.broadcast_to(array, (replicates, *array.shape)) for array in (problem.logits, problem.parameters))


def warm(estimator, problem):
    """The estimator after some steps, and with random weights of its own: it may not depend on their start."""
    for step in range(3):
        estimator.update(estimate_and_gradient(estimator, problem.cost, *replicated(problem, 2), seed=[step, 9])[0])
    rng = np.random.default_rng(4)
    for variable in estimator.trainable_variables:
        variable.assign(variable.value + 0.3 * rng.normal(size=variable.shape).astype(variable.dtype))
    return estimator


def assert_mean_is(exact, draws):
    """`draws` [R, ...] average to `exact` [...] within 4.5 standard errors in each coordinate."""
    draws = np.asarray(draws)
    error = draws.mean(axis=0) - exact
    bound = 4.5 * draws.std(axis=0, ddof=1) / np.sqrt(len(draws)) + 1e-6 * np.abs(exact).max()
    assert (np.abs(error) <= bound).all(), f"biased by up to {np.max(np.abs(error) / bound):.1f} times the bound"


def assert_unbiased(estimator, problem, replicates, change=None):
    arrays = replicated(problem, replicates)
    estimate, gradient = estimate_and_gradient(estimator, problem.cost, *arrays, change=change)
    assert_mean_is(problem.value(), estimate.value)
    assert_mean_is(problem.gradient(), gradient)


def assert_unbiased_in_a_batch_of_two(estimator, problems, repetitions, change=None):
    """Each example's gradient over many seeds: a leak between examples would vanish in a large batch."""
    cost = problems[0].cost
    logits = np.stack([problem.logits for problem in problems])
    parameters = np.stack([problem.parameters for problem in problems])

    @tf.function(jit_compile=True)
    def all_gradients(seeds):
        return tf.map_fn(
            lambda seed: estimate_and_gradient(estimator, cost, logits, parameters, seed=seed, change=change)[1],
            seeds,
            fn_output_signature=tf.float64,
        )

    seeds = tf.stack([tf.range(repetitions), tf.fill([repetitions], 7)], axis=-1)
    exact = np.stack([problem.gradient() for problem in problems])
    assert_mean_is(exact, all_gradients(seeds))
