"""The count laws whose tails are in closed form, without a difference of nearly equal numbers.

    Poisson             P(X >= k) = P(k, rate)                       P(X <= k) = Q(k + 1, rate)
    Binomial            P(X >= k) = I_p(k, n - k + 1)                P(X <= k) = I_{1-p}(n - k, k + 1)
    NegativeBinomial    P(X >= k) = I_p(k, n)                        P(X <= k) = I_{1-p}(n, k + 1)
    Geometric           P(X >= k) = (1 - p)^k, k failures
    Zipf                P(X >= k) = zeta(s, k) / zeta(s, 1), k >= 1

with P and Q the regularized incomplete gamma functions and I the beta one. Where these underflow, the series of
`ops.truncation.log_tail` takes over.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.count_law import CountLaw, in_float64, static_count
from tfdiscrete.errors import InputError
from tfdiscrete.ops.logspace import IMPOSSIBLE
from tfdiscrete.ops.truncation import log_tail
from tfdiscrete.ops.zeta import log_hurwitz_zeta

tfd = tfp.distributions

_TINY = 1e-300
# Of the series: below 1e-290, where it serves, eight terms and a geometric remainder give the mass to about 3e-5.
_STEPS = np.arange(8.0)


def _column(x) -> tf.Tensor:
    return tf.convert_to_tensor(x, tf.float64)[..., tf.newaxis]


def _log_positive(x) -> tf.Tensor:
    return tf.math.log(tf.maximum(x, tf.constant(_TINY, tf.float64)))


def _log_complement(log_mass: tf.Tensor) -> tf.Tensor:
    """log(1 - mass), with a gradient at the ends, where `tfp.math.log1mexp` has none."""
    return tf.math.log(-tf.math.expm1(tf.minimum(log_mass, tf.constant(-_TINY, tf.float64))))


class PoissonLaw(CountLaw):
    """`tfd.Poisson`, with a gradient down to a rate of 0."""

    def __init__(self, distribution):
        super().__init__(distribution, start=0)
        if distribution.log_rate is None:
            rate = tf.convert_to_tensor(distribution.rate)
            # A rate below 0, of a forgotten softplus, is to be seen.
            negative = tf.constant(np.nan, tf.float64)
            self._rate = tf.where(rate < 0.0, negative, tf.maximum(rate, tf.constant(_TINY, tf.float64)))
            self._log_rate = tf.math.log(self._rate)
        else:
            self._log_rate = tf.maximum(tf.convert_to_tensor(distribution.log_rate), np.log(_TINY))
            self._rate = tf.exp(self._log_rate)

    def log_pmf(self, outcomes):
        k = tf.constant(outcomes, tf.float64)
        return k * self._log_rate[..., tf.newaxis] - self._rate[..., tf.newaxis] - tf.math.lgamma(k + 1.0)

    def _log_lower(self, k):
        ratios = _log_positive(k - _STEPS) - _column(self._log_rate)
        mass = tf.math.igammac(tf.constant(k + 1.0, tf.float64), self._rate)
        return log_tail(mass, self._edge(k), ratios)

    def _log_upper(self, k):
        if k <= 0:
            return tf.zeros_like(self._rate)
        ratios = _column(self._log_rate) - np.log(k + 1.0 + _STEPS)
        mass = tf.math.igamma(tf.constant(float(k), tf.float64), self._rate)
        return log_tail(mass, self._edge(k), ratios)


def _log_odds(distribution: tfd.Distribution) -> tf.Tensor:
    """Those of `probs` or `logits`; at a probability of 0 or 1 infinite, with a gradient of 0 in infinity's place."""
    if distribution.parameters.get("probs") is None:
        return distribution.logits_parameter()
    probs = tf.convert_to_tensor(distribution.probs)
    inside = tf.logical_or(tf.math.is_nan(probs), tf.logical_and(probs > 0.0, probs < 1.0))
    safe = tf.where(inside, probs, tf.constant(0.5, probs.dtype))
    log_odds = tf.math.log(safe) - tf.math.log1p(-safe)
    return tf.where(inside, log_odds, tf.stop_gradient(distribution.logits_parameter()))


def _probability(logits: tf.Tensor) -> tf.Tensor:
    """The sigmoid, kept off 0 and 1, where the incomplete beta function has no gradient."""
    return tf.clip_by_value(tf.math.sigmoid(logits), _TINY, 1.0 - 2.0**-53)


class NegativeBinomialLaw(CountLaw):
    """`tfd.NegativeBinomial`: successes before `total_count` failures."""

    def __init__(self, distribution):
        super().__init__(distribution, start=0)
        self._logits = _log_odds(distribution)
        self._count = tf.convert_to_tensor(distribution.total_count, tf.float64)

    def log_pmf(self, outcomes):
        k, n, logits = tf.constant(outcomes, tf.float64), self._count[..., tf.newaxis], self._logits[..., tf.newaxis]
        choices = -tfp.math.lbeta(1.0 + k, n) - tf.math.log(n + k)
        # Of failures that are certain the success's log is -inf, which no success multiplies by 0.
        return choices - n * tf.nn.softplus(logits) - tf.math.multiply_no_nan(tf.nn.softplus(-logits), k)

    def _log_lower(self, k):
        ratios = _log_positive(k - _STEPS) - _log_positive(k - 1.0 - _STEPS + _column(self._count))
        ratios -= _column(tf.math.log_sigmoid(self._logits))
        mass = tfp.math.betainc(self._count, tf.constant(k + 1.0, tf.float64), _probability(-self._logits))
        return log_tail(mass, self._edge(k), ratios)

    def _log_upper(self, k):
        if k <= 0:
            return tf.zeros_like(self._logits + self._count)
        ratios = tf.math.log(k + _STEPS + _column(self._count)) - np.log(k + 1.0 + _STEPS)
        ratios += _column(tf.math.log_sigmoid(self._logits))
        mass = tfp.math.betainc(tf.constant(float(k), tf.float64), self._count, _probability(self._logits))
        return log_tail(mass, self._edge(k), ratios)


