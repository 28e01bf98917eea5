"""What z is: the contract between an encoder, the law of the latent variables, and a decoder."""

import abc

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.errors import InputError
from tfdiscrete.ops import gumbel_max
from tfdiscrete.ops.precision import widen

tfd = tfp.distributions


class Latents(keras.layers.Layer, abc.ABC):
    """`N` independent latent variables.

    An encoder gives parameters; `distribution` makes a law of them; a decoder reads what `decode` makes of its samples.
    Most families are of one kind of variable (`AlikeLatents`). `num_latents`, `N`, is known once it is built.
    """

    num_latents: int
    estimator: str = "straight_through_gumbel_softmax"
    """The name of the gradient estimator that a model takes unless it is told another."""

    @abc.abstractmethod
    def parameters_shape(self, num_latents: int) -> tuple[int, ...]:
        """What an encoder gives for an example, of so many variables: `(N, P)` of alike ones."""

    @abc.abstractmethod
    def codes_shape(self, num_latents: int) -> tuple[int, ...]:
        """What a decoder reads of an example, of so many variables: `(N, *code_shape)` of alike ones."""

    @property
    def logits_shape(self) -> tuple[int | None, int, int] | None:
        """Of the laws' categorical view, `[B, N, K]`, once built; None for continuous variables."""
        return None

    @abc.abstractmethod
    def distribution(self, parameters: tf.Tensor):
        """The law of parameters `[*batch, *parameters_shape]`, batch `[*batch]`, in float32 at least."""

    @abc.abstractmethod
    def prior_parameters(self, probabilities=None) -> np.ndarray:
        """The parameters `[*parameters_shape]` of the prior that a model takes unless it is told another.

        Args:
            probabilities: of the hard outcomes, broadcast to `[N, K]`; by default the family's own.

        Raises:
            InputError: for probabilities that no member of the family has.
        """

    def hard(self, q):
        """The law by which bounds are evaluated, whose samples `harden` makes hard ones of q; by default `q` itself."""
        return q

    def harden(self, z: tf.Tensor) -> tf.Tensor:
        """Samples of `hard(q)`, `[S, *batch, *event]`, to hard samples of `q`."""
        return z

    def kl_divergence(self, q, p) -> tf.Tensor:
        """KL(q || p) in nats, `[*batch]`, of two laws of this family, or of what `hard` makes of them."""
        return tfd.kl_divergence(q, p)

    def decode(self, z: tf.Tensor) -> tf.Tensor:
        """Samples `[S, *batch, *event]`, hard or relaxed, to codes `[S, *batch, *codes_shape]`, differentiably."""
        return z

    @abc.abstractmethod
    def outputs(self, q) -> dict[str, tf.Tensor]:
        """What `predict` says of a posterior, each `[*batch, ...]`; `code` is the likeliest one."""


class AlikeLatents(Latents):
    """Variables of one kind: each has `P` parameters, and a code of the same shape."""

    @property
    @abc.abstractmethod
    def num_parameters(self) -> int:
        """`P`, what an encoder gives for each variable."""

    @property
    @abc.abstractmethod
    def code_shape(self) -> tuple[int, ...]:
        """What a decoder reads of each variable: its code is `[B, N, *code_shape]`."""

    def parameters_shape(self, num_latents):
        if not self.num_parameters:
            raise InputError(f"give {type(self).__name__} its num_categories: the encoder ends with them.")
        return (num_latents, self.num_parameters)

    def codes_shape(self, num_latents):
        return (num_latents, *self.code_shape)

    def build(self, input_shape) -> None:
        """`input_shape` is that of the parameters, `[B, N, P]`."""
        shape = tuple(input_shape)
        if len(shape) != 3 or None in shape[1:] or shape[2] != self.num_parameters:
            each = self.num_parameters or "K"
            raise InputError(
                f"{type(self).__name__} latent variables need an encoder that outputs [B, N, {each}], N static (end it "
                f"with a Reshape((N, {each}))). Received: an output of shape {shape}."
            )
        self.num_latents = shape[1]
        self.built = True


class DiscreteLatents(AlikeLatents):
    """Variables of `K` categories, whose law is a `ProductCategorical`: its samples are one-hot, `[S, B, N, K]`."""

    @property
    @abc.abstractmethod
    def num_categories(self) -> int:
        """`K`."""

    @property
    def logits_shape(self):
        return (None, self.num_latents, self.num_categories)

    @abc.abstractmethod
    def logits(self, parameters: tf.Tensor) -> tf.Tensor:
        """Parameters `[*batch, N, P]`, float32 at least, to logits `[*batch, N, K]`."""

    def distribution(self, parameters) -> ProductCategorical:
        return ProductCategorical(self.logits(widen(parameters)))

    def outputs(self, q):
        return discrete_outputs(tf.nn.softmax(q.logits, axis=-1), self.decode)


def discrete_outputs(probabilities: tf.Tensor, decode) -> dict[str, tf.Tensor]:
    """What `predict` says of `[*batch, N, K]` probabilities."""
    one_hot = gumbel_max(probabilities)
    return {
        "probabilities": probabilities,
        "code": decode(one_hot),
        "index": tf.argmax(probabilities, axis=-1, output_type=tf.int32),
    }


def log_probabilities(probabilities, shape: tuple[int, int] | None = None) -> np.ndarray:
    """The logarithms of given probabilities, broadcast to `[N, K]` if that is given.

    Raises:
        InputError: for probabilities that are not positive, do not sum to 1, or have another shape.
    """
    array = np.asarray(probabilities, np.float64)
    if array.ndim == 0 or not (array > 0).all() or not np.allclose(array.sum(-1), 1.0, atol=1e-6):
        raise InputError(f"probabilities must be positive and sum to 1 along the last axis. Received: {probabilities}.")
    if shape is None:
        return np.log(array)
    try:
        return np.broadcast_to(np.log(array), shape)
    except ValueError:
        raise InputError(
            f"probabilities must broadcast to [N, K] = {tuple(shape)}. Received: shape {array.shape}."
        ) from None
