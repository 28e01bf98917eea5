"""N independent Bernoulli variables, as zeros and ones.

    p(z) = prod_n sigmoid(l_n)^{z_n} sigmoid(-l_n)^{1 - z_n},    z in {0, 1}^N

A variable is a categorical one of two categories, whose logits are [0, l]: category 1 is the value 1. With
L = log U - log(1 - U) standard logistic, the difference of two Gumbels,

    z = 1[l + L > 0],    y = softmax([0, l + L] / tau)
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.kl import categorical_kl
from tfdiscrete.errors import InputError
from tfdiscrete.ops import logistic_noise
from tfdiscrete.ops.logspace import finite_log_odds
from tfdiscrete.ops.precision import widen

tfd = tfp.distributions


class ProductBernoulli(tfd.Distribution):
    """`N` independent Bernoulli variables: batch `[*batch]`, event `[N]`, values 0 and 1 in the logits' dtype.

    It is a `Family` of two categories, so every estimator takes it. The mass is extended to the unit interval as
    `log_prob(z) = sum z log p + (1 - z) log (1 - p)`, linear in `z`, which is what a sampled KL needs of a relaxed
    sample. Samples, relaxed ones too, are made of one logistic noise for each variable.

    Example:

        q = ProductBernoulli(logits=tf.zeros([5, 20]))
        q.sample(3, seed=[0, 1]).shape      # [3, 5, 20]
        q.logits.shape                      # [5, 20, 2], those of the categorical view

    Args:
        logits: `[*batch, N]`, floating: log odds of 1; kept as `bernoulli_logits`, with 1e9 (1e4 in float16) in the
            place of infinity.

    Raises:
        InputError: if `logits` has no dimension or an unknown or zero `N`.
    """

    def __init__(self, logits, *, validate_args=False, allow_nan_stats=True, name="ProductBernoulli"):
        parameters = dict(locals())
        logits = tf.convert_to_tensor(logits)
        shape = logits.shape
        if not shape.rank or not shape[-1]:
            raise InputError(
                "logits must have shape [*batch, N] with N >= 1 latent variables, static. "
                f"Received: logits of shape {shape}."
            )
        self._bernoulli_logits = finite_log_odds(logits)
        super().__init__(
            dtype=self._bernoulli_logits.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @property
    def bernoulli_logits(self) -> tf.Tensor:
        """Log odds of 1, `[*batch, N]`."""
        return self._bernoulli_logits

    @property
    def logits(self) -> tf.Tensor:
        """Unnormalized log probabilities of the values 0 and 1, `[*batch, N, 2]`."""
        return tf.stack([tf.zeros_like(self._bernoulli_logits), self._bernoulli_logits], axis=-1)

    @property
    def logits_shape(self) -> tf.TensorShape:
        """The static shape of `logits`."""
        return self._bernoulli_logits.shape.concatenate([2])

    @property
    def log_probabilities(self) -> tf.Tensor:
        """Normalized log probabilities of 0 and 1, `[*batch, N, 2]`."""
        return _log_probabilities(self._bernoulli_logits)

    def decode(self, y: tf.Tensor) -> tf.Tensor:
        """The weight of the value 1, `[..., N, 2]` to `[..., N]`."""
        return y[..., 1]

    def sample_one_hot(self, seed, num_samples: int) -> tf.Tensor:
        """Exact samples `[S, *batch, N, 2]`, without a gradient."""
        ones = tf.cast(self._perturbed(seed, num_samples) > 0.0, self.dtype)
        return tf.stack([1.0 - ones, ones], axis=-1)

    def relax(self, seed, num_samples: int, temperature) -> tf.Tensor:
        """Relaxed samples as `log y`, `[S, *batch, N, 2]`; `decode(exp(log y))` is the binary Concrete variable."""
        perturbed = self._perturbed(seed, num_samples)
        temperature = tf.convert_to_tensor(temperature, dtype_hint=perturbed.dtype)
        return _log_probabilities(perturbed / tf.cast(temperature, perturbed.dtype))

    def _perturbed(self, seed, num_samples) -> tf.Tensor:
        """Log odds plus logistic noise, `[S, *batch, N]`."""
        wide = widen(self._bernoulli_logits)
        shape = tf.concat([[num_samples], tf.shape(wide)], axis=0)
        perturbed = wide + logistic_noise(shape, seed, dtype=wide.dtype)
        return tf.ensure_shape(perturbed, [num_samples if isinstance(num_samples, int) else None, *wide.shape])

    def _sample_n(self, n, seed=None):
        return self.decode(self.sample_one_hot(tfp.random.sanitize_seed(seed), n))

    def _log_prob(self, value):
        of_zero, of_one = tf.unstack(self.log_probabilities, axis=-1)
        value = tf.cast(value, self.dtype)
        return tf.reduce_sum(value * of_one + (1.0 - value) * of_zero, axis=-1)

    def _entropy(self):
        log_pi = self.log_probabilities
        return -tf.reduce_sum(tf.exp(log_pi) * log_pi, axis=[-2, -1])

    def _mean(self):
        return tf.sigmoid(self._bernoulli_logits)

    def _variance(self):
        return tf.sigmoid(self._bernoulli_logits) * tf.sigmoid(-self._bernoulli_logits)

    def _mode(self):
        return tf.cast(self._bernoulli_logits > 0.0, self.dtype)

    def _event_shape(self):
        return self._bernoulli_logits.shape[-1:]

    def _event_shape_tensor(self):
        return tf.shape(self._bernoulli_logits)[-1:]

    def _batch_shape(self):
        return self._bernoulli_logits.shape[:-1]

    def _batch_shape_tensor(self):
        return tf.shape(self._bernoulli_logits)[:-1]

    def _default_event_space_bijector(self):
        return None


def _log_probabilities(log_odds: tf.Tensor) -> tf.Tensor:
    """log sigmoid(-l) and log sigmoid(l), `[...]` to `[..., 2]`: small ones keep their relative precision."""
    return tf.math.log_sigmoid(tf.stack([-log_odds, log_odds], axis=-1))


@tfd.RegisterKL(ProductBernoulli, ProductBernoulli)
def _kl_product_bernoulli(q: ProductBernoulli, p: ProductBernoulli, name=None) -> tf.Tensor:
    """KL(q || p) in nats, `[*batch]`, in q's dtype; the batch shapes broadcast."""
    with tf.name_scope(name or "kl_product_bernoulli"):
        return tf.reduce_sum(categorical_kl(q.log_probabilities, p.log_probabilities), axis=-1)
