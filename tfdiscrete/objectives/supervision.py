"""What known labels add to the bound of a semi-supervised model.

    CrossEntropy    -ELBO(x, y) - weight log q(y|x)                          (M2)
    TaskLoss        E_q[f(x, z) + weight 1[z != y]] + KL(q(z|x) || p(z))     (direct loss minimization)

The first gives the bound the label itself. The second samples z for labelled examples too, and lets the gradient
estimator pass the task's loss on to the classifier. With `DirectArgMax(epsilon, sign=-1)`, the perturbed label

    arg max_k (phi_k + G_k - epsilon (f_k + weight 1[k != y]))

is the true one for every weight that outweighs the rest, so that the step is (1 / epsilon) (z_{phi + G} - e_y): in the
mean 1 / epsilon times the gradient of the cross-entropy, softmax(phi) - e_y.

Diederik P. Kingma, Danilo J. Rezende, Shakir Mohamed, Max Welling (2014), "Semi-supervised Learning with Deep
Generative Models", arXiv 1406.5298.
Guy Lorberbom, Andreea Gane, Tommi Jaakkola, Tamir Hazan (2019), "Direct Optimization through arg max for Discrete
Variational Auto-Encoder", arXiv 1806.02867, equation 11.
"""

import abc
from typing import NamedTuple

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_non_negative, unknown_name


class Labels(NamedTuple):
    """Labels of which some are missing."""

    one_hot: tf.Tensor
    """`[B, N, K]`: rows of zeros where the label is missing."""
    known: tf.Tensor
    """`[B, N]`, bool."""

    @classmethod
    def from_integers(cls, y: tf.Tensor, num_classes: int, dtype=tf.float32) -> "Labels":
        """From integers `[B, N]`, negative where missing. One that is too large becomes NaN, which no loss hides."""
        one_hot = tf.one_hot(y, num_classes, dtype=dtype)
        broken = tf.where(y < num_classes, tf.zeros([], dtype), tf.constant(float("nan"), dtype))
        return cls(one_hot + broken[..., tf.newaxis], y >= 0)

    def without(self) -> "Labels":
        """The same examples, as if no label were known."""
        return Labels(self.one_hot, tf.zeros_like(self.known))

    def fill(self, z: tf.Tensor) -> tf.Tensor:
        """Codes `[S, B, N, K]` with the known labels in the place of their rows."""
        return tf.where(self.known[..., tf.newaxis], tf.cast(self.one_hot, z.dtype), z)

    def sum_known(self, values: tf.Tensor) -> tf.Tensor:
        """`[..., B, N]` to `[..., B]`, over the known labels."""
        return tf.reduce_sum(tf.where(self.known, values, tf.zeros([], values.dtype)), axis=-1)


class Supervision(abc.ABC):
    """How labels enter the loss.

    Args:
        weight: of what is added for a known label, at least 0, in nats.
    """

    def __init__(self, weight: float = 1.0):
        self.weight = check_non_negative("weight", weight)

    @abc.abstractmethod
    def in_bound(self, labels: Labels) -> Labels:
        """The labels that the bound is given; the others are latent variables."""

    @abc.abstractmethod
    def cost(self, z: tf.Tensor, labels: Labels) -> tf.Tensor:
        """What is added to the estimator's cost, codes `[S, B, N, K]` to `[S, B]`."""

    @abc.abstractmethod
    def loss(self, log_probabilities: tf.Tensor, labels: Labels) -> tf.Tensor:
        """What is added to the bound, from log q(y|x) `[B, N, K]`: `[B]`."""

    def get_config(self) -> dict:
        """What `keras.saving` needs to make it again."""
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**config)


def cross_entropy(log_probabilities: tf.Tensor, labels: Labels) -> tf.Tensor:
    """-log q(y|x) of each label, from log q(y|x) `[B, N, K]`: `[B, N]`; 0 where it is missing."""
    one_hot = tf.cast(labels.one_hot, log_probabilities.dtype)
    return -tf.reduce_sum(tf.where(labels.known[..., tf.newaxis], one_hot * log_probabilities, 0.0), axis=-1)


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class CrossEntropy(Supervision):
    """The bound of (x, y), and `weight` times the classifier's cross-entropy.

    The weight is that of one labelled example in a batch: the alpha of the paper's sum over all examples is `weight`
    times as large as here where labelled examples are seen no more often than the others.
    """

    def in_bound(self, labels):
        return labels

    def cost(self, z, labels):
        return tf.zeros(tf.shape(z)[:-2], z.dtype)

    def loss(self, log_probabilities, labels):
        return self.weight * tf.reduce_sum(cross_entropy(log_probabilities, labels), axis=-1)


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class TaskLoss(Supervision):
    """`weight` for each latent label that is not the known one, differentiated by the estimator.

    At a point of the simplex it is linear, `weight (1 - z_y)`, as relaxed estimators need. A weight beyond the range
    of the cost, such as 1,000, makes `DirectArgMax(sign=-1)` perturb to the true label.
    """

    def __init__(self, weight: float = 1000.0):
        super().__init__(weight)

    def in_bound(self, labels):
        return labels.without()

    def cost(self, z, labels):
        hits = tf.reduce_sum(z * tf.cast(labels.one_hot, z.dtype), axis=-1)
        return self.weight * labels.sum_known(1.0 - hits)

    def loss(self, log_probabilities, labels):
        return tf.zeros(tf.shape(log_probabilities)[:-2], log_probabilities.dtype)


REGISTRY: dict[str, type[Supervision]] = {"cross_entropy": CrossEntropy, "task_loss": TaskLoss}


def get(identifier: "str | Supervision") -> Supervision:
    """Returns the supervision of that name; a `Supervision` is returned as it is.

    Raises:
        InputError: for an unknown name or a class.
    """
    if isinstance(identifier, Supervision):
        return identifier
    if isinstance(identifier, type):
        raise InputError(f"pass a supervision, {identifier.__name__}(...), or its name. Received: the class itself.")
    if identifier not in REGISTRY:
        raise unknown_name("supervision", identifier, REGISTRY)
    return REGISTRY[identifier]()
