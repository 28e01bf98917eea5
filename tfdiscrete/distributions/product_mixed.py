"""Discrete variables beside Gaussian ones, all independent.

    q(z) = q(d) q(c),    z = (d, c),    d of any `Family`,    c = mu + sigma eps, eps standard normal

For any cost f, with eps held fixed, E_d[f(d, mu + sigma eps)] is an expectation over a `Family`, so that any estimator
of discrete variables has its gradient; with respect to mu and sigma that gradient is pathwise:

    grad E_q[f(d, c)] = E_eps[grad E_d[f(d, mu + sigma eps)]]

Emilien Dupont (2018), "Learning Disentangled Joint Continuous and Discrete Representations", arXiv 1804.00104.
"""

import math

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions.family import is_family
from tfdiscrete.distributions.product_normal import ProductNormal
from tfdiscrete.errors import InputError
from tfdiscrete.ops import fold_in, split_seed

tfd = tfp.distributions

# Of the seed from which c is drawn, apart from the small numbers that estimators fold in.
_CONTINUOUS = 0x6A75_5A11


class ProductMixed(tfd.Distribution):
    """A `Family` and a `ProductNormal` of one batch; an event is flat, `[E]`: d, flattened, and then c.

    Every estimator that takes a `Family` takes it. Given c it is one, whose `decode` adds c to the discrete outcomes.

    Example:

        q = ProductMixed(
            ProductCategorical(tf.zeros([5, 2, 10])), ProductNormal(tf.zeros([5, 4]), tf.ones([5, 4]))
        )
        z = q.sample(3, seed=[0, 1])        # [3, 5, 24]
        d, c = q.split(z)                   # [3, 5, 2, 10] and [3, 5, 4]

    Args:
        discrete: a `Family` that is a `tfd.Distribution`, batch `[*batch]`.
        continuous: a `ProductNormal`, batch `[*batch]` and event `[M]`.

    Raises:
        InputError: for other laws, and for two of different batches.
    """

    def __init__(self, discrete, continuous: ProductNormal, *, name="ProductMixed"):
        parameters = dict(locals())
        gaussian = isinstance(continuous, ProductNormal) and len(continuous.event_shape) == 1
        family = is_family(discrete) and isinstance(discrete, tfd.Distribution)
        if not (family and gaussian and discrete.batch_shape.is_compatible_with(continuous.batch_shape)):
            raise InputError(
                "ProductMixed takes a Family, such as ProductCategorical, and a ProductNormal of event [M], both of "
                f"one batch. Received: {discrete!r} and {continuous!r}."
            )
        self._discrete, self._continuous = discrete, continuous
        super().__init__(
            dtype=continuous.dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )

    @property
    def discrete(self):
        """The law of d."""
        return self._discrete

    @property
    def continuous(self) -> ProductNormal:
        """The law of c."""
        return self._continuous

    def join(self, d: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
        """Outcomes `[S, *batch, *event]` of d and `[S, *batch, M]` or `[1, *batch, M]` of c, to `[S, *batch, E]`."""
        return join_flat(d, c, len(self.discrete.event_shape))

    def split(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`[..., E]` to d `[..., *event]` and c `[..., M]`."""
        return split_flat(z, tuple(self.discrete.event_shape))

    def path(self, seed, num_samples: int) -> tf.Tensor:
        """Samples of c that go with those which the discrete law draws of this seed; differentiable.

        Args:
            seed: int32 `[2]`.
            num_samples: `S`; or 1, of which all samples of d share the noise.

        Returns:
            `[S, *batch, M]`, in q's dtype.
        """
        return self.continuous.sample(num_samples, seed=fold_in(seed, _CONTINUOUS))

    def given(self, c: tf.Tensor) -> "GivenContinuous":
        """The law of d alone, beside a given c, `[S, *batch, M]` or `[1, *batch, M]`: a `Family`."""
        return GivenContinuous(self, c)

    def _sample_n(self, n, seed=None):
        first, second = split_seed(tfp.random.sanitize_seed(seed), 2)
        return self.join(self.discrete.sample(n, seed=first), self.continuous.sample(n, seed=second))

    def _log_prob(self, value):
        d, c = self.split(tf.cast(value, self.dtype))
        return tf.cast(self.discrete.log_prob(d), self.dtype) + self.continuous.log_prob(c)

    def _entropy(self):
        return tf.cast(self.discrete.entropy(), self.dtype) + self.continuous.entropy()

    def _size(self) -> int:
        return math.prod(self.discrete.event_shape) + self.continuous.event_shape[0]

    def _event_shape(self):
        return tf.TensorShape([self._size()])

    def _event_shape_tensor(self):
        return tf.constant([self._size()])

    def _batch_shape(self):
        return self.continuous.batch_shape

    def _batch_shape_tensor(self):
        return self.continuous.batch_shape_tensor()

    def _default_event_space_bijector(self):
        return None


class GivenContinuous:
    """The discrete part of a `ProductMixed` as a `Family`, whose outcomes are those of both parts.

    Args:
        law: the whole.
        c: `[S, *batch, M]`, or `[1, *batch, M]` for any number of samples.
    """

    def __init__(self, law: ProductMixed, c: tf.Tensor):
        self._law, self._c = law, c
        self.dtype = law.dtype

    @property
    def logits(self):
        return self._law.discrete.logits

    @property
    def logits_shape(self):
        return self._law.discrete.logits_shape

    def decode(self, y):
        return self._law.join(self._law.discrete.decode(y), self._c)

    def sample_one_hot(self, seed, num_samples):
        return self._law.discrete.sample_one_hot(seed, num_samples)

    def relax(self, seed, num_samples, temperature):
        return self._law.discrete.relax(seed, num_samples, temperature)


def join_flat(first: tf.Tensor, rest: tf.Tensor, rank: int) -> tf.Tensor:
    """Events of `rank` dimensions, flattened, and those of one dimension behind them, broadcast to as many."""
    leading, event = first.shape[: first.shape.rank - rank], first.shape[first.shape.rank - rank :]
    batch = tf.shape(first)[: first.shape.rank - rank]
    flat = tf.reshape(first, tf.concat([batch, [math.prod(event)]], axis=0))
    rest = tf.broadcast_to(rest, tf.concat([batch, tf.shape(rest)[-1:]], axis=0))
    joined = tf.concat([tf.cast(flat, rest.dtype), rest], axis=-1)
    return tf.ensure_shape(joined, [*leading, None])


def split_flat(tensor: tf.Tensor, shape: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """The inverse: `[..., E]` to the events of that shape and to what is behind them."""
    size = math.prod(shape)
    first = tf.reshape(tensor[..., :size], tf.concat([tf.shape(tensor)[:-1], shape], axis=0))
    return tf.ensure_shape(first, [*tensor.shape[:-1], *shape]), tensor[..., size:]


@tfd.RegisterKL(ProductMixed, ProductMixed)
def _kl_product_mixed(q: ProductMixed, p: ProductMixed, name=None) -> tf.Tensor:
    """KL(q || p) in nats, `[*batch]`: the sum of both parts'; the batch shapes broadcast."""
    with tf.name_scope(name or "kl_product_mixed"):
        of_discrete = tfd.kl_divergence(q.discrete, p.discrete)
        return tf.cast(of_discrete, q.dtype) + tfd.kl_divergence(q.continuous, p.continuous)
