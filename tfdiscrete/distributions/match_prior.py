"""The prior of a relaxed family whose discretization is a given law.

    find the family's parameters for which P_k(parameters) = pmf_k

- Gumbel-Softmax: logits = log pmf, exactly.
- Invertible Gaussian without a flow: with the scales fixed, log P_k is concave in the means (it is the integral of a
  log-concave function over a convex set), so that the means are determined; a Newton-Krylov method finds them, with P
  by quadrature.
- Stick breaking: were each stick to take all or nothing of what is left, P_k = h_k prod_{j<k} (1 - h_j) with
  h_k = Phi(mu_k / sigma). From there the shares h_k are corrected by those that samples of fixed noise show.

Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588.
"""

import numpy as np
import scipy.optimize
import scipy.special
import tensorflow as tf

from tfdiscrete.bijectors import StickBreaking
from tfdiscrete.distributions.gumbel_softmax import GumbelSoftmax
from tfdiscrete.distributions.invertible_gaussian import InvertibleGaussian
from tfdiscrete.errors import InputError, check_name, check_positive
from tfdiscrete.ops import gaussian_argmax_log_probabilities, log_stick_breaking, normal, seed_of

FAMILIES = ("gumbel_softmax", "invertible_gaussian", "stick_breaking")

# The least probability that is told from zero.
_LEAST, _LOWEST_LOG = 1e-9, -40.0
# Counting in 2^18 samples tells no smaller share.
_STICK_SAMPLES, _STICK_ITERATIONS, _LEAST_SHARE = 2**18, 40, 1e-6
# The total variation of the counted law, times sqrt(K), that will do.
_STICK_DISTANCE = 1e-4


def match_prior(
    family: str, pmf, *, temperature: float = 0.1, delta: float = 1.0, scale: float | None = None, seed: int = 0
) -> GumbelSoftmax | InvertibleGaussian:
    """The distribution of a relaxed family whose hard samples follow a given law.

    Example:

        prior = match_prior("invertible_gaussian", [0.2, 0.3, 0.5])
        prior.discretize().probs_parameter()        # [0.2, 0.3, 0.5]

    Args:
        family: "gumbel_softmax", "invertible_gaussian" or "stick_breaking".
        pmf: `[K]`, probabilities that sum to one, `K >= 2`. For stick breaking the last must be 0, since the sticks
            alone are ever the largest: append a 0 to a law that has no such category.
        temperature: of the result; the fit is of the hard samples, and does not depend on it.
        delta: of the result, the weight of the last category; not for "gumbel_softmax".
        scale: the standard deviation of all Gaussians, which the law does not determine; by default 1, and 3 for
            stick breaking, where small ones hide the later sticks; not for "gumbel_softmax".
        seed: for stick breaking, whose law is counted in 2^18 samples.

    Returns:
        A `GumbelSoftmax` or an `InvertibleGaussian`, float32, without batch. The total variation between its hard
        samples' law and `pmf` is 0 to rounding for the first two families, about `0.001 sqrt(K)` for stick breaking.

    Raises:
        InputError: for an unknown family, an option that is not positive, or a `pmf` that is none or that stick
            breaking cannot have.
    """
    check_name("family", family, FAMILIES)
    check_positive("temperature", temperature)
    check_positive("delta", delta)
    scale = check_positive("scale", (3.0 if family == "stick_breaking" else 1.0) if scale is None else scale)
    pmf = _check_pmf(pmf)
    if family == "gumbel_softmax":
        return GumbelSoftmax(temperature, tf.constant(np.log(np.maximum(pmf, _LEAST)), tf.float32))
    if family == "invertible_gaussian":
        loc, flow = _match_gaussian(pmf, scale), None
    else:
        loc, flow = _match_stick_breaking(pmf, scale, seed), StickBreaking()
    loc = tf.constant(loc, tf.float32)
    return InvertibleGaussian(loc, scale * tf.ones_like(loc), temperature, delta, flow)


