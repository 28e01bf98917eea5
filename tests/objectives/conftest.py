"""A model whose evidence is a sum of nine terms: two latent variables of three categories, four binary pixels."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete.priors import Fixed
from tfdiscrete.priors.base import IndependentPrior

PRIOR = np.array([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
CODES = np.eye(3)[list(itertools.product(range(3), repeat=2))]  # [9, 2, 3]


class DoublePrior(IndependentPrior):
    """`PRIOR` in float64, for comparisons to many digits."""

    def parameters(self):
        return tf.constant(np.log(PRIOR))


class TinyModel(NamedTuple):
    x: np.ndarray  # [B, 4], bits
    weights: np.ndarray  # [2, 3, 4], code to pixel logits

    def prior(self):
        prior = Fixed(PRIOR)
        prior.build((2, 3))
        return prior

    def double_prior(self):
        prior = DoublePrior()
        prior.build((2, 3))
        return prior

    def replicated(self, example, replicates=20_000):
        """The model with one example so often, for averages over independent draws."""
        return self._replace(x=np.broadcast_to(self.x[example], (replicates, 4)))

    def log_likelihood(self, z):
        """In TensorFlow: [S, B, 2, 3] to [S, B]."""
        logits = tf.einsum("sbnk,nkd->sbd", z, tf.constant(self.weights, z.dtype))
        return tf.reduce_sum(self.x * logits - tf.math.softplus(logits), axis=-1)

    def log_joint(self):
        """In NumPy: log p(x, z) of all codes, [9, B]."""
        logits = np.einsum("snk,nkd->sd", CODES, self.weights)
        signs = 2 * self.x - 1
        log_likelihood = -np.logaddexp(0.0, -signs * logits[:, None]).sum(-1)
        return log_likelihood + self.log_prior()[:, None]

    def log_prior(self):
        """log p(z) of all codes, [9]."""
        return np.log((CODES * PRIOR).sum(-1)).sum(-1)

    def log_evidence(self):
        """log p(x), [B]."""
        return scipy.special.logsumexp(self.log_joint(), axis=0)

    def log_q(self, logits):
        """log q(z) of all codes, [9, B]."""
        return (CODES[:, None] * scipy.special.log_softmax(logits, axis=-1)).sum((-2, -1))

    def elbo(self, logits):
        """sum_z q(z) (log p(x, z) - log q(z)), [B]."""
        log_q = self.log_q(logits)
        return (np.exp(log_q) * (self.log_joint() - log_q)).sum(0)

    def rate(self, logits):
        """KL(q || p), [B]."""
        log_q = self.log_q(logits)
        return (np.exp(log_q) * (log_q - self.log_prior()[:, None])).sum(0)

    def posterior_logits(self):
        """Log marginals of p(z|x), [B, 2, 3]: those of the posterior itself where it factorizes."""
        posterior = np.exp(self.log_joint() - self.log_evidence())
        return np.log(np.einsum("sb,snk->bnk", posterior, CODES))


def random_model(seed):
    """Each pixel depends on both variables, so that no product of categoricals is the posterior."""
    rng = np.random.default_rng(seed)
    return TinyModel(rng.integers(2, size=(5, 4)).astype("float64"), 2.0 * rng.normal(size=(2, 3, 4)))


@pytest.fixture
def model():
    return random_model(0)


@pytest.fixture
def factorizing_model(model):
    """Each pixel depends on one variable, so that the posterior factorizes."""
    weights = model.weights.copy()
    weights[0, :, 2:] = 0.0
    weights[1, :, :2] = 0.0
    return model._replace(weights=weights)


@pytest.fixture
def replicated_model(model):
    """With the second example."""
    return model.replicated(1)


@pytest.fixture
def replicated_logits(logits):
    """The posterior of that example as often."""
    return np.broadcast_to(logits[1], (20_000, 2, 3))


@pytest.fixture
def logits():
    """Of an arbitrary posterior, [5, 2, 3]."""
    return np.random.default_rng(1).normal(size=(5, 2, 3))


def central_difference(function, array, step=1e-5):
    """The gradient of a number with respect to an array, by finite differences."""
    gradient = np.zeros_like(array)
    for index in np.ndindex(*array.shape):
        shift = np.zeros_like(array)
        shift[index] = step
        gradient[index] = (function(array + shift) - function(array - shift)) / (2 * step)
    return gradient


def assert_mean_is(exact, draws):
    """`draws` [R, ...] average to `exact` [...] within 4.5 standard errors in each coordinate."""
    draws = np.asarray(draws)
    error = 4.5 * draws.std(axis=0) / np.sqrt(len(draws)) + 1e-6
    assert (np.abs(draws.mean(axis=0) - exact) <= error).all(), "the mean is another one"


def assert_means_agree(first, second):
    """The same of the difference of two sets of draws, which need not be independent."""
    assert_mean_is(0.0, np.asarray(first) - np.asarray(second))
