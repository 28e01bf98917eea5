"""The contract of a prior over `N` latent variables of any family."""

import abc
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.families import Categorical, Latents


class Prior(keras.layers.Layer, abc.ABC):
    """p(z): a log probability that also takes points of the simplex, and samples.

    A subclass with a closed-form KL writes `kl_divergence` and sets `has_analytic_kl`; otherwise models sample it.
    """

    latents: Latents
    """The family, once built."""
    takes_condition: bool = False
    """Whether p(z|y) depends on a class y: a model with such a prior learns from labels, too."""

    def connect(self, encode: Callable[[tf.Tensor], tf.Tensor], data_shape: tuple[int, ...]) -> None:
        """Called by a model before `build`, for priors that are made of its posterior; by default nothing.

        Args:
            encode: data `[B, *data]` to the parameters of the family, as they are in inference. It is
                the model's: not to be tracked, nor saved.
            data_shape: of one example.
        """

    def build(self, latents: Latents | tuple[int, int]) -> None:
        """Makes what the prior owns.

        Args:
            latents: a built family, or `[N, K]` for categorical variables.
        """
        # Of the model, which saves it: not to be saved twice.
        object.__setattr__(self, "latents", _family(latents))
        self.built = True

    def build_for(self, latents: Latents | tuple[int, int]) -> None:
        """As `build`, of a prior that may be built already: raises `InputError` if that was for other variables."""
        if not self.built:
            self.build(latents)
        elif not _alike(latents := _family(latents), self.latents):
            raise InputError(
                f"a prior is one of the variables that it was built for, {_described(self.latents)}: make another one, "
                f"{type(self).__name__}(...). Received: a model of {_described(latents)}."
            )

    def __setattr__(self, name: str, value: Any) -> None:
        # Keras keeps the arguments of `build`, and would track the family as the prior's own.
        super().__setattr__(name, None if name == "_build_shapes_dict" else value)

    def get_build_config(self):
        # The model that owns the prior builds it with its own family.
        return None

    has_analytic_kl: bool = False
    """Whether `kl_divergence` has a closed form."""

    @abc.abstractmethod
    def log_prob(self, z: tf.Tensor) -> tf.Tensor:
        """log p(z), `[..., *event]` to `[...]` in z's dtype; z is a sample of `latents.hard(q)`, or on the simplex."""

    @abc.abstractmethod
    def sample(self, num_samples, seed: tf.Tensor) -> tf.Tensor:
        """Hard samples, `[num_samples, *event]`; `num_samples` may be a tensor, `seed` is int32 `[2]`."""

    def kl_divergence(self, q) -> tf.Tensor:
        """KL(q || p) in nats, `[*batch]`, in closed form; raises NotImplementedError where there is none."""
        raise NotImplementedError(f"{type(self).__name__} has no closed-form KL; use kl='sampled'.")

    def check_condition(self, condition) -> None:
        """Raises `InputError` for classes that `given` does not take: by default, for any."""
        raise InputError(
            f"{type(self).__name__} takes no condition. Leave the labels out, or use the prior "
            "Conditional(num_classes), under which z depends on the class."
        )

    def given(self, condition) -> "IndependentVariables":
        """p(z|y) for integer classes y, `[*batch]`, where `takes_condition`."""
        self.check_condition(condition)
        raise NotImplementedError


def _family(latents: Latents | tuple[int, int]) -> Latents:
    """A built family as it is, or for `[N, K]` one of categorical variables."""
    if isinstance(latents, Latents):
        return latents
    family = Categorical()
    family.build((None, *latents))
    return family


def _alike(one: Latents, other: Latents) -> bool:
    """Whether the variables of two families are as many of one kind, which begin at one prior."""
    if one is other:
        return True
    if type(one) is not type(other) or _shapes(one) != _shapes(other):
        return False
    return np.allclose(one.prior_parameters(), other.prior_parameters())


def _shapes(latents: Latents) -> tuple:
    count = latents.num_latents
    return count, latents.parameters_shape(count), latents.codes_shape(count), latents.logits_shape


def _described(latents: Latents) -> str:
    count, parameters_shape, *_ = _shapes(latents)
    return f"{count} {type(latents).__name__} variables of parameters {parameters_shape}"


class IndependentVariables(abc.ABC):
    """log p(z), samples and KL of independent variables: of a family `latents` and `parameters`."""

    latents: Latents
    has_analytic_kl = True

    @abc.abstractmethod
    def parameters(self) -> tf.Tensor:
        """Those of the law, `[*batch, *parameters_shape]` of the family, float32."""

    def distribution(self):
        """The law, batch `[*batch]`."""
        return self.latents.distribution(self.parameters())

    def _hard(self):
        return self.latents.hard(self.distribution())

    def log_prob(self, z):
        return tf.cast(self._hard().log_prob(z), z.dtype)

    def sample(self, num_samples, seed):
        return self._hard().sample(num_samples, seed=seed)

    def law_for(self, q):
        """The law that `q` is compared with: that of relaxed samples, or for one of hard samples what is hard of it."""
        p = self.distribution()
        return p if isinstance(q, type(p)) else self.latents.hard(p)

    def kl_divergence(self, q):
        return self.latents.kl_divergence(q, self.law_for(q))


class IndependentPrior(IndependentVariables, Prior):
    """A prior under which the latent variables are independent: subclasses give `parameters`, without a batch."""
