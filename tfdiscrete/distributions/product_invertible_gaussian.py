"""N independent invertible Gaussian variables, as the rows of a relaxed one-hot matrix.

log p(x) = sum_n log p_n(x_n),    x_n = softmax++(flow(mu_n + sigma_n eps_n) / tau; delta)
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.invertible_gaussian import InvertibleGaussian
from tfdiscrete.errors import InputError

tfb, tfd = tfp.bijectors, tfp.distributions


class ProductInvertibleGaussian(InvertibleGaussian):
    """As `InvertibleGaussian`, but that all `N` variables are one event: batch `[*batch]`, event `[N, K]`.

    Example:

        q = ProductInvertibleGaussian(tf.zeros([5, 20, 9]), tf.ones([5, 20, 9]), temperature=0.5)
        log_x = q.sample_log(3, seed=[0, 1])                    # [3, 5, 20, 10]
        q.log_prob_of_log(log_x).shape                          # [3, 5]

    Args:
        loc: `[*batch, N, K-1]`, floating, `N` and `K` static.
        scale, temperature, delta, flow, validate_args: as for `InvertibleGaussian`.

    Raises:
        InputError: as for `InvertibleGaussian`, and for a `loc` without a static `N`.
    """

    def __init__(
        self, loc, scale, temperature=1.0, delta=1.0, flow=None, *, name="ProductInvertibleGaussian", **kwargs
    ):
        loc = tf.convert_to_tensor(loc)
        if (loc.shape.rank or 0) < 2 or not loc.shape[-2]:
            raise InputError(f"loc must have shape [*batch, N, K-1] with N and K static. Received: shape {loc.shape}.")
        super().__init__(loc, scale, temperature, delta, flow, name=name, **kwargs)

    def sample_log_and_log_prob(self, sample_shape, seed):
        log_x, log_prob = super().sample_log_and_log_prob(sample_shape, seed)
        return log_x, tf.reduce_sum(log_prob, axis=-1)

    def log_prob_of_log(self, log_x):
        """The log density at `exp(log_x)`, on the simplices, `[..., N, K]` to `[...]`."""
        return tf.reduce_sum(super().log_prob_of_log(log_x), axis=-1)

    def _event_shape(self):
        return self._loc.shape[-2:-1].concatenate(super()._event_shape())

    def _event_shape_tensor(self):
        return tf.concat([tf.shape(self._loc)[-2:-1], super()._event_shape_tensor()], axis=0)

    def _batch_shape(self):
        return self._loc.shape[:-2]

    def _batch_shape_tensor(self):
        return tf.shape(self._loc)[:-2]


@tfd.RegisterKL(ProductInvertibleGaussian, ProductInvertibleGaussian)
def _kl_product_invertible_gaussian(q, p, name=None) -> tf.Tensor:
    """KL(q || p) in nats, `[*batch]`, as of `InvertibleGaussian`."""
    with tf.name_scope(name or "kl_product_invertible_gaussian"):
        rows = [InvertibleGaussian(each.loc, each.scale, each.temperature, each.delta, each.flow) for each in (q, p)]
        return tf.reduce_sum(tfd.kl_divergence(*rows), axis=-1)
