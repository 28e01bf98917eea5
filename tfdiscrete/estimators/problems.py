"""Problems on which gradient estimators are measured: a law, a cost of its outcomes, and the answer where it is known.

The four of counts are those of the generalized Gumbel-Softmax paper,

    min_lambda E_{z ~ D(lambda)} sum_i (z_i - t_i)^2,    t_1..t_k drawn once from D(theta)

with theta = Poisson(20), Binomial(20, 0.3), Multinomial(3, [0.7, 0.2, 0.1]) and NegativeBinomial(3, 0.4), the last
counting the failures before 3 successes of probability 0.4 (mean 4.5; TFP's `probs` is 0.6). The paper leaves open
what is chosen here: k = 5, where lambda starts, its coordinates (the log rate, log odds, logits), and the truncation,
which moves a mass of at most 1e-6 at either of the start and theta.

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions import InvertibleGaussian, ProductCategorical, Truncated
from tfdiscrete.errors import check_name

tfd = tfp.distributions

_TOLERANCE = 1e-6


class Problem(NamedTuple):
    """What an estimator is measured on. Everything is a function of a batch of `R` replicas of the parameters.

    Example:

        scores = np.array([[0.0, 1.0, 3.0], [2.0, 0.0, 1.0]])
        mine = Problem(
            name="mine",
            parameters=np.zeros([2, 3]),
            distribution=ProductCategorical,
            cost=lambda z: tf.reduce_sum(z * scores, axis=[-2, -1]) ** 2,
        )
    """

    name: str
    parameters: Any
    """An array, or a dict or other nest of arrays, without a batch: where the gradient is measured."""
    distribution: Callable[[Any], Any]
    """Parameters, `[R, ...]` each, to a distribution of batch `[R]` that estimators take."""
    cost: Callable[[tf.Tensor], tf.Tensor]
    """z `[S', R, *event]` to `[S', R]`, as for `Estimator.estimate`."""
    expected_cost: Callable[[Any], tf.Tensor] | None = None
    """Parameters, `[R, ...]` each, to the exact expectation `[R]`, differentiable; without it, the sum over all codes
    where they are few."""
    context: np.ndarray | None = None
    """What an input-dependent baseline reads, without a batch; by default one 1."""
    description: str = ""


def bit() -> Problem:
    """min E (b - 0.49)^2, b ~ Bernoulli(sigmoid(x)), at x = 0: the toy problem of the REBAR and RELAX papers."""

    def distribution(x):
        return ProductCategorical(tf.stack([tf.zeros_like(x), x], axis=-1)[:, tf.newaxis])

    def expected_cost(x):
        return tf.sigmoid(x) * 0.51**2 + tf.sigmoid(-x) * 0.49**2

    return Problem(
        "bit",
        np.zeros([]),
        distribution,
        lambda z: (z[..., 0, 1] - 0.49) ** 2,
        expected_cost,
        description="(b - 0.49)^2 of one bit",
    )


def poisson(num_targets: int = 5, seed: int = 0) -> Problem:
    """Poisson(20), from a rate of 10; the parameter is the log rate."""
    return _counts(
        "poisson",
        "squared distance to draws of Poisson(20), from Poisson(10)",
        lambda log_rate: tfd.Poisson(log_rate=log_rate),
        start=np.log(10.0),
        goal=np.log(20.0),
        targets=np.random.default_rng(seed).poisson(20.0, num_targets),
    )


def binomial(num_targets: int = 5, seed: int = 0) -> Problem:
    """Binomial(20, 0.3), from a probability of 0.5; the parameter is the log odds."""
    return _counts(
        "binomial",
        "squared distance to draws of Binomial(20, 0.3), from Binomial(20, 0.5)",
        lambda logits: tfd.Binomial(20.0, logits=logits),
        start=0.0,
        goal=_log_odds(0.3),
        targets=np.random.default_rng(seed).binomial(20, 0.3, num_targets),
    )


def multinomial(num_targets: int = 5, seed: int = 0) -> Problem:
    """Multinomial(3, [0.7, 0.2, 0.1]), from equal probabilities; the parameters are the logits."""
    return _counts(
        "multinomial",
        "squared distance to draws of Multinomial(3, [.7, .2, .1]), from equal probabilities",
        lambda logits: tfd.Multinomial(3.0, logits=logits),
        start=np.zeros(3),
        goal=np.log([0.7, 0.2, 0.1]),
        targets=np.random.default_rng(seed).multinomial(3, [0.7, 0.2, 0.1], num_targets),
    )


def negative_binomial(num_targets: int = 5, seed: int = 0) -> Problem:
    """Failures before 3 successes of probability 0.4, from probability 0.6; the parameter is a failure's log odds."""
    return _counts(
        "negative_binomial",
        "squared distance to draws of NegBin(3, 0.4), from NegBin(3, 0.6)",
        lambda logits: tfd.NegativeBinomial(3.0, logits=logits),
        start=_log_odds(0.4),
        goal=_log_odds(0.6),
        targets=np.random.default_rng(seed).negative_binomial(3, 0.4, num_targets),
    )