class BinomialLaw(CountLaw):
    """`tfd.Binomial`; counts may differ in a batch, whose support is then the largest one's."""

    def __init__(self, distribution):
        super().__init__(distribution, start=0, end=static_count(distribution))
        self._logits = _log_odds(distribution)
        self._count = tf.convert_to_tensor(distribution.total_count, tf.float64)

    def log_pmf(self, outcomes):
        k, n, logits = tf.constant(outcomes, tf.float64), self._count[..., tf.newaxis], self._logits[..., tf.newaxis]
        failures = tf.maximum(n - k, 0.0)
        choices = tf.math.lgamma(n + 1.0) - tf.math.lgamma(k + 1.0) - tf.math.lgamma(failures + 1.0)
        # Of an outcome that is certain the other's log is -inf, which a count of 0 leaves out.
        log_pmf = choices - tf.math.multiply_no_nan(tf.nn.softplus(-logits), k)
        log_pmf -= tf.math.multiply_no_nan(tf.nn.softplus(logits), failures)
        return tf.where(k > n, tf.constant(IMPOSSIBLE, tf.float64), log_pmf)

    def _log_lower(self, k):
        beyond = self._count <= k
        a = tf.where(beyond, tf.ones_like(self._count), self._count - k)
        ratios = _log_positive(k - _STEPS) - tf.math.log(tf.abs(_column(self._count) - k) + 1.0 + _STEPS)
        mass = tfp.math.betainc(a, tf.constant(k + 1.0, tf.float64), _probability(-self._logits))
        return log_tail(tf.where(beyond, tf.ones_like(mass), mass), self._edge(k), ratios - _column(self._logits))

    def _log_upper(self, k):
        if k <= 0:
            return tf.zeros_like(self._logits + self._count)
        beyond = self._count < k
        b = tf.where(beyond, tf.ones_like(self._count), self._count - k + 1.0)
        ratios = _log_positive(_column(self._count) - k - _STEPS) - np.log(k + 1.0 + _STEPS)
        mass = tfp.math.betainc(tf.constant(float(k), tf.float64), b, _probability(self._logits))
        return log_tail(tf.where(beyond, tf.zeros_like(mass), mass), self._edge(k), ratios + _column(self._logits))


class GeometricLaw(CountLaw):
    """`tfd.Geometric`: failures before the first success."""

    def __init__(self, distribution):
        super().__init__(distribution, start=0)
        logits = _log_odds(distribution)
        self._log_failure, self._log_success = -tf.nn.softplus(logits), -tf.nn.softplus(-logits)

    def log_pmf(self, outcomes):
        k = tf.constant(outcomes, tf.float64)
        # Of a success that is certain the failure's log is -inf, which no failure multiplies by 0.
        return tf.math.multiply_no_nan(self._log_failure[..., tf.newaxis], k) + self._log_success[..., tf.newaxis]

    def _log_lower(self, k):
        return _log_complement((k + 1.0) * self._log_failure)

    def _log_upper(self, k):
        return float(max(k, 0)) * self._log_failure


class ZipfLaw(CountLaw):
    """`tfd.Zipf`, from 1, with a gradient with respect to its power, which TFP's own pmf lacks in part."""

    def __init__(self, distribution):
        super().__init__(distribution, start=1)
        self._power = tf.convert_to_tensor(distribution.power, tf.float64)

    def log_pmf(self, outcomes):
        powers = -self._power[..., tf.newaxis] * tf.math.log(tf.constant(outcomes, tf.float64))
        return powers - log_hurwitz_zeta(self._power, 1.0)[..., tf.newaxis]

    def _log_lower(self, k):
        return _log_complement(self._log_upper(k + 1))

    def _log_upper(self, k):
        if k <= 1:
            return tf.zeros_like(self._power)
        return log_hurwitz_zeta(self._power, float(k)) - log_hurwitz_zeta(self._power, 1.0)


def _finite_discrete(distribution):
    outcomes = tf.get_static_value(distribution.outcomes)
    if outcomes is None or not np.array_equal(outcomes, np.round(outcomes)):
        raise InputError(f"outcomes of FiniteDiscrete must be concrete integers. Received: {distribution.outcomes}.")
    return CountLaw(distribution, int(outcomes.min()), int(outcomes.max()))


_LAWS = {
    tfd.Poisson: PoissonLaw,
    tfd.NegativeBinomial: NegativeBinomialLaw,
    tfd.Binomial: BinomialLaw,
    tfd.Geometric: GeometricLaw,
    tfd.Zipf: ZipfLaw,
    tfd.Bernoulli: lambda distribution: CountLaw(distribution, 0, 1),
    tfd.Categorical: lambda distribution: CountLaw(distribution, 0, distribution.logits_parameter().shape[-1] - 1),
    tfd.BetaBinomial: lambda distribution: CountLaw(distribution, 0, static_count(distribution)),
    tfd.FiniteDiscrete: _finite_discrete,
}


def count_law(distribution: tfd.Distribution) -> CountLaw:
    """What is known of `distribution`, computed in float64; a law without an entry of its own has an unknown start."""
    distribution = in_float64(distribution)
    for ancestor in type(distribution).__mro__:
        if ancestor in _LAWS:
            return _LAWS[ancestor](distribution)
    return CountLaw(distribution)
