"""The binary Concrete distribution on the unit interval: the relaxed Bernoulli variable.

With L = log U - log(1 - U) standard logistic,

    t = (logits + L) / tau,    x = sigmoid(t),
    p(t) = tau sigmoid(d) sigmoid(-d),  d = tau t - logits,    p(x) = p(t) / (x (1 - x)),    P(X <= x) = sigmoid(d)

It is the law of the first coordinate of the Gumbel-Softmax of two categories whose logits differ by `logits`.

Chris J. Maddison, Andriy Mnih, Yee Whye Teh (2017), "The Concrete Distribution", arXiv 1611.00712.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.assertions import parameter_assertions
from tfdiscrete.distributions.kl import refuse_kl
from tfdiscrete.ops import logistic_noise
from tfdiscrete.ops.precision import wide_dtype

tfd = tfp.distributions


class BinaryConcrete(tfd.Distribution):
    """Relaxed Bernoulli variables in [0, 1]: batch `[*batch]`, event `[]`, reparameterized.

    At low temperatures samples round to 0 and 1; `log_prob` keeps to between 2e-31 and 1 - 6e-8 (float64: 2e-292 and
    1 - 1e-16), so it is finite there. `sample_logit` and `log_prob_of_logit` are exact at every temperature. Half types
    are computed in float32; but the gradient of `log_prob` in a float16 sample overflows near the ends, as 1 / x does.

    Example:

        distribution = BinaryConcrete(temperature=0.5, logits=tf.zeros([4]))
        t = distribution.sample_logit(3, seed=[0, 1])           # [3, 4]; the sample is sigmoid(t)
        distribution.log_prob_of_logit(t).shape                 # [3, 4]

    Args:
        temperature: positive scalar.
        logits: `[*batch]`, floating, finite: log odds of 1, so that `P(X > 1/2) = sigmoid(logits)`.
        validate_args: whether to assert when run that the logits are finite and the temperature positive.
    """

    def __init__(self, temperature, logits, *, validate_args=False, allow_nan_stats=True, name="BinaryConcrete"):
        parameters = dict(locals())
        self._logits = tf.convert_to_tensor(logits)
        wide = wide_dtype(self._logits.dtype)
        self._temperature = tf.cast(tf.convert_to_tensor(temperature, dtype_hint=wide), wide)
        super().__init__(
            dtype=self._logits.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @property
    def logits(self) -> tf.Tensor:
        """Log odds of 1, `[*batch]`."""
        return self._logits

    @property
    def temperature(self) -> tf.Tensor:
        """The temperature, `[]`, in the precision of the computation."""
        return self._temperature

    def sample_logit(self, sample_shape, seed) -> tf.Tensor:
        """Samples before the sigmoid, `[*sample_shape, *batch]`, finite; `seed` is int32 `[2]`.

        float64 for float64 logits and float32 otherwise.
        """
        leading = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
        shape = tf.concat([leading, tf.shape(self._logits)], axis=0)
        wide = self._temperature.dtype
        return (tf.cast(self._logits, wide) + logistic_noise(shape, seed, dtype=wide)) / self._temperature

    def log_prob_of_logit(self, t) -> tf.Tensor:
        """The log density of `t` itself, on the real line, `[...]`.

        That of `x = sigmoid(t)` is `log_prob_of_logit(t) - log_sigmoid(t) - log_sigmoid(-t)`.
        """
        d = self._standardize(tf.convert_to_tensor(t, self._temperature.dtype))
        return tf.math.log(self._temperature) + tf.math.log_sigmoid(d) + tf.math.log_sigmoid(-d)

    def _standardize(self, t) -> tf.Tensor:
        return self._temperature * t - tf.cast(self._logits, t.dtype)

    def _logit(self, value) -> tf.Tensor:
        """log(x / (1 - x)) of values in [0, 1], kept from the ends by so much that 1 / x has a finite multiple."""
        wide = self._temperature.dtype
        limits = np.finfo(wide.as_numpy_dtype)
        x = tf.clip_by_value(tf.cast(value, wide), limits.tiny / limits.epsneg, 1.0 - limits.epsneg)
        return tf.math.log(x) - tf.math.log1p(-x)

    def _sample_n(self, n, seed=None):
        return tf.cast(tf.sigmoid(self.sample_logit([n], tfp.random.sanitize_seed(seed))), self.dtype)

    def _log_prob(self, value):
        t = self._logit(value)
        log_prob = self.log_prob_of_logit(t) - tf.math.log_sigmoid(t) - tf.math.log_sigmoid(-t)
        outside = (value < 0.0) | (value > 1.0)
        return tf.cast(tf.where(outside, tf.constant(-np.inf, log_prob.dtype), log_prob), self.dtype)

    def _cdf(self, value):
        inside = tf.cast(tf.sigmoid(self._standardize(self._logit(value))), self.dtype)
        return tf.where(value <= 0.0, tf.zeros_like(inside), tf.where(value >= 1.0, tf.ones_like(inside), inside))

    def _quantile(self, value):
        t = (tf.cast(self._logits, self._temperature.dtype) + self._logit(value)) / self._temperature
        return tf.cast(tf.sigmoid(t), self.dtype)

    def _parameter_control_dependencies(self, is_init):
        if not (is_init and self.validate_args):
            return []
        return parameter_assertions(logits=self._logits, temperature=self._temperature)

    def _event_shape(self):
        return tf.TensorShape([])

    def _event_shape_tensor(self):
        return tf.constant([], tf.int32)

    def _batch_shape(self):
        return self._logits.shape

    def _batch_shape_tensor(self):
        return tf.shape(self._logits)

    def _default_event_space_bijector(self):
        return tfp.bijectors.Sigmoid(validate_args=self.validate_args)


refuse_kl(
    BinaryConcrete,
    BinaryConcrete,
    "Use the sampled KL: the mean of q.log_prob_of_logit(t) - p.log_prob_of_logit(t) over t = q.sample_logit(...), "
    "reparameterized; or that of the Bernoulli variables, tfd.kl_divergence(tfd.Bernoulli(q.logits), "
    "tfd.Bernoulli(p.logits)), which beside relaxed samples gives no bound.",
)
