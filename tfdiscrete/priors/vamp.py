"""A mixture of the model's own posteriors at pseudo-inputs.

    p(z) = 1/M sum_m q(z|u_m)

The prior that is best for a given encoder is the aggregate posterior, the same sum over all data; `M` inputs stand for
them, and are trained, or are examples.

Jakub M. Tomczak, Max Welling (2018), "VAE with a VampPrior", arXiv 1705.07120.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_finite, check_seed
from tfdiscrete.ops.precision import widen
from tfdiscrete.priors.finite_mixture import FiniteMixture

_DEFAULT_COMPONENTS = 100
# In the config of a saved prior, whose examples are in its weights.
_GIVEN = "given"


@keras.saving.register_keras_serializable(package="tfdiscrete.priors")
class VampPrior(FiniteMixture):
    """The variational mixture of posteriors, of `M` components of equal weight.

    The encoder is trained by the prior's gradient, too, and reads the pseudo-inputs as in inference: without dropout,
    and with the moving statistics of normalization. Each step encodes `M` inputs besides the batch.

    Learned pseudo-inputs stay in the data's domain, into which each step of the optimizer is projected. The KL has no
    closed form: models sample it. With relaxed samples on the simplex the log mass of each component is extended
    linearly, and what is trained is not a bound. In a `DeepDiscreteVAE` the encoder is that of the top layer, and its
    data, so their domain too, are the codes of the layer below.

    Example:

        vae = DiscreteVAE(encoder, decoder, prior=VampPrior(500, start=images))
        vae = DiscreteVAE(encoder, decoder, prior=VampPrior(500, pseudo_inputs=images))     # fixed ones

    Args:
        num_components: `M`; by default 100, or as many as there are fixed examples.
        pseudo_inputs: "learned"; or examples `[X, *data]`, `X >= M`, of which `M` at random are taken and not trained.
            They are saved among the weights: a prior made of the config alone has NaNs in their place.
        start: examples `[X, *data]`, `X >= M`, of which `M` at random are where learned ones begin; by default they
            begin at random, uniform in the domain, or standard normal where that is None.
        domain: least and largest value of the data, for learned ones; None for all real numbers.
        seed: of what is chosen at random.

    Raises:
        InputError: for arguments out of range; once a model builds it, for examples that are not like its data; and
            without a model, whose posterior it needs, or for a second model of another encoder.
    """

    def __init__(
        self,
        num_components: int | None = None,
        pseudo_inputs="learned",
        *,
        start=None,
        domain: tuple[float, float] | None = (0.0, 1.0),
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.seed = check_seed(seed)
        self.domain = _checked_domain(domain)
        named = isinstance(pseudo_inputs, str)
        if named and pseudo_inputs not in ("learned", _GIVEN):
            raise InputError(f"pseudo_inputs must be 'learned' or an array of examples. Received: {pseudo_inputs!r}.")
        self.pseudo_inputs = pseudo_inputs if named else _GIVEN
        if start is not None and self.pseudo_inputs == _GIVEN:
            raise InputError("fixed pseudo-inputs have no start: leave out `start`, or say pseudo_inputs='learned'.")
        examples = start if named else pseudo_inputs
        if num_components is None:
            num_components = _DEFAULT_COMPONENTS if named else len(pseudo_inputs)
        self.num_components = check_count("num_components", num_components)
        self._examples = None if examples is None else self._chosen(np.asarray(examples, np.float32))
        self._connected, self._data_shape = False, ()

    def _chosen(self, examples: np.ndarray) -> np.ndarray:
        count = self.num_components
        if len(examples) < count:
            raise InputError(
                f"num_components must be at most the number of examples. Received: num_components={count} with "
                f"{len(examples)} examples."
            )
        check_finite(examples)
        if len(examples) > count:
            examples = examples[np.random.default_rng(self.seed).choice(len(examples), count, replace=False)]
        if self.pseudo_inputs == "learned" and self.domain is not None:
            low, high = self.domain
            if examples.min() < low or examples.max() > high:
                raise InputError(
                    f"the examples at which pseudo-inputs start must lie in domain={self.domain}. Received: values "
                    f"from {examples.min():g} to {examples.max():g}; say domain=None for all real numbers."
                )
        return examples

    def connect(self, encode, data_shape):
        if self._examples is not None and self._examples.shape[1:] != tuple(data_shape):
            raise InputError(
                f"the pseudo-inputs must have the data's shape {tuple(data_shape)}. "
                f"Received: examples of shape {self._examples.shape[1:]}."
            )
        if self.built and (tuple(data_shape) != self._data_shape or not self._encodes_alike(encode)):
            raise InputError(
                "a VampPrior is made of one model's posterior: make another one for another model. Received: one that "
                "a model with another encoder has."
            )
        self._connected, self._data_shape = True, tuple(data_shape)
        # Of the model, which trains and saves it.
        object.__setattr__(self, "_encode", encode)

    def _encodes_alike(self, encode) -> bool:
        """Whether another model's encoder, as that of a model under this prior again, is the one that it has."""
        with tf.init_scope():
            one, other = (np.asarray(each(self._inputs.value)) for each in (self._encode, encode))
        return one.shape == other.shape and np.array_equal(one, other, equal_nan=True)

    def build(self, latents):
        if not self._connected:
            raise InputError(
                "a VampPrior is made of a model's posterior, which it has not: give it to a DiscreteVAE or a "
                "DeepDiscreteVAE, or call connect(encode, data_shape) before build."
            )
        super().build(latents)
        learned = self.pseudo_inputs == "learned"
        self._inputs = self.add_weight(
            name="pseudo_inputs",
            shape=(self.num_components, *self._data_shape),
            dtype="float32",
            initializer=lambda shape, dtype: self._initial(shape),
            constraint=Within(*self.domain) if learned and self.domain else None,
            trainable=learned,
            autocast=False,
        )

    def _initial(self, shape) -> np.ndarray:
        if self._examples is not None:
            return self._examples
        if self.pseudo_inputs == _GIVEN:
            return np.full(shape, np.nan, "float32")
        rng = np.random.default_rng(self.seed)
        values = rng.normal(size=shape) if self.domain is None else rng.uniform(*self.domain, size=shape)
        return values.astype("float32")

    def log_weights(self):
        return tf.fill([self.num_components], -math.log(self.num_components))

    def parameters(self):
        return widen(self._encode(self._inputs.value))

    def get_config(self):
        return {
            **super().get_config(),
            "num_components": self.num_components,
            "pseudo_inputs": self.pseudo_inputs,
            "domain": self.domain,
            "seed": self.seed,
        }


class Within(keras.constraints.Constraint):
    """Projects a variable into `[low, high]` after each step: the nearest values there."""

    def __init__(self, low: float, high: float):
        self.low, self.high = low, high

    def __call__(self, value):
        return keras.ops.clip(value, self.low, self.high)


def _checked_domain(domain) -> tuple[float, float] | None:
    if domain is None:
        return None
    if len(domain) != 2 or not -math.inf < domain[0] < domain[1] < math.inf:
        raise InputError(f"domain must be (low, high) with low < high, both finite, or None. Received: {domain}.")
    return float(domain[0]), float(domain[1])
