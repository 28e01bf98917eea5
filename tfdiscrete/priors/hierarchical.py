"""A prior of two levels: some of the variables are drawn first, and the others depend on them.

    p(z) = prod_{n <= T} p(z_n) prod_{n > T} p(z_n | z_1, ..., z_T),    the latter's parameters of a network of the code

of the first T variables, as a decoder reads it.
"""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_seed
from tfdiscrete.ops import split_seed
from tfdiscrete.ops.precision import widen
from tfdiscrete.priors.base import Prior
from tfdiscrete.priors.groups import groups_of
from tfdiscrete.priors.learned import Learned


@keras.saving.register_keras_serializable(package="tfdiscrete.priors")
class Hierarchical(Prior):
    """The first `num_top` variables are independent, and the others so given them; all of it is trained.

    It begins as the family's own prior. Its KL has no closed form: models sample it. With relaxed samples on the
    simplex the network reads the relaxed code, and the log mass is extended linearly: what is trained is not a bound.

    Example:

        vae = DiscreteVAE(encoder, decoder, prior=Hierarchical(5))     # of N = 20, say: 15 depend on 5

    Args:
        num_top: `T`, at least 1 and less than `N`; by default half of `N`. Of a `Mixed` family all discrete variables
            are above, `num_discrete`, and the Gaussian ones below.
        hidden_units: of the network's hidden layers; an empty list makes it linear.
        seed: of the network's start.

    Raises:
        InputError: for an argument out of range, `num_top` also once built.
    """

    def __init__(self, num_top: int | None = None, hidden_units: Sequence[int] = (64,), seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.num_top = None if num_top is None else check_count("num_top", num_top)
        self.hidden_units = [check_count("hidden_units", units) for units in hidden_units]
        self.seed = check_seed(seed)

    def build(self, latents):
        super().build(latents)
        total = self.latents.num_latents
        top_size = total // 2 if self.num_top is None else self.num_top
        if not 1 <= top_size < total:
            raise InputError(
                f"a hierarchical prior needs at least one variable above and one below: num_top from 1 to N - 1 with "
                f"N = {total} latent variables. Received: num_top={self.num_top}."
            )
        self._groups = groups_of(self.latents, [top_size, total - top_size])
        top, below = self._groups.latents
        self.top = Learned(name="top")
        self.top.build(top)
        start = below.prior_parameters().astype("float32")
        self._shape, self._code_size = start.shape, math.prod(top.codes_shape(top_size))
        width = self._code_size
        for i, units in enumerate(self.hidden_units):
            initializer = keras.initializers.GlorotUniform(self.seed + i)
            layer = keras.layers.Dense(
                units, "relu", kernel_initializer=initializer, dtype=self.dtype_policy, name=f"hidden_{i}"
            )
            layer.build((None, width))
            setattr(self, f"hidden_{i}", layer)  # TensorFlow checkpoints do not see those in a list.
            width = units
        self.readout = keras.layers.Dense(
            start.size,
            kernel_initializer="zeros",
            bias_initializer=lambda shape, dtype=None: start.reshape(-1),
            dtype="float32",
            name="readout",
        )
        self.readout.build((None, width))

    def _below(self, z_top):
        """The hard law of the other variables, `[*batch, *event]` of the first ones to batch `[*batch]`."""
        top, below = self._groups.latents
        code = top.decode(top.harden(z_top))
        own = z_top.shape.rank - top.rank
        batch = tf.shape(z_top)[:own]
        x = tf.ensure_shape(tf.reshape(code, [-1, self._code_size]), [None, self._code_size])
        for i in range(len(self.hidden_units)):
            x = getattr(self, f"hidden_{i}")(x)
        parameters = tf.reshape(widen(self.readout(x)), tf.concat([batch, self._shape], axis=0))
        parameters = tf.ensure_shape(parameters, [*z_top.shape[:own], *self._shape])
        return below.hard(below.distribution(parameters))

    def log_prob(self, z):
        top, below = self._groups.split(z)
        return self.top.log_prob(top) + tf.cast(self._below(top).log_prob(below), z.dtype)

    def sample(self, num_samples, seed):
        first, second = split_seed(seed, 2)
        top = self.top.sample(num_samples, first)
        below = self._below(top).sample(1, seed=second)[0]
        return self._groups.join([top, tf.cast(below, top.dtype)])

    def get_config(self):
        return {
            **super().get_config(),
            "num_top": self.num_top,
            "hidden_units": self.hidden_units,
            "seed": self.seed,
        }