def vae_layer(num_latents: int = 4, num_categories: int = 3, num_pixels: int = 16, seed: int = 0) -> Problem:
    """-log p(x|z) of Bernoulli pixels x, by a fixed random decoder of 8 tanh units; the parameters are the logits."""
    rng = np.random.default_rng(seed)
    logits = 0.5 * rng.normal(size=(num_latents, num_categories))
    cost = _negative_log_likelihood(rng, num_latents, num_categories, num_pixels)
    description = f"a random VAE's reconstruction error, {num_latents} x {num_categories} categories"
    return Problem("vae_layer", logits, ProductCategorical, cost, description=description)


def invertible_gaussian_layer(num_latents: int = 2, num_categories: int = 3, seed: int = 0) -> Problem:
    """The same cost with invertible Gaussian variables; the parameters are locations and log scales."""
    rng = np.random.default_rng(seed)
    shape = (num_latents, num_categories - 1)
    parameters = {"loc": 0.5 * rng.normal(size=shape), "log_scale": 0.2 * rng.normal(size=shape)}
    cost = _negative_log_likelihood(rng, num_latents, num_categories, 16)

    def distribution(parameters):
        return InvertibleGaussian(parameters["loc"], tf.exp(parameters["log_scale"]))

    description = f"a random VAE's reconstruction error, {num_latents} invertible Gaussians of {num_categories} corners"
    return Problem("invertible_gaussian_layer", parameters, distribution, cost, description=description)


def _log_odds(probability: float) -> float:
    return float(np.log(probability) - np.log1p(-probability))


def _counts(name, description, law, *, start, goal, targets) -> Problem:
    """k independent counts of one law: min E sum_i (z_i - t_i)^2."""
    targets = targets.astype(float)  # [k], or [k, D] of vectors
    laws = [law(tf.constant(parameter, tf.float64)) for parameter in (start, goal)]
    # All outcomes of vectors are enumerated.
    ends = Truncated(laws[0]) if targets.ndim == 2 else Truncated(laws[0], tolerance=_TOLERANCE, reference=laws)
    low, high = ends.low, ends.high

    def distribution(parameters):
        # [R, k], [R, k, D]
        repeated = tf.repeat(tf.expand_dims(parameters, 1), len(targets), axis=1)
        return Truncated(law(repeated), low=low, high=high)

    def squared(distance):
        return distance**2 if targets.ndim == 1 else tf.reduce_sum(distance**2, axis=-1)

    def cost(z):
        return tf.reduce_sum(squared(z - tf.constant(targets, z.dtype)), axis=-1)

    def expected_cost(parameters):
        log_pmf = Truncated(law(parameters), low=low, high=high).log_probabilities  # [R, K]
        outcomes = tf.cast(ends.outcomes, log_pmf.dtype)
        distances = squared(outcomes[:, tf.newaxis] - tf.constant(targets, log_pmf.dtype))  # [K, k]
        return tf.linalg.matvec(tf.exp(log_pmf), tf.reduce_sum(distances, axis=-1))

    return Problem(name, np.asarray(start), distribution, cost, expected_cost, description=description)


def _negative_log_likelihood(rng, num_latents: int, num_categories: int, num_pixels: int):
    first = 1.5 * rng.normal(size=(num_latents, num_categories, 8)) / np.sqrt(num_latents)
    second = 1.5 * rng.normal(size=(8, num_pixels)) / np.sqrt(8.0)
    pixels = rng.integers(0, 2, num_pixels)

    def cost(z):
        hidden = tf.tanh(tf.einsum("srnk,nkh->srh", z, tf.constant(first, z.dtype)))
        logits = tf.einsum("srh,hd->srd", hidden, tf.constant(second, z.dtype))
        # -log p(x|z) = sum_d softplus(-l_d) for a pixel that is on, softplus(l_d) for one that is off
        return tf.reduce_sum(tf.nn.softplus(logits * tf.constant(1.0 - 2.0 * pixels, z.dtype)), axis=-1)

    return cost


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "bit": bit,
    "poisson": poisson,
    "binomial": binomial,
    "multinomial": multinomial,
    "negative_binomial": negative_binomial,
    "vae_layer": vae_layer,
    "invertible_gaussian_layer": invertible_gaussian_layer,
}


def get(problem: str | Problem) -> Problem:
    """The built-in problem of that name; a `Problem` is returned as it is.

    Raises:
        InputError: for an unknown name.
    """
    return problem if isinstance(problem, Problem) else PROBLEMS[check_name("problem", problem, PROBLEMS)]()
