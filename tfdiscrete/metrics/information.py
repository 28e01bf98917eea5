"""What the rate of a posterior is spent on, over a data set.

    E_x KL(q(z|x) || p(z)) = I(X; Z) + KL(q_Z || p)                                        the rate
                           = I(X; Z) + TC + sum_n KL(q_Zn || p_n)                          for independent priors
    TC = KL(q_Z || prod_n q_Zn) = sum_n I(X; Z_n) - I(X; Z)                                the total correlation

with q_Z(z) = E_x q(z|x), x uniform on the data set and z independent given x. All are exact differences of entropies,
of which only H(q_Z) is not a sum over single variables:

    I(X; Z) = H(q_Z) - E_x H(q(z|x)),    KL(q_Z || p) = E_qZ[-log p] - H(q_Z),    TC = sum_n H(q_Zn) - H(q_Z)

Matthew D. Hoffman, Matthew J. Johnson (2016), "ELBO surgery: yet another way to carve up the variational evidence lower
bound", NIPS workshop on Advances in Approximate Bayesian Inference.
Ricky T. Q. Chen, Xuechen Li, Roger Grosse, David Duvenaud (2018), "Isolating Sources of Disentanglement in Variational
Autoencoders", arXiv 1802.04942.
"""

from typing import NamedTuple

import numpy as np
import scipy.special
import tensorflow as tf

from tfdiscrete.distributions import is_family
from tfdiscrete.errors import InputError, check_count, check_seed
from tfdiscrete.metrics.aggregate_posterior import AggregatePosterior, normalized
from tfdiscrete.ops import seed_of
from tfdiscrete.ops.all_codes import all_codes

MAX_CODES = 2**20
_FEWEST_SAMPLES = 100
_PRIOR_ELEMENTS = 2**18


class Figure(NamedTuple):
    """A number and how well it is known."""

    value: float
    """In nats."""
    stderr: float
    """Its standard error; 0 where it is exact."""


class Information(NamedTuple):
    """What `information` returns, in nats; with the standard errors, the identities above hold to rounding."""

    rate: Figure
    """E_x KL(q(z|x) || p(z))."""
    information: Figure
    """I(X; Z), the mutual information of data and code: from 0 to log B."""
    marginal_kl: Figure
    """KL(q_Z || p), of the aggregate posterior from the prior: what a better prior could save."""
    total_correlation: Figure
    """KL(q_Z || prod_n q_Zn), the dependence of the latent variables on each other."""
    latent_information: np.ndarray
    """`[N]`: I(X; Z_n), exact."""
    latent_kl: np.ndarray | None
    """`[N]`: KL(q_Zn || p_n), exact; None for a prior whose variables depend on each other."""


def information(logits, prior, *, max_codes: int = MAX_CODES, num_samples: int = 2_000, seed: int = 0) -> Information:
    """Splits the rate of a posterior into what the code says of x and how far the codes are from the prior.

    Exact where all K^N codes are enumerated. Otherwise codes are sampled from q_Z, each scored by the mixture of the
    whole data set, B N K multiplications a sample, its own example included: for the empirical distribution of these
    B examples that is exact, and the estimates are unbiased. log q(z|x) and the single variables' log q_Zn(z_n), whose
    expectations are known, serve as control variates. The standard error is that of the sampling alone.

    For examples that are drawn from a larger set, pass all: of a random subset, I(X; Z) is too low on average (it is
    concave in the distribution of x, and at most log B) and KL(q_Z || p) too high by as much; the rate is unbiased.

    Example:

        q = np.log([[[0.9, 0.1]], [[0.1, 0.9]]])        # two examples, one variable of two categories
        information(q, np.log([0.5, 0.5])).information      # Figure(value=0.368..., stderr=0.0)

    Args:
        logits: `[B, N, K]`, the posteriors' log probabilities up to a constant for each variable; -inf is a
            probability of 0. Held in float64, in about three copies.
        prior: log probabilities up to a constant that broadcast to `[N, K]` (0 is uniform), a `Family`, a
            `priors.Prior`, or any object with `log_prob` from one-hot `[S, N, K]`, in float32, to `[S]`.
        max_codes: the largest `K^N` that is enumerated; it bounds the memory, of some N numbers for each code.
        num_samples: from q_Z where there are more, at least 100.
        seed: of the samples.

    Returns:
        `Information`. Under a prior that gives a code with q_Z(z) > 0 no mass, rate and `marginal_kl` are infinite.

    Raises:
        InputError: for logits that are empty, NaN, +inf or of another shape, or a prior that does not fit them.
    """
    posterior = AggregatePosterior(logits)
    _, num_latents, num_categories = posterior.shape
    check_count("num_samples", num_samples, _FEWEST_SAMPLES)
    check_count("max_codes", max_codes, 0)
    log_p = _independent_prior(prior, posterior.shape[1:])
    latent_entropy = scipy.special.entr(posterior.marginals).sum(axis=-1)
    prior_log_prob = None if log_p is not None else _log_prob_of(prior, num_categories)
    if num_categories**num_latents <= max_codes:
        mean, covariance = _enumerated(posterior, prior_log_prob)
    else:
        mean, covariance = _sampled(posterior, prior_log_prob, num_samples, seed_of(check_seed(seed), "information"))
    latent_kl = None
    if log_p is not None:
        cross_entropy = _cross_entropy(posterior.marginals, log_p).sum(axis=-1)
        latent_kl = cross_entropy - latent_entropy
        mean[1] = cross_entropy.sum()
    conditional = posterior.conditional_entropy.sum()

    def figure(of_entropy: float, of_cross_entropy: float, known: float) -> Figure:
        weights = np.array([of_entropy, of_cross_entropy])
        value = known + sum(weight * m for weight, m in zip(weights, mean, strict=True) if weight)
        # The variance of equal terms' difference is 0 up to rounding of either sign.
        return Figure(float(value), float(np.sqrt(max(weights @ covariance @ weights, 0.0))))

    return Information(
        rate=figure(0.0, 1.0, -conditional),
        information=figure(1.0, 0.0, -conditional),
        marginal_kl=figure(-1.0, 1.0, 0.0),
        total_correlation=figure(-1.0, 0.0, latent_entropy.sum()),
        latent_information=latent_entropy - posterior.conditional_entropy,
        latent_kl=latent_kl,
    )


