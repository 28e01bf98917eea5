"""One-hot categorical samples with a straight-through gradient: exact forward, that of the probabilities backward.

    z = SNAP(log pi + G),    dz / dlogits := dpi / dlogits,    pi = softmax(logits)

The expected gradient of f(z) is exact for linear f and biased otherwise.

Yoshua Bengio, Nicholas Leonard, Aaron Courville (2013), "Estimating or Propagating Gradients Through Stochastic
Neurons", arXiv 1308.3432.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.assertions import check_categories, parameter_assertions
from tfdiscrete.distributions.kl import categorical_kl
from tfdiscrete.ops import gumbel_max, perturb, straight_through
from tfdiscrete.ops.logspace import finite_logits
from tfdiscrete.ops.precision import widen

tfd = tfp.distributions


class StraightThroughOneHot(tfd.Distribution):
    """A one-hot categorical variable whose samples pass a gradient: batch `[*batch]`, event `[K]`.

    TFP counts it as fully reparameterized: code that asks for a gradient through samples runs, and gets the
    straight-through one. `log_prob` is linear in its argument, `sum_k z_k log pi_k`, and its gradient in `z` is not
    stopped: a sampled KL needs it.

    Example:

        q = StraightThroughOneHot(logits=tf.zeros([4, 10]))
        q.sample(3, seed=[0, 1]).shape      # [3, 4, 10]

    Args:
        logits: `[*batch, K]`, floating, `K` static and at least 1; not necessarily normalized. A category of -inf
            cannot occur.
        validate_args: whether to assert when run that the logits are finite.

    Raises:
        InputError: for logits without a static last dimension.
    """

    def __init__(self, logits, *, validate_args=False, allow_nan_stats=True, name="StraightThroughOneHot"):
        parameters = dict(locals())
        logits = tf.convert_to_tensor(logits)
        check_categories(logits)
        self._logits = finite_logits(logits)
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
        """Unnormalized log probabilities, `[*batch, K]`."""
        return self._logits

    @property
    def log_probabilities(self) -> tf.Tensor:
        """Normalized log probabilities, `[*batch, K]`, float64 for float64 logits and float32 otherwise."""
        return tf.nn.log_softmax(widen(self._logits), axis=-1)

    def decode(self, y: tf.Tensor) -> tf.Tensor:
        """The outcomes of one-hot or simplex `y`, `[..., K]`: `y` itself."""
        return y

    def _sample_n(self, n, seed=None):
        hard = gumbel_max(perturb(self._logits, n, tfp.random.sanitize_seed(seed)))
        return tf.cast(straight_through(hard, tf.exp(self.log_probabilities)), self.dtype)

    def _log_prob(self, value):
        return tf.cast(tf.reduce_sum(widen(value) * self.log_probabilities, axis=-1), self.dtype)

    def _entropy(self):
        log_pi = self.log_probabilities
        return tf.cast(-tf.reduce_sum(tf.exp(log_pi) * log_pi, axis=-1), self.dtype)

    def _mean(self):
        return tf.cast(tf.exp(self.log_probabilities), self.dtype)

    def _mode(self):
        return gumbel_max(self._logits)

    def _parameter_control_dependencies(self, is_init):
        return (
            parameter_assertions(logits=tf.convert_to_tensor(self.parameters["logits"]))
            if is_init and self.validate_args
            else []
        )

    def _event_shape(self):
        return self._logits.shape[-1:]

    def _event_shape_tensor(self):
        return tf.shape(self._logits)[-1:]

    def _batch_shape(self):
        return self._logits.shape[:-1]

    def _batch_shape_tensor(self):
        return tf.shape(self._logits)[:-1]

    def _default_event_space_bijector(self):
        return None


def _logits(distribution) -> tf.Tensor:
    if isinstance(distribution, StraightThroughOneHot):
        return distribution.logits
    return distribution.logits_parameter()


@tfd.RegisterKL(StraightThroughOneHot, StraightThroughOneHot)
@tfd.RegisterKL(StraightThroughOneHot, tfd.OneHotCategorical)
@tfd.RegisterKL(tfd.OneHotCategorical, StraightThroughOneHot)
def _kl_one_hot(q, p, name=None) -> tf.Tensor:
    """KL(q || p) in nats, `[*batch]`, in the dtype of q's logits; the batch shapes broadcast."""
    with tf.name_scope(name or "kl_one_hot"):
        logits_q, logits_p = _logits(q), _logits(p)
        log_q, log_p = (tf.nn.log_softmax(widen(logits), axis=-1) for logits in (logits_q, logits_p))
        return tf.cast(categorical_kl(log_q, log_p), logits_q.dtype)
