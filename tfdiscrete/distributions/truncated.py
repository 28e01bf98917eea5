"""A count distribution cut to finitely many outcomes, as a categorical law over them.

    P(Z = low) = P(X <= low),    P(Z = k) = P(X = k),  low < k < high,    P(Z = high) = P(X >= high)

    KL(q || p) = sum_k q_k (log q_k - log p_k),    over the same outcomes

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847 (truncated discrete random variables).
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.assertions import parameter_assertions
from tfdiscrete.distributions.closed_tails import count_law
from tfdiscrete.distributions.count_law import float_dtype
from tfdiscrete.distributions.kl import categorical_kl, refuse_kl
from tfdiscrete.distributions.support import choose_outcomes
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.ops import gumbel_max, gumbel_softmax, perturb
from tfdiscrete.ops.logspace import IMPOSSIBLE
from tfdiscrete.ops.precision import wide_dtype
from tfdiscrete.ops.truncation import linear_transform, truncated_log_pmf

tfd = tfp.distributions


class Truncated(tfd.Distribution):
    """Counts cut to low..high, the mass beyond moved onto the ends: batch that of the distribution, event `[]`.

    It is a `Family` of one categorical variable over the outcomes for each member of its batch, so that every
    estimator takes it: of a batch `[*batch, N]` the N are the variables of one example. A KL too has the batch's shape,
    `[*batch, N]`: sum its last axis for that of an example. A `tfd.Multinomial` is not cut: all its outcomes are
    enumerated, and the event is `[D]`.

    The support is static, as XLA needs it: its ends are given, or chosen at construction by a tolerance. The pmf is
    computed in float64, whatever the parameters' dtype. Tails are accurate in relative terms for Poisson, Binomial,
    NegativeBinomial, Geometric, Zipf and laws of bounded support; for others they are as good as TFP's cdf.

    `tfd.Geometric` counts the failures before the first success, from 0, and `tfd.NegativeBinomial` the successes
    before `total_count` failures.

    Example:

        prior = Truncated(tfd.Poisson(3.0), tolerance=1e-6)                     # 0..15
        q = Truncated(tfd.Poisson(tf.fill([5, 20], 2.0)), low=prior.low, high=prior.high)
        q.sample(3, seed=[0, 1]).shape                                          # [3, 5, 20]
        tf.reduce_sum(q.kl_divergence(prior), axis=-1)                          # [5]

    Args:
        distribution: a `tfd.Distribution` over integers, such as `tfd.Poisson`, `tfd.Binomial`, `tfd.Geometric`,
            `tfd.NegativeBinomial`, `tfd.Zipf` or `tfd.FiniteDiscrete`; or `tfd.Multinomial`.
        low: the least outcome kept, an integer; by default the start of the distribution's support.
        high: the largest one; by default the end of the support, where it is bounded.
        tolerance: in (0, 1): chooses each end that is not given so that the mass beyond both, and with it the total
            variation to the untruncated law, is at most this.
        reference: where the tolerance is measured: a distribution of the same kind, such as the prior, or a list, such
            as the laws at the ends of the parameter's range; concrete. By default `distribution`.
        max_support: the largest number of outcomes.
        validate_args: whether to assert when run that the log pmf is not NaN.

    Raises:
        InputError: for ends out of order or of the support, no end where the law has none, a tolerance without concrete
            parameters, more than `max_support` outcomes, or a law that has neither cdf nor a bounded support.
    """

    def __init__(
        self,
        distribution: tfd.Distribution,
        low: int | None = None,
        high: int | None = None,
        *,
        tolerance: float | None = None,
        reference=None,
        max_support: int = 4096,
        validate_args=False,
        allow_nan_stats=True,
        name="Truncated",
    ):
        parameters = dict(locals())
        if not isinstance(distribution, tfd.Distribution):
            raise InputError(
                f"distribution must be a tfd.Distribution, such as tfd.Poisson. Received: {distribution!r}."
            )
        continuous = distribution.experimental_default_event_space_bijector() is not None
        if continuous and distribution.event_shape.rank == 0:
            raise InputError(
                "distribution must be one of counts, such as tfd.Poisson. Received: the continuous "
                f"{type(distribution).__name__}. To count its integers wrap it: tfd.QuantizedDistribution(law)."
            )
        check_count("max_support", max_support)
        dtype = wide_dtype(float_dtype(distribution))
        self._distribution = distribution
        self._outcomes = choose_outcomes(distribution, low, high, tolerance, reference, max_support)
        self._law = count_law(distribution)
        batch = distribution.batch_shape
        log_pmf = tf.ensure_shape(self._log_pmf(), batch.concatenate([len(self._outcomes)]))
        self._logits = tf.cast(log_pmf, dtype)
        super().__init__(
            dtype=dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    def _log_pmf(self) -> tf.Tensor:
        if self._outcomes.ndim == 2 or len(self._outcomes) == 1:
            log_pmf = self._law.log_pmf(self._outcomes)
            log_pmf = log_pmf if self._outcomes.ndim == 2 else tf.zeros_like(log_pmf)
            return tf.where(log_pmf < IMPOSSIBLE, tf.constant(IMPOSSIBLE, log_pmf.dtype), log_pmf)
        low, high = self._ends
        interior = self._law.log_pmf(self._outcomes[1:-1])
        return truncated_log_pmf(interior, self._law.log_lower(low), self._law.log_upper(high))

    @property
    def distribution(self) -> tfd.Distribution:
        """The untruncated law."""
        return self._distribution

    @property
    def low(self) -> int | None:
        """The least outcome; None for vectors."""
        return self._ends[0] if self._outcomes.ndim == 1 else None

    @property
    def high(self) -> int | None:
        """The largest outcome; None for vectors."""
        return self._ends[1] if self._outcomes.ndim == 1 else None

    @property
    def _ends(self) -> tuple[int, int]:
        return int(self._outcomes[0]), int(self._outcomes[-1])

    @property
    def outcomes(self) -> tf.Tensor:
        """The outcomes in the order of the categories, `[K]`, or `[K, D]` for vectors."""
        return tf.constant(self._outcomes, self.dtype)

    @property
    def logits(self) -> tf.Tensor:
        """The log pmf, `[*batch, K]`, normalized and finite: an impossible outcome has -1e9."""
        return self._logits

    @property
    def logits_shape(self) -> tf.TensorShape:
        """The static shape of `logits`."""
        return self._logits.shape

    @property
    def log_probabilities(self) -> tf.Tensor:
        """The same as `logits`."""
        return self._logits

    def decode(self, y: tf.Tensor) -> tf.Tensor:
        """T(y) = sum_k c_k y_k: one-hot or simplex `[..., K]` to outcomes `[...]`, or `[..., D]` for vectors."""
        return linear_transform(y, self._outcomes)

    def sample_one_hot(self, seed, num_samples: int) -> tf.Tensor:
        """Exact samples of the category, `[S, *batch, K]`, without a gradient."""
        return gumbel_max(perturb(self._logits, num_samples, seed))

    def relax(self, seed, num_samples: int, temperature) -> tf.Tensor:
        """Relaxed samples as `log y`, `[S, *batch, K]`; `decode(exp(log y))` is the relaxed count."""
        return gumbel_softmax(perturb(self._logits, num_samples, seed), temperature)

    def tail_mass(self) -> tf.Tensor:
        """P(X < low) + P(X > high), `[*batch]`: the total variation to the untruncated law."""
        mass = tf.zeros_like(self._logits[..., 0])
        if self._outcomes.ndim == 2:
            return mass
        low, high = self._ends
        if self._law.start is None or low > self._law.start:
            mass += tf.cast(tf.exp(self._law.log_lower(low - 1)), self.dtype)
        if self._law.end is None or high < self._law.end:
            mass += tf.cast(tf.exp(self._law.log_upper(high + 1)), self.dtype)
        return mass

    def _sample_n(self, n, seed=None):
        return self.decode(self.sample_one_hot(tfp.random.sanitize_seed(seed), n))

    def _log_prob(self, value):
        equal = self._compare(value, tf.equal)
        equal = tf.reduce_all(equal, axis=-1) if self._outcomes.ndim == 2 else equal
        equal = tf.logical_and(equal, self._logits > IMPOSSIBLE)
        log_prob = tf.reduce_sum(tf.where(equal, self._logits, tf.zeros_like(self._logits)), axis=-1)
        return tf.where(tf.reduce_any(equal, axis=-1), log_prob, tf.constant(-np.inf, self.dtype))

    def _cdf(self, value):
        return self._mass(value, tf.greater_equal)

    def _survival_function(self, value):
        return self._mass(value, tf.less)

    def _mass(self, value, relation) -> tf.Tensor:
        """The mass of the outcomes to which the value stands in the relation."""
        if self._outcomes.ndim == 2:
            raise InputError("outcomes that are vectors are not ordered, so they have no cdf. Use prob.")
        pi = tf.exp(self._logits)
        return tf.reduce_sum(tf.where(self._compare(value, relation), pi, tf.zeros_like(pi)), axis=-1)

    def _compare(self, value, relation) -> tf.Tensor:
        axis = -1 if self._outcomes.ndim == 1 else -2
        return relation(tf.expand_dims(value, axis), self.outcomes)

    def _entropy(self):
        return -tf.reduce_sum(tf.exp(self._logits) * self._logits, axis=-1)

    def _mean(self):
        return self.decode(tf.exp(self._logits))

    def _variance(self):
        pi, vectors = tf.exp(self._logits), self._outcomes.ndim == 2
        deviations = self.outcomes - tf.expand_dims(self._mean(), -2 if vectors else -1)
        pi = pi[..., tf.newaxis] if vectors else pi
        return tf.reduce_sum(pi * tf.square(deviations), axis=-2 if vectors else -1)

    def _mode(self):
        return self.decode(gumbel_max(self._logits))

    def _parameter_control_dependencies(self, is_init):
        return parameter_assertions(logits=self._logits) if is_init and self.validate_args else []

    def _event_shape(self):
        return tf.TensorShape(self._outcomes.shape[1:])

    def _event_shape_tensor(self):
        return tf.constant(self._outcomes.shape[1:], tf.int32)

    def _batch_shape(self):
        return self._logits.shape[:-1]

    def _batch_shape_tensor(self):
        return tf.shape(self._logits)[:-1]

    def _default_event_space_bijector(self):
        return None


@tfd.RegisterKL(Truncated, Truncated)
def _kl_truncated(q: Truncated, p: Truncated, name=None) -> tf.Tensor:
    """KL(q || p) in nats, `[*batch]`, in q's dtype; the batch shapes broadcast.

    Finite always: an outcome that p excludes counts as log p = -1e9.
    """
    if not np.array_equal(q._outcomes, p._outcomes):
        raise InputError(
            "the KL of truncated laws needs the same outcomes in both. Received: "
            f"{_describe(q)} and {_describe(p)}. Pass one's low and high to the other."
        )
    with tf.name_scope(name or "kl_truncated"):
        return categorical_kl(q.logits, p.logits)


def _describe(law: Truncated) -> str:
    rows = law._outcomes.shape
    return f"{law.low}..{law.high}" if len(rows) == 1 else f"{rows[0]} vectors of {rows[1]} counts"


_CUT_BOTH = (
    "A truncated law has closed form with another on the same outcomes: wrap the other law as "
    "Truncated(law, low=q.low, high=q.high)."
)
refuse_kl(Truncated, tfd.Distribution, _CUT_BOTH)
refuse_kl(tfd.Distribution, Truncated, _CUT_BOTH)