def _enumerated(posterior: AggregatePosterior, prior_log_prob) -> tuple[np.ndarray, np.ndarray]:
    """H(q_Z) and, unless the prior is None, E_qZ[-log p], with their covariance of zeros."""
    q = posterior.probabilities()
    entropy = scipy.special.entr(q).sum()
    cross = 0.0 if prior_log_prob is None else _cross_entropy(q, prior_log_prob(all_codes(*posterior.shape[1:]))).sum()
    return np.array([entropy, cross]), np.zeros([2, 2])


def _sampled(posterior: AggregatePosterior, prior_log_prob, num_samples, seed) -> tuple[np.ndarray, np.ndarray]:
    """As `_enumerated`, from samples of q_Z."""
    codes = posterior.sample(num_samples, seed)
    log_p = np.zeros(num_samples) if prior_log_prob is None else prior_log_prob(codes.categories)
    impossible = np.isneginf(log_p).any()
    values = -np.stack([posterior.log_prob(codes.categories), np.zeros(num_samples) if impossible else log_p], axis=-1)
    with np.errstate(divide="ignore"):
        log_marginals = np.log(posterior.marginals)
    alone = log_marginals[np.arange(codes.categories.shape[1]), codes.categories].sum(axis=-1)
    controls = [
        posterior.conditional_log_prob(codes) + posterior.conditional_entropy.sum(),
        alone + scipy.special.entr(posterior.marginals).sum(),
    ]
    mean, covariance = _controlled_mean(values, np.stack(controls, axis=-1))
    return mean + np.array([0.0, np.inf if impossible else 0.0]), covariance


def _controlled_mean(values: np.ndarray, controls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The means of `values` `[S, R]`, given `controls` `[S, C]` of expectation 0, and their covariance `[R, R]`.

    What the controls explain of the values is taken off, by coefficients that are fitted to the other half of the
    samples: being independent of what they weigh, they add no bias. Controls that are constant up to rounding are
    left out by the pseudo-inverse.
    """
    middle = len(values) // 2
    halves = (slice(None, middle), slice(middle, None))
    adjusted = values.copy()
    for own, other in (halves, halves[::-1]):
        design = np.insert(controls[other], 0, 1.0, axis=1)
        coefficients = np.linalg.pinv(design, rcond=1e-9) @ values[other]
        adjusted[own] -= controls[own] @ coefficients[1:]
    return adjusted.mean(axis=0), np.cov(adjusted, rowvar=False) / len(values)


def _cross_entropy(q: np.ndarray, log_p: np.ndarray) -> np.ndarray:
    """-q log p, 0 where q is 0 and infinite where p alone is."""
    return np.multiply(q, -log_p, where=q > 0.0, out=np.zeros_like(q))


def _independent_prior(prior, shape: tuple[int, ...]) -> np.ndarray | None:
    """Log probabilities `[N, K]` of independent variables, with -inf for log 0; None for any other prior."""
    if not getattr(prior, "built", True):
        prior.build(shape)
    law = prior.distribution() if hasattr(prior, "distribution") else prior
    if not is_family(law) and hasattr(prior, "log_prob"):
        return None
    log_p = np.asarray(law.logits if is_family(law) else law)
    try:
        log_p = np.broadcast_to(log_p, shape)
    except ValueError:
        raise InputError(
            f"the prior's log probabilities must broadcast to [N, K] = {shape}. Received: shape {log_p.shape}."
        ) from None
    log_p = normalized("the prior's log probabilities", log_p)
    return np.where(log_p > -1e299, log_p, -np.inf)


def _log_prob_of(prior, num_categories: int):
    """The prior's log probability of codes, int64 `[S, N]` to float64 `[S]`, in chunks."""

    def log_prob(index: np.ndarray) -> np.ndarray:
        rows = max(1, _PRIOR_ELEMENTS // (index.shape[1] * num_categories))
        parts = []
        for start in range(0, len(index), rows):
            part = index[start : start + rows]
            values = np.asarray(prior.log_prob(tf.one_hot(part, num_categories))).astype(np.float64)
            if values.shape != (len(part),) or np.isnan(values).any() or (values == np.inf).any():
                raise InputError(
                    f"the prior's log_prob must map one-hot codes [S, N, K] to numbers [S], S = {len(part)}, and be "
                    f"finite or -inf. Received: shape {values.shape}, {np.sum(~(values < np.inf))} NaN or +inf."
                )
            parts.append(values)
        return np.concatenate(parts)

    return log_prob
