"""Independent Gaussian variables.

p(z) = prod_n Normal(z_n; mu_n, sigma_n)
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.ops import normal
from tfdiscrete.ops.precision import widen

tfd = tfp.distributions


class ProductNormal(tfd.Independent):
    """Gaussian variables whose last dimensions are the event: as `tfd.Independent(tfd.Normal(loc, scale))`.

    Its samples are the package's: fast under XLA, and the same eagerly, in a graph and under XLA.

    Example:

        q = ProductNormal(tf.zeros([5, 20]), tf.ones([5, 20]))
        q.sample(3, seed=[0, 1]).shape      # [3, 5, 20], differentiable in the parameters
        q.log_prob(tf.zeros([5, 20])).shape     # [5]

    Args:
        loc: the means, `[*batch, *event]`, floating.
        scale: the standard deviations, positive, of the same shape.
        event_ndims: how many of the last dimensions are the event.
    """

    def __init__(self, loc, scale, event_ndims: int = 1, *, name="ProductNormal"):
        parameters = dict(locals())
        super().__init__(tfd.Normal(loc, scale), reinterpreted_batch_ndims=event_ndims, name=name)
        self._parameters = self._no_dependency(parameters)

    @property
    def loc(self) -> tf.Tensor:
        """The means, `[*batch, *event]`."""
        return self.distribution.loc

    @property
    def scale(self) -> tf.Tensor:
        """The standard deviations, `[*batch, *event]`."""
        return self.distribution.scale

    def _sample_n(self, n, seed=None, **kwargs):
        loc, scale = widen(self.loc), widen(self.scale)
        shape = tf.concat([[n], tf.shape(loc)], axis=0)
        return tf.cast(loc + scale * normal(shape, tfp.random.sanitize_seed(seed), dtype=loc.dtype), self.dtype)