def _check_pmf(pmf) -> np.ndarray:
    pmf = np.asarray(pmf, np.float64)
    if pmf.ndim != 1 or len(pmf) < 2 or not (pmf >= 0.0).all() or abs(pmf.sum() - 1.0) > 1e-6:
        raise InputError(
            "pmf must be a vector of K >= 2 probabilities that sum to one. "
            f"Received: shape {pmf.shape}, sum {pmf.sum()}, least {pmf.min() if pmf.size else 'none'}."
        )
    return pmf / pmf.sum()


def _match_gaussian(pmf, scale) -> np.ndarray:
    """The means of IGR-I, `[K-1]`: the root of log P_k - log pmf_k."""
    log_pmf = np.log(np.maximum(pmf, _LEAST))
    # About the derivative of log P_k with respect to mu_k, which makes the unknowns alike.
    slopes = 1.0 + np.sqrt(-2.0 * log_pmf[:-1])

    @tf.function(jit_compile=True)
    def log_probabilities(loc):
        return gaussian_argmax_log_probabilities(loc, tf.ones_like(loc))

    def residual(loc):
        log_p = np.maximum(log_probabilities(tf.constant(loc)).numpy(), _LOWEST_LOG)
        return (log_p - log_pmf)[:-1] / slopes

    start = scipy.special.ndtri(np.clip(pmf[:-1], _LEAST, 1.0 - _LEAST))
    # The solver's relative tolerance is infinite, and it divides by it.
    with np.errstate(invalid="ignore"):
        solution = scipy.optimize.root(residual, start, method="krylov", options={"fatol": 1e-8, "maxiter": 200})
    if not solution.success:
        raise InputError(
            f"no means were found for this pmf: {solution.message} Its least probability may be too small."
        )
    return scale * solution.x


def _match_stick_breaking(pmf, scale, seed) -> np.ndarray:
    """The means of IGR-SB, `[K-1]`, by correcting the share that each stick takes of what its predecessors left."""
    if pmf[-1] > 0.0:
        raise InputError(
            "stick breaking never makes the last category the largest, so pmf must end with 0. "
            f"Received: pmf[-1]={pmf[-1]}. Append a 0 to it: the result has one category more."
        )
    quantiles = _share_quantiles(pmf[:-1])
    noise = normal([_STICK_SAMPLES, len(quantiles)], seed_of(seed, "match_prior"))

    @tf.function
    def largest(loc):
        return tf.argmax(log_stick_breaking(loc + scale * noise), axis=-1)

    loc, steps, last = scale * quantiles, np.ones_like(quantiles), np.zeros_like(quantiles)
    least, best = np.inf, loc
    for _ in range(_STICK_ITERATIONS):
        counts = np.bincount(largest(tf.constant(loc, tf.float32)).numpy(), minlength=len(loc))
        distance = np.abs(counts / _STICK_SAMPLES - pmf[:-1]).sum()
        if distance < least:
            least, best = distance, loc
        if 0.5 * distance < _STICK_DISTANCE * np.sqrt(len(pmf)):
            break
        # Half a count more tells what was never seen from what cannot be.
        correction = quantiles - _share_quantiles(counts + 0.5)
        # A stick that went too far goes on with smaller steps: small scales make close competitors overshoot.
        steps = np.where(correction * last < 0.0, 0.5 * steps, np.minimum(1.2 * steps, 1.0))
        loc, last = loc + scale * steps * correction, correction
    return best


def _share_quantiles(pmf) -> np.ndarray:
    """`Phi^-1(h_k)` of the share h_k that k has of what k and its successors have."""
    rest = pmf[::-1].cumsum()[::-1]
    shares = np.divide(pmf, rest, out=np.full_like(pmf, 0.5), where=rest > 0.0)
    return scipy.special.ndtri(np.clip(shares, _LEAST_SHARE, 1.0 - _LEAST_SHARE))
