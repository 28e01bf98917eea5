"""Estimators that draw codes, given each possible draw in turn: their expectations and variances without sampling."""

import itertools

import numpy as np
import scipy.special
import tensorflow as tf

from tests.estimators.problems import COSTS, estimate_and_gradient, random_problem, replicated
from tfdiscrete.ops import TopCodes

# Those of the contract suite.
SUITE = [random_problem(cost, latents, categories) for latents in (1, 3) for categories in (2, 3, 7) for cost in COSTS]


def name_of(problem):
    latents, categories = problem.logits.shape
    return f"{problem.cost.__name__}-{latents}-{categories}"


def number_of_codes(problem):
    latents, categories = problem.logits.shape
    return categories**latents


def all_codes(problem):
    """All codes, `[C, N]`, and their probabilities."""
    latents, categories = problem.logits.shape
    codes = np.array(list(itertools.product(range(categories), repeat=latents)))
    log_pi = scipy.special.log_softmax(problem.logits, axis=-1)
    return codes, np.exp(sum(log_pi[n, codes[:, n]] for n in range(latents)))


def costs_and_scores(problem):
    """f and grad log q of all codes, `[C]` and `[C, N K]`."""
    codes, _ = all_codes(problem)
    one_hot = np.eye(problem.logits.shape[1])[codes]
    costs = problem.cost(np, one_hot[:, None], problem.parameters[None])[:, 0]
    return costs, (one_hot - scipy.special.softmax(problem.logits, axis=-1)).reshape(len(codes), -1)


def ordered_draws(q, k):
    """All orders of `k` of the codes drawn without replacement, `[P, k]`, and their probabilities."""
    orders = np.array(list(itertools.permutations(range(len(q)), k)))
    return orders, np.prod([q[orders[:, j]] / left(q, orders[:, :j]) for j in range(k)], axis=0)


def left(q, drawn):
    """The mass of all but those drawn, summed, `[P, j]` to `[P]`."""
    others = np.broadcast_to(q, (len(drawn), len(q))).copy()
    np.put_along_axis(others, drawn, 0.0, axis=-1)
    return others.sum(axis=-1)


def given_draws(monkeypatch, module, problem, draws):
    """Makes the sampler in a module return `draws`, `[P, k]`, one row for each example."""
    codes, q = all_codes(problem)

    def perturbed_top_codes(log_pi, k, seed):
        assert k == draws.shape[1]
        assert log_pi.shape == (len(draws), *problem.logits.shape)
        log_prob = tf.constant(np.log(q[draws]).T)
        log_rest = tf.math.log(tf.constant(left(q, draws)))
        return TopCodes(tf.constant(codes[draws].swapaxes(0, 1), tf.int32), log_prob, log_prob, log_rest)

    monkeypatch.setattr(module, "perturbed_top_codes", perturbed_top_codes)


def values_and_gradients(estimator, problem, count):
    """Of `count` examples of the problem: `[P]`, `[P, 3 N K]` (for the logits, then for the cost's parameters)."""
    estimate, gradient = estimate_and_gradient(estimator, problem.cost, *replicated(problem, count))
    return estimate.value.numpy(), gradient.numpy()


def variance(gradients, probabilities):
    """In each coordinate."""
    mean = probabilities @ gradients
    return probabilities @ (gradients - mean) ** 2


def assert_exact(problem, values, gradients, probabilities):
    """That the weighted sum over all draws is the answer of enumeration, to rounding."""
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-10)
    np.testing.assert_allclose(probabilities @ values, problem.value(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(probabilities @ gradients, problem.gradient(), rtol=1e-9, atol=1e-12)
