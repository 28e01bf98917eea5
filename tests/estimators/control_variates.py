"""REBAR and RELAX in NumPy, the training of their control variates, and the variance of a gradient."""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import RELAX
from tfdiscrete.ops import perturb


def softmax(a):
    exponentials = np.exp(a - a.real.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def control_variate(estimator):
    """c of the cost's values and of y, with the estimator's weights, and its temperature: functions of NumPy arrays."""
    weights = {variable.name: variable.numpy().astype(float) for variable in estimator.trainable_variables}

    def c(cost, y, weights=weights):
        value = weights["eta"] * cost(y) if "eta" in weights else 0.0
        if isinstance(estimator, RELAX):
            hidden = np.tanh(y.reshape(*y.shape[:-2], -1) @ weights["hidden_kernel"] + weights["hidden_bias"])
            value = value + hidden @ weights["output_kernel"][:, 0] + weights["output_bias"][0]
        return value

    return c, weights


def reference_gradient(c, weights, cost, logits, seed, num_samples):
    """g = (f(z) - c(y~)) grad log q(z) + grad c(y) - grad c(y~) of each sample, `[S, B, N, K]`, logits `[B, N, K]`.

    By complex steps in the logits, at fixed noise: the Gumbels of `perturb`, and for y~ the exponentials with which the
    conditional sample is equal to that of the Gumbels.
    """
    perturbed = perturb(tf.constant(logits), num_samples, seed).numpy()
    z = np.eye(logits.shape[-1])[perturbed.argmax(axis=-1)]
    gumbels = perturbed - np.log(softmax(logits))
    top = perturbed.max(axis=-1, keepdims=True)
    exponentials = softmax(logits) * (np.exp(-perturbed) - np.exp(-top))
    temperature = np.exp(weights["log_temperature"])

    def relaxed(logits):
        return c(cost, softmax((np.log(softmax(logits)) + gumbels) / temperature), weights)

    def conditional(logits):
        below = -np.log(exponentials / softmax(logits) + np.exp(-top))
        return c(cost, softmax(np.where(z == 1.0, top, below) / temperature), weights)

    gradient = (cost(z) - conditional(logits).real)[..., None, None] * (z - softmax(logits))
    for n, k in np.ndindex(*logits.shape[-2:]):
        moved = logits.astype(complex)
        moved[:, n, k] += 1e-30j
        gradient[..., n, k] += (relaxed(moved) - conditional(moved)).imag / 1e-30
    return gradient


def draw(estimator, cost, logits, seed):
    """The estimate, and the gradient of each example's value, `[B, N, K]`."""
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        estimate = estimator.estimate(ProductCategorical(logits), cost, seed=list(seed))
    return estimate, tape.gradient(estimate.value, logits).numpy()


def variance(estimator, cost, logits, draws=20_000, seed=(7, 7)):
    """The trace of the covariance of the gradient with respect to the logits `[N, K]`."""
    gradient = draw(estimator, cost, np.broadcast_to(logits, (draws, *logits.shape)), seed)[1]
    return gradient.var(axis=0).sum()


class Training:
    """Adam for the logits, if they are trained, and at the same time for the estimator's own variables.

    Args:
        logits: the first ones, `[N, K]`.
        replicates: the draws in one step, of whose gradients the mean is taken.
        own_learning_rate: that of the estimator's variables, if it is another.
    """

    def __init__(
        self,
        estimator,
        cost,
        logits,
        *,
        learning_rate=0.01,
        own_learning_rate=None,
        replicates=100,
        train_logits=True,
        seed=0,
    ):
        self.estimator, self.cost, self.replicates, self.seed = estimator, cost, replicates, seed
        self.variable = tf.Variable(logits, dtype=tf.float32)
        if not estimator.built:
            estimator.build((None, *logits.shape))
        self.optimizers = [keras.optimizers.Adam(rate) for rate in (learning_rate, own_learning_rate or learning_rate)]
        self.variables = [[self.variable] if train_logits else [], estimator.trainable_variables]
        for optimizer, variables in zip(self.optimizers, self.variables, strict=True):
            optimizer.build(variables)

    @property
    def logits(self):
        return self.variable.numpy()

    def run(self, steps):
        self._steps(tf.cast(steps, tf.int64))
        return self

    @tf.function
    def _steps(self, steps):
        for _ in tf.range(steps):
            with tf.GradientTape(persistent=True) as tape:
                q = ProductCategorical(tf.repeat(self.variable[tf.newaxis], self.replicates, axis=0))
                seed = tf.stack([tf.cast(self.estimator.step.value, tf.int32), self.seed])
                estimate = self.estimator.estimate(q, self.cost, seed=seed)
                value = tf.reduce_mean(estimate.value)
            for optimizer, target, variables in zip(
                self.optimizers, (value, estimate.auxiliary), self.variables, strict=True
            ):
                if variables:
                    optimizer.apply(tape.gradient(target, variables), variables)
            self.estimator.update(estimate)


def one_bit(z):
    """(b - 0.49)^2 of one bit, that of the papers' toy problem: 0.2401 at b = 0 and 0.2601 at b = 1."""
    return tf.square(z[..., 0, 1] - 0.49)


def quadratic_with_offset(parameters, offset=10.0):
    """Of parameters `[2, N, K]`: the quadratic cost of the contract suite, plus a constant."""

    def cost(z):
        first, second = (tf.reduce_sum(z * tf.cast(p, z.dtype), axis=[-2, -1]) for p in parameters)
        return tf.square(first - 0.5) + second + offset

    return cost
