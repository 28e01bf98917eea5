"""The Gumbel-Softmax (Concrete) distribution on the simplex.

With respect to Lebesgue measure on the first K-1 coordinates, as for `tfd.Dirichlet`,

    p(x) = (K-1)! tau^(K-1) prod_k (pi_k x_k^(-tau-1)) / (sum_k pi_k x_k^(-tau))^K

Chris J. Maddison, Andriy Mnih, Yee Whye Teh (2017), "The Concrete Distribution", arXiv 1611.00712.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.assertions import check_categories, parameter_assertions
from tfdiscrete.distributions.kl import refuse_kl
from tfdiscrete.ops import gumbel_noise, gumbel_softmax, relaxed_one_hot
from tfdiscrete.ops.precision import widen

tfd = tfp.distributions


class GumbelSoftmax(tfd.Distribution):
    """A relaxed one-hot categorical variable: batch `[*batch]`, event `[K]`, reparameterized.

    `sample` may underflow to zeros on the simplex at low temperatures, where `log_prob` is undefined; there use
    `sample_log` and `log_prob_of_log`, whose arguments are logarithms and stay finite.

    Example:

        distribution = GumbelSoftmax(temperature=0.5, logits=tf.zeros([4, 10]))
        log_x = distribution.sample_log(3, seed=[0, 1])         # [3, 4, 10]
        distribution.log_prob_of_log(log_x).shape               # [3, 4]

    Args:
        temperature: positive scalar.
        logits: `[*batch, K]`, floating, `K` static and at least 1. For `K = 1` the sample is 1 and its density 1.
        validate_args: whether to assert when run that the logits are finite and the temperature positive.

    Raises:
        InputError: for logits without a static last dimension.
    """

    def __init__(self, temperature, logits, *, validate_args=False, allow_nan_stats=True, name="GumbelSoftmax"):
        parameters = dict(locals())
        self._logits = tf.convert_to_tensor(logits)
        self._temperature = tf.convert_to_tensor(temperature, self._logits.dtype)
        check_categories(self._logits)
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
        """Unnormalized log probabilities of the arg max, `[*batch, K]`."""
        return self._logits

    @property
    def temperature(self) -> tf.Tensor:
        """The temperature, `[]`."""
        return self._temperature

    def sample_log(self, sample_shape, seed) -> tf.Tensor:
        """Logarithms of samples, `[*sample_shape, *batch, K]`; `seed` is int32 `[2]`."""
        return tf.cast(gumbel_softmax(self._perturb(sample_shape, seed), self._temperature), self.dtype)

    def _perturb(self, sample_shape, seed):
        leading = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
        shape = tf.concat([leading, tf.shape(self._logits)], axis=0)
        logits = widen(self._logits)
        return logits + gumbel_noise(shape, seed, dtype=logits.dtype)

    def log_prob_of_log(self, log_x) -> tf.Tensor:
        """The log density at `exp(log_x)`, on the simplex (not of `log_x`), `[..., K]` to `[...]`."""
        categories = self._logits.shape[-1]
        tau = self._temperature
        log_pi = tf.nn.log_softmax(self._logits, axis=-1)
        log_x = tf.convert_to_tensor(log_x, self.dtype)
        constant = tf.math.lgamma(tf.cast(categories, self.dtype)) + (categories - 1) * tf.math.log(tau)
        terms = tf.reduce_sum(log_pi - (tau + 1.0) * log_x, axis=-1)
        return constant + terms - categories * tf.reduce_logsumexp(log_pi - tau * log_x, axis=-1)

    def _sample_n(self, n, seed=None):
        # A single sample needs no dimension of its own, over which the gradient would be summed.
        single = tf.get_static_value(n) == 1
        perturbed = self._perturb([] if single else [n], tfp.random.sanitize_seed(seed))
        sample = tf.cast(relaxed_one_hot(perturbed, self._temperature), self.dtype)
        return sample[tf.newaxis] if single else sample

    def _log_prob(self, value):
        return self.log_prob_of_log(tf.math.log(value))

    def _parameter_control_dependencies(self, is_init):
        if not (is_init and self.validate_args):
            return []
        return parameter_assertions(logits=self._logits, temperature=self._temperature)

    def _event_shape(self):
        return self._logits.shape[-1:]

    def _event_shape_tensor(self):
        return tf.shape(self._logits)[-1:]

    def _batch_shape(self):
        return self._logits.shape[:-1]

    def _batch_shape_tensor(self):
        return tf.shape(self._logits)[:-1]

    def _default_event_space_bijector(self):
        return tfp.bijectors.SoftmaxCentered(validate_args=self.validate_args)


refuse_kl(
    GumbelSoftmax,
    GumbelSoftmax,
    "Use the sampled KL: the mean of q.log_prob_of_log(log_x) - p.log_prob_of_log(log_x) over "
    "log_x = q.sample_log(...), reparameterized; or that of the categorical variables, tfd.kl_divergence("
    "ProductCategorical(q.logits), ProductCategorical(p.logits)), which beside relaxed samples gives no bound.",
)
