"""Likelihoods p(x|z): what a decoder's output means, and its log density summed over the data's dimensions."""

import abc
import math

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_bool, check_count, check_finite, check_positive, unknown_name
from tfdiscrete.ops.precision import precise_products, widen
from tfdiscrete.ops.softplus import sum_softplus


class Likelihood(abc.ABC):
    """Reads parameters `[*S, *batch, *data, *extra]`, made by a decoder, against data `[*batch, *data]`."""

    @abc.abstractmethod
    def parameter_shape(self, data_shape: tuple[int, ...]) -> tuple[int, ...]:
        """What a decoder must output for data of `data_shape`, without the batch."""

    @abc.abstractmethod
    def log_prob(self, x: tf.Tensor, parameters: tf.Tensor) -> tf.Tensor:
        """Log density of each element, `[*batch, *data]` broadcast against the parameters."""

    def sum_log_prob(self, x: tf.Tensor, parameters: tf.Tensor, data_rank: int) -> tf.Tensor:
        """`log_prob` summed over the last `data_rank` axes, the data's; for values of which no gradient is taken."""
        return tf.reduce_sum(self.log_prob(x, parameters), axis=list(range(-data_rank, 0)))

    def log_prob_of_all(self, x: tf.Tensor, parameters: tf.Tensor, data_rank: int) -> tf.Tensor:
        """Each example under each code's parameters, `[B, *data]` and `[C, *data, *extra]` to `[C, B]`."""
        return tf.reduce_sum(self.log_prob(x, parameters[:, tf.newaxis]), axis=list(range(2, 2 + data_rank)))

    @abc.abstractmethod
    def mean(self, parameters: tf.Tensor) -> tf.Tensor:
        """E[x|z], `[..., *data]`."""

    def check(self, x: np.ndarray) -> None:
        """Raises `InputError` for data outside of the likelihood's domain; here, for values that are not finite."""
        check_finite(x)

    def get_config(self) -> dict:
        """What `keras.saving` needs to make the likelihood again."""
        return {}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class Bernoulli(Likelihood):
    """Binary data, zeros and ones; the decoder outputs logits of the data's shape.

    Args:
        grey: whether data from 0 to 1 are taken, as probabilities of ones. What stands for log p(x|z) is then
            E[log p(b|z)] over b ~ Bernoulli(x), and bounds are of E[log p(b)]: no figures of grey data.
    """

    def __init__(self, grey: bool = False):
        self.grey = check_bool("grey", grey)

    def parameter_shape(self, data_shape):
        return tuple(data_shape)

    def check(self, x):
        super().check(x)
        if self.grey and x.size and not 0.0 <= x.min() <= x.max() <= 1.0:
            raise InputError(
                "the Bernoulli likelihood takes grey data from 0 to 1. Received: data from "
                f"{x.min():g} to {x.max():g}; divide 8-bit images by 255."
            )
        if not self.grey and not np.isin(x, (0, 1)).all():
            raise InputError(
                "the Bernoulli likelihood is a density of zeros and ones. Received: data from "
                f"{x.min():g} to {x.max():g}; threshold them, or use another likelihood, or Bernoulli(grey=True), of "
                "which they are probabilities of ones."
            )

    def log_prob(self, x, parameters):
        # log p = x l - softplus(l), with no division and one exponential.
        return x * parameters - tf.math.softplus(parameters)

    def sum_log_prob(self, x, parameters, data_rank):
        if type(self).log_prob is not Bernoulli.log_prob:
            return super().sum_log_prob(x, parameters, data_rank)
        parameters = widen(parameters)
        linear = tf.reduce_sum(tf.cast(x, parameters.dtype) * parameters, axis=list(range(-data_rank, 0)))
        return linear - sum_softplus(parameters, data_rank)

    def log_prob_of_all(self, x, parameters, data_rank):
        if type(self).log_prob is not Bernoulli.log_prob:
            return super().log_prob_of_all(x, parameters, data_rank)
        size = math.prod(parameters.shape[1:])
        logits, x = tf.reshape(widen(parameters), [-1, size]), tf.reshape(x, [-1, size])
        linear = precise_products(tf.cast(x, logits.dtype), logits)
        return tf.transpose(linear - tf.reduce_sum(tf.math.softplus(logits), axis=-1))

    def mean(self, parameters):
        return tf.sigmoid(parameters)

    def get_config(self):
        return {**super().get_config(), "grey": self.grey}


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class Gaussian(Likelihood):
    """Real data; the decoder outputs `[..., 2]`, the mean and the scale before its softplus.

    Args:
        min_scale: added to the scale, without which the density of data on a grid has no upper bound.
    """

    def __init__(self, min_scale: float = 0.01):
        self.min_scale = check_positive("min_scale", min_scale)

    def parameter_shape(self, data_shape):
        return (*data_shape, 2)

    def log_prob(self, x, parameters):
        mean, raw_scale = tf.unstack(parameters, axis=-1)
        scale = tf.math.softplus(raw_scale) + self.min_scale
        return -0.5 * tf.square((x - mean) / scale) - tf.math.log(scale) - 0.5 * math.log(2.0 * math.pi)

    def mean(self, parameters):
        return parameters[..., 0]

    def get_config(self):
        return {**super().get_config(), "min_scale": self.min_scale}


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class FixedGaussian(Likelihood):
    """Real data whose mean the decoder outputs, in the data's shape; the distortion is the squared error, in nats.

    Args:
        scale: the standard deviation, in the data's units.
    """

    def __init__(self, scale: float = 0.25):
        self.scale = check_positive("scale", scale)

    def parameter_shape(self, data_shape):
        return tuple(data_shape)

    def log_prob(self, x, parameters):
        return -0.5 * tf.square((x - parameters) / self.scale) - math.log(self.scale * math.sqrt(2.0 * math.pi))

    def mean(self, parameters):
        return parameters

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class Categorical(Likelihood):
    """Data on `num_levels` equidistant levels `0, 1/(L-1), ..., 1`; the decoder outputs logits `[..., L]`.

    Values in [0, 1] are rounded to the nearest level.

    Args:
        num_levels: `L`, at least 2; 256 for 8-bit images.
    """

    def __init__(self, num_levels: int = 256):
        self.num_levels = check_count("num_levels", num_levels, 2)

    def parameter_shape(self, data_shape):
        return (*data_shape, self.num_levels)

    def check(self, x):
        super().check(x)
        if x.size and not 0.0 <= x.min() <= x.max() <= 1.0:
            raise InputError(
                "the categorical likelihood takes levels scaled to [0, 1]. Received: data from "
                f"{x.min():g} to {x.max():g}; divide 8-bit images by 255."
            )

    def log_prob(self, x, parameters):
        level = tf.cast(tf.round(x * (self.num_levels - 1)), tf.int32)
        shape = tf.broadcast_dynamic_shape(tf.shape(level), tf.shape(parameters)[:-1])
        level = tf.broadcast_to(level, shape)
        parameters = tf.broadcast_to(parameters, tf.concat([shape, tf.shape(parameters)[-1:]], axis=0))
        return -tf.nn.sparse_softmax_cross_entropy_with_logits(labels=level, logits=parameters)

    def mean(self, parameters):
        levels = tf.linspace(tf.zeros([], parameters.dtype), tf.ones([], parameters.dtype), self.num_levels)
        return tf.reduce_sum(tf.nn.softmax(parameters, axis=-1) * levels, axis=-1)

    def get_config(self):
        return {**super().get_config(), "num_levels": self.num_levels}


REGISTRY: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "fixed_gaussian": FixedGaussian,
    "gaussian": Gaussian,
}


def get(identifier: "str | Likelihood") -> Likelihood:
    """Returns the likelihood of that name; a `Likelihood` is returned as it is.

    Raises:
        InputError: for an unknown name.
    """
    if isinstance(identifier, Likelihood):
        return identifier
    if identifier not in REGISTRY:
        raise unknown_name("likelihood", identifier, REGISTRY)
    return REGISTRY[identifier]()
