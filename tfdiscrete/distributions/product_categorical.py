"""N independent categorical variables, as one-hot rows.

    p(z) = prod_n prod_k pi_{nk}^{z_{nk}},    z in {0, 1}^{N x K} with one 1 in each row

and KL(q || p) = sum_n sum_k q_{nk} (log q_{nk} - log p_{nk}).
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.errors import InputError
from tfdiscrete.ops import gumbel_max, gumbel_softmax, perturb
from tfdiscrete.ops.logspace import finite_logits

tfd = tfp.distributions


class ProductCategorical(tfd.Distribution):
    """`N` independent one-hot categorical variables of `K` categories: batch `[*batch]`, event `[N, K]`.

    It is a `Family`, so every estimator takes it. The mass is extended to the simplex as
    `log_prob(y) = sum y log pi`, linear in `y`, which is what a sampled KL needs of a relaxed sample.

    Example:

        q = ProductCategorical(logits=tf.zeros([5, 20, 10]))
        q.sample(3, seed=[0, 1]).shape      # [3, 5, 20, 10]

    Args:
        logits: `[*batch, N, K]`, floating; not necessarily normalized. A category of -inf cannot occur: its log
            probability is finite, below -1e9 (-1e4 in float16), and its gradient 0.

    Raises:
        InputError: if `logits` has fewer than two dimensions or an unknown or zero `N` or `K`.
    """

    def __init__(self, logits, *, validate_args=False, allow_nan_stats=True, name="ProductCategorical"):
        parameters = dict(locals())
        logits = tf.convert_to_tensor(logits)
        shape = logits.shape
        if shape.rank is None or shape.rank < 2 or not shape[-1] or not shape[-2]:
            raise InputError(
                "logits must have shape [*batch, N, K] with N >= 1 latent variables of K >= 1 categories, both "
                f"static. Received: logits of shape {shape}."
            )
        self._logits = finite_logits(logits)
        super().__init__(
            dtype=self._logits.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @property
    def logits(self) -> tf.Tensor:
        """Unnormalized log probabilities, `[*batch, N, K]`."""
        return self._logits

    @property
    def logits_shape(self) -> tf.TensorShape:
        """The static shape of `logits`."""
        return self._logits.shape

    @property
    def log_probabilities(self) -> tf.Tensor:
        """Normalized log probabilities, `[*batch, N, K]`."""
        return tf.nn.log_softmax(self._logits, axis=-1)

    def decode(self, y: tf.Tensor) -> tf.Tensor:
        return y

    def sample_one_hot(self, seed, num_samples: int) -> tf.Tensor:
        """Exact samples `[S, *batch, N, K]`, without a gradient."""
        return tf.cast(gumbel_max(perturb(self._logits, num_samples, seed)), self.dtype)

    def relax(self, seed, num_samples: int, temperature) -> tf.Tensor:
        return gumbel_softmax(perturb(self._logits, num_samples, seed), temperature)

    def _sample_n(self, n, seed=None):
        return self.sample_one_hot(tfp.random.sanitize_seed(seed), n)

    def _log_prob(self, value):
        return tf.reduce_sum(tf.cast(value, self.dtype) * self.log_probabilities, axis=[-2, -1])

    def _entropy(self):
        log_pi = self.log_probabilities
        return -tf.reduce_sum(tf.exp(log_pi) * log_pi, axis=[-2, -1])

    def _mean(self):
        return tf.nn.softmax(self._logits, axis=-1)

    def _mode(self):
        return gumbel_max(self._logits)

    def _event_shape(self):
        return self._logits.shape[-2:]

    def _event_shape_tensor(self):
        return tf.shape(self._logits)[-2:]

    def _batch_shape(self):
        return self._logits.shape[:-2]

    def _batch_shape_tensor(self):
        return tf.shape(self._logits)[:-2]

    def _default_event_space_bijector(self):
        return None


@tfd.RegisterKL(ProductCategorical, ProductCategorical)
def _kl_product_categorical(q: ProductCategorical, p: ProductCategorical, name=None) -> tf.Tensor:
    """KL(q || p) in nats, `[*batch]`, in q's dtype; the batch shapes broadcast."""
    with tf.name_scope(name or "kl_product_categorical"):
        log_q = q.log_probabilities
        log_p = tf.cast(p.log_probabilities, q.dtype)
        return tf.reduce_sum(tf.exp(log_q) * (log_q - log_p), axis=[-2, -1])
