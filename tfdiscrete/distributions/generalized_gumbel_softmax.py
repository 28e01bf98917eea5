"""The relaxed count: the linear transform of a Gumbel-Softmax variable over the outcomes of a truncated law.

    z = T(y) = sum_k c_k y_k,    y ~ GumbelSoftmax(pi, temperature),    c the outcomes, pi their masses

To temperature 0 it becomes the truncated law itself.

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.assertions import parameter_assertions
from tfdiscrete.distributions.gumbel_softmax import GumbelSoftmax
from tfdiscrete.distributions.kl import refuse_kl
from tfdiscrete.distributions.truncated import Truncated
from tfdiscrete.errors import InputError

tfd = tfp.distributions


class GeneralizedGumbelSoftmax(tfd.Distribution):
    """A relaxed count, or vector of counts: batch and event those of `distribution`, reparameterized.

    The samples lie between the least and the largest outcome. Of two outcomes c_0 and c_1 the density is

        p(z) = p_y((z - c_0) / (c_1 - c_0)) / |c_1 - c_0|

    with p_y the Gumbel-Softmax density of the second coordinate. Of more, many y share one z and their integral has no
    closed form: the density of y itself is exact, and a sampled KL between relaxed laws may use it.

    Example:

        q = GeneralizedGumbelSoftmax(Truncated(tfd.Poisson(tf.fill([5, 20], 2.0)), high=12), temperature=0.5)
        z = q.sample(3, seed=[0, 1])                # [3, 5, 20]
        log_y = q.sample_log(3, seed=[0, 1])        # [3, 5, 20, 13], of the same noise
        q.relaxed.log_prob_of_log(log_y)            # [3, 5, 20]

    Args:
        distribution: a `Truncated`, or another `Family` that is a `tfd.Distribution`.
        temperature: positive scalar.
        validate_args: whether to assert when run that the logits are finite and the temperature positive.

    Raises:
        InputError: for a distribution that is no such family.
    """

    def __init__(
        self, distribution, temperature, *, validate_args=False, allow_nan_stats=True, name="GeneralizedGumbelSoftmax"
    ):
        parameters = dict(locals())
        if not (isinstance(distribution, tfd.Distribution) and hasattr(distribution, "decode")):
            raise InputError(
                "distribution must be a Truncated, or another tfd.Distribution with logits and decode. Received: "
                f"{distribution!r}. For a count law wrap it: Truncated(law, high=...)."
            )
        self._distribution = distribution
        self._relaxed = GumbelSoftmax(temperature, distribution.logits, name="relaxed")
        super().__init__(
            dtype=self._relaxed.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @property
    def distribution(self):
        """The discrete law that is relaxed."""
        return self._distribution

    @property
    def relaxed(self) -> GumbelSoftmax:
        """The law of y, on the simplex."""
        return self._relaxed

    @property
    def temperature(self) -> tf.Tensor:
        """The temperature, `[]`."""
        return self._relaxed.temperature

    def sample_log(self, sample_shape, seed) -> tf.Tensor:
        """Samples of log y, `[*sample_shape, *batch, K]`; `seed` is int32 `[2]`."""
        return self._relaxed.sample_log(sample_shape, seed)

    def _sample_n(self, n, seed=None):
        return self._distribution.decode(tf.exp(self.sample_log([n], tfp.random.sanitize_seed(seed))))

    def _log_prob(self, value):
        outcomes = getattr(self._distribution, "outcomes", None)
        if outcomes is None or outcomes.shape.rank != 1 or outcomes.shape[0] != 2:
            raise InputError(
                "a relaxed count over more than two outcomes has no density in closed form. That of y on the simplex "
                "is exact: log_y = q.sample_log(...), then q.relaxed.log_prob_of_log(log_y). "
                f"Received: outcomes of shape {getattr(outcomes, 'shape', None)}."
            )
        first, second = tf.unstack(outcomes)
        position = (value - first) / (second - first)
        inside = tf.logical_and(position > 0.0, position < 1.0)
        position = tf.where(inside, position, 0.5 * tf.ones_like(position))
        density = self._relaxed.log_prob_of_log(tf.stack([tf.math.log1p(-position), tf.math.log(position)], axis=-1))
        scaled = density - tf.math.log(second - first)
        return tf.where(inside, scaled, tf.constant(float("-inf"), self.dtype))

    def _parameter_control_dependencies(self, is_init):
        if not (is_init and self.validate_args):
            return []
        return parameter_assertions(logits=self._relaxed.logits, temperature=self.temperature)

    def _event_shape(self):
        return self._distribution.event_shape

    def _event_shape_tensor(self):
        return self._distribution.event_shape_tensor()

    def _batch_shape(self):
        return self._distribution.batch_shape

    def _batch_shape_tensor(self):
        return self._distribution.batch_shape_tensor()

    def _default_event_space_bijector(self):
        return None


_INSTEAD = (
    "Use the KL of the discrete laws, q.distribution.kl_divergence(p.distribution), which beside a relaxed sample "
    "gives no bound on log p(x); for a bound, evaluate at hard samples, as estimators.ScoreFunction and "
    "objectives.discrete_bounds do."
)
refuse_kl(GeneralizedGumbelSoftmax, GeneralizedGumbelSoftmax, _INSTEAD)
for _other in (tfd.Distribution, Truncated):
    refuse_kl(GeneralizedGumbelSoftmax, _other, _INSTEAD)
    refuse_kl(_other, GeneralizedGumbelSoftmax, _INSTEAD)
