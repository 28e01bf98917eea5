"""The aggregate posterior of a data set, for independent categorical latent variables.

    q_Z(z) = (1/B) sum_b prod_n q(z_n|x_b),    log q_Z(z) = log-mean-exp_b sum_n log q(z_n|x_b)

It is the distribution of the codes that an encoder makes of the data, which a prior is to match.

Matthew D. Hoffman, Matthew J. Johnson (2016), "ELBO surgery: yet another way to carve up the variational evidence lower
bound", NIPS workshop on Advances in Approximate Bayesian Inference.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.ops import split_seed, uniform

# Stands for log 0: a sum of products with zeros and ones of it has no NaN, as one with -inf would.
_LOG_ZERO = -1e300
_CHUNK_ELEMENTS = 2**22


class Codes(NamedTuple):
    """What `AggregatePosterior.sample` returns."""

    categories: np.ndarray
    """int64 `[S, N]`: the category of each variable."""
    example: np.ndarray
    """int64 `[S]`: the example whose posterior each code was drawn from."""


class AggregatePosterior:
    """The mixture of the posteriors of all examples of a data set, each with weight 1/B, in float64.

    The mixture holds every example, in chunks of about 32 MB, so nothing here is biased for these examples.

    Example:

        aggregate = AggregatePosterior(np.log([[[0.9, 0.1]], [[0.2, 0.8]]]))
        aggregate.log_prob([[0], [1]])      # log [0.55, 0.45]

    Args:
        logits: `[B, N, K]`, log probabilities up to a constant for each variable; -inf is a probability of 0.

    Raises:
        InputError: for another shape, an empty data set, NaN, +inf, or a variable without a possible category.
    """

    def __init__(self, logits):
        self._log_q = normalized("logits", logits)
        if self._log_q.ndim != 3:
            raise InputError(
                "logits must have shape [B, N, K], the posteriors of B examples. "
                f"Received: logits of shape {self._log_q.shape}."
            )
        self.shape: tuple[int, ...] = self._log_q.shape
        probabilities = np.exp(self._log_q)
        self.marginals: np.ndarray = probabilities.mean(axis=0)
        """`[N, K]`: the probabilities q_Zn of each variable alone."""
        probabilities *= self._log_q
        self.conditional_entropy: np.ndarray = -probabilities.sum(axis=-1).mean(axis=0)
        """`[N]`, in nats: the mean over the examples of the entropy of q(z_n|x)."""

    def log_prob(self, index) -> np.ndarray:
        """log q_Z of codes, integers `[S, N]` below `K`, to `[S]`; -inf for a code that no example can have."""
        num_examples, num_latents, num_categories = self.shape
        index = np.asarray(index)
        if index.ndim != 2 or index.shape[1] != num_latents or not np.issubdtype(index.dtype, np.integer):
            raise InputError(
                f"index must be integers [S, N] with N = {num_latents}. Received: {index.dtype} of shape {index.shape}."
            )
        if index.size and not 0 <= index.min() <= index.max() < num_categories:
            raise InputError(f"index must be from 0 to {num_categories - 1}. Received: {index.min()} to {index.max()}.")
        log_q = self._log_q.reshape(num_examples, -1).T
        result = np.empty(len(index))
        for part in _chunks(len(index), max(log_q.shape)):
            each = one_hot(index[part], num_categories).reshape(-1, len(log_q)) @ log_q
            result[part] = scipy.special.logsumexp(each, axis=1) - np.log(num_examples)
        return np.where(result > _LOG_ZERO / 2, result, -np.inf)

    def conditional_log_prob(self, codes: Codes) -> np.ndarray:
        """log q(z|x) of codes and their own examples, `[S]`."""
        latents = np.arange(self.shape[1])
        return self._log_q[codes.example[:, None], latents, codes.categories].sum(axis=-1)

    def sample(self, num_samples: int, seed: tf.Tensor) -> Codes:
        """Independent codes from q_Z: of examples drawn with replacement; `seed` is int32 `[2]`."""
        num_examples, num_latents, num_categories = self.shape
        num_samples = check_count("num_samples", num_samples)
        of_examples, of_codes = split_seed(seed, 2)
        example = (uniform([num_samples], of_examples, dtype=tf.float64).numpy() * num_examples).astype(np.int64)
        example = np.minimum(example, num_examples - 1)
        draws = uniform([num_samples, num_latents, 1], of_codes, dtype=tf.float64).numpy()
        index = np.empty([num_samples, num_latents], np.int64)
        for part in _chunks(num_samples, num_latents * num_categories):
            cumulative = np.exp(self._log_q[example[part]]).cumsum(axis=-1)
            index[part] = (cumulative < draws[part] * cumulative[..., -1:]).sum(axis=-1)
        return Codes(index, example)

    def probabilities(self) -> np.ndarray:
        """q_Z of all codes, `[K^N]`, in the order of `all_codes`: for small `K^N`."""
        num_examples, num_latents, num_categories = self.shape
        half = num_latents // 2
        # The outer product of two halves of the variables: B K^N products in all, of BLAS.
        total = np.zeros([num_categories**half, num_categories ** (num_latents - half)])
        for part in _chunks(num_examples, total.shape[1]):
            q = np.exp(self._log_q[part])
            total += _joint(q[:, :half]).T @ _joint(q[:, half:])
        return total.ravel() / num_examples


def normalized(name: str, logits) -> np.ndarray:
    """Log probabilities in float64 along the last axis, with -1e300 for log 0; raises `InputError` where undefined."""
    logits = np.asarray(logits).astype(np.float64)
    if not logits.size:
        raise InputError(f"{name} must hold at least one example and category. Received: shape {logits.shape}.")
    bad = np.isnan(logits) | (logits == np.inf)
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{name} must be finite, or -inf for a probability of 0. Received: {logits[place]} at {place}."
        )
    top = logits.max(axis=-1, keepdims=True)
    if (top == -np.inf).any():
        place = tuple(int(i) for i in np.argwhere(top[..., 0] == -np.inf)[0])
        raise InputError(f"{name} must give each variable a possible category. Received: only -inf at {place}.")
    with np.errstate(over="ignore"):
        logits -= top
    np.maximum(logits, _LOG_ZERO, out=logits)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def one_hot(index: np.ndarray, num_categories: int) -> np.ndarray:
    """Integers `[...]` to zeros and ones `[..., K]`, float64."""
    result = np.zeros([*index.shape, num_categories])
    np.put_along_axis(result, index[..., None], 1.0, axis=-1)
    return result


def _chunks(count: int, width: int):
    """Slices of `range(count)`, such that rows of `width` elements stay within the bound on memory."""
    rows = max(1, _CHUNK_ELEMENTS // max(width, 1))
    return [slice(start, start + rows) for start in range(0, count, rows)]


def _joint(q: np.ndarray) -> np.ndarray:
    """Probabilities of independent variables, `[B, n, K]`, to those of their codes, `[B, K^n]`."""
    joint = np.ones([len(q), 1])
    for n in range(q.shape[1]):
        joint = (joint[:, :, None] * q[:, n, None, :]).reshape(len(q), -1)
    return joint
