"""Discrete latent variables beside Gaussian ones.

    q(z|x) = q(d|x) q(c|x),    d: N variables of a discrete family,    c: M Gaussian ones

What is one of a few kinds, such as a digit's class, may be discrete, and what varies smoothly, such as its slant,
continuous. The estimator of a model is that of d; the gradient of c is pathwise (see `distributions.ProductMixed`).

Emilien Dupont (2018), "Learning Disentangled Joint Continuous and Discrete Representations", arXiv 1804.00104.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.distributions import ProductMixed
from tfdiscrete.distributions.product_mixed import join_flat, split_flat
from tfdiscrete.errors import InputError, check_count, check_name
from tfdiscrete.families.base import DiscreteLatents, Latents
from tfdiscrete.families.bernoulli import Bernoulli
from tfdiscrete.families.categorical import Categorical
from tfdiscrete.families.gaussian import Gaussian
from tfdiscrete.families.truncated_counts import TruncatedCounts

_DISCRETE: dict[str, type[DiscreteLatents]] = {
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "truncated_counts": TruncatedCounts,
}


@keras.saving.register_keras_serializable(package="tfdiscrete.families")
class Mixed(Latents):
    """`N` discrete variables, and as many Gaussian ones, `M`, as the encoder has room for.

    The encoder gives `[B, N P + 2 M]`: the `P` parameters of each discrete variable, and then each Gaussian one's mean
    and log scale. The decoder reads `[B, E]`: the discrete variables' codes, flattened, `N K` numbers of categorical
    ones, and then the `M` values. `make_networks` makes both for `num_latents` = N + M.

    Example:

        family = Mixed(Categorical(10), num_discrete=1)
        encoder, decoder = make_networks(
            "mlp", data_shape=(28, 28), parameter_shape=(28, 28), num_latents=11, family=family
        )
        vae = DiscreteVAE(encoder, decoder, family=family, estimator="relax")
        vae.predict(images)         # "index" [B, 1], "probabilities" [B, 1, 10], "mean" and "scale" [B, 10], and others

    Args:
        discrete: what d is: a discrete family, or "categorical", "bernoulli" or "truncated_counts" for one with default
            settings.
        num_discrete: `N`.
        num_categories: `K` of discrete="categorical"; others have their own.

    Raises:
        InputError: for another family, or one of an unknown number of categories.
    """

    def __init__(
        self,
        discrete: str | DiscreteLatents = "categorical",
        num_discrete: int = 10,
        num_categories: int = 10,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_discrete = check_count("num_discrete", num_discrete)
        self._named = discrete if isinstance(discrete, str) else None
        if isinstance(discrete, str):
            made = _DISCRETE[check_name("discrete family", discrete, _DISCRETE)]
            discrete = Categorical(num_categories) if made is Categorical else made()
        if not isinstance(discrete, DiscreteLatents):
            raise InputError(
                "the discrete part of Mixed is Categorical, Bernoulli or TruncatedCounts, or the name of one. "
                f"Received: {discrete!r}."
            )
        discrete.parameters_shape(num_discrete)
        self.discrete = discrete
        self.continuous = Gaussian()
        self.estimator = discrete.estimator

    @property
    def num_categories(self) -> int:
        """`K`, of the discrete variables."""
        return self.discrete.num_categories

    @property
    def logits_shape(self):
        return self.discrete.logits_shape

    def parameters_shape(self, num_latents):
        discrete, continuous = self._numbers(num_latents)
        return (math.prod(self.discrete.parameters_shape(discrete)) + self.continuous.num_parameters * continuous,)

    def codes_shape(self, num_latents):
        discrete, continuous = self._numbers(num_latents)
        return (math.prod(self.discrete.codes_shape(discrete)) + continuous,)

    def _numbers(self, num_latents: int) -> tuple[int, int]:
        if num_latents <= self.num_discrete:
            raise InputError(
                "num_latents counts the discrete variables and the Gaussian ones: with "
                f"num_discrete={self.num_discrete} it must be at least {self.num_discrete + 1}. "
                f"Received: num_latents={num_latents}."
            )
        return self.num_discrete, num_latents - self.num_discrete

    def build(self, input_shape):
        shape = tuple(input_shape)
        rows = self.discrete.parameters_shape(self.num_discrete)
        rest = shape[1] - math.prod(rows) if len(shape) == 2 and shape[1] else 0
        each = self.continuous.num_parameters
        if rest <= 0 or rest % each:
            raise InputError(
                f"Mixed latent variables with num_discrete={self.num_discrete} need an encoder that outputs "
                f"[B, {math.prod(rows)} + {each} M]: {rows[1]} parameters of each discrete variable and then {each} of "
                f"each of M Gaussian ones. Received: an output of shape {shape}."
            )
        self.num_continuous = rest // each
        self.num_latents = self.num_discrete + self.num_continuous
        self.discrete.build((None, *rows))
        self.continuous.build((None, self.num_continuous, each))
        self.built = True

    def split_parameters(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """`[..., N P + 2 M]` to those of the discrete variables, `[..., N, P]`, and the others, `[..., M, 2]`."""
        of_discrete, rest = split_flat(parameters, self.discrete.parameters_shape(self.num_discrete))
        of_continuous, _ = split_flat(rest, self.continuous.parameters_shape(self.num_continuous))
        return of_discrete, of_continuous

    def split(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Samples `[..., E]` to d `[..., N, K]` and c `[..., M]`."""
        return split_flat(z, self.discrete.logits_shape[1:])

    def join(self, d: tf.Tensor, c: tf.Tensor) -> tf.Tensor:
        """The inverse of `split`."""
        return join_flat(d, c, 2)

    def distribution(self, parameters) -> ProductMixed:
        of_discrete, of_continuous = self.split_parameters(parameters)
        return ProductMixed(self.discrete.distribution(of_discrete), self.continuous.distribution(of_continuous))

    def prior_parameters(self, probabilities=None):
        parts = [self.discrete.prior_parameters(probabilities), self.continuous.prior_parameters()]
        return np.concatenate([part.reshape(-1) for part in parts])

    def decode(self, z):
        d, c = self.split(z)
        return self._code(self.discrete.decode(d), self.continuous.decode(c))

    def outputs(self, q):
        of_discrete, of_continuous = self.discrete.outputs(q.discrete), self.continuous.outputs(q.continuous)
        return {**of_discrete, **of_continuous, "code": self._code(of_discrete["code"], of_continuous["code"])}

    def _code(self, of_discrete, of_continuous):
        return join_flat(of_discrete, of_continuous, 1 + len(self.discrete.code_shape))

    def get_config(self):
        discrete = self._named or keras.saving.serialize_keras_object(self.discrete)
        own = {"discrete": discrete, "num_discrete": self.num_discrete, "num_categories": self.num_categories}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        if not isinstance(config["discrete"], str):
            config["discrete"] = keras.saving.deserialize_keras_object(config["discrete"])
        return cls(**config)
