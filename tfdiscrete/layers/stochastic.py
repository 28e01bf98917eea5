"""What all sampling layers share: when to sample, and with which noise.

While training each call draws new noise; at inference one of three rules holds. The seed and the counts of draws are
saved with the layer, so that a restored model goes on where it was.
"""

import abc

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_name, check_seed
from tfdiscrete.ops import step_seed, straight_through
from tfdiscrete.ops.counter import add_counter
from tfdiscrete.ops.random import random_base
from tfdiscrete.ops.temperature import (
    Temperature,
    check_temperature,
    deserialize_temperature,
    serialize_temperature,
    temperature_at,
)

INFERENCE = ("mode", "mean", "sample")


class StochasticLayer(keras.layers.Layer, abc.ABC):
    """Base of the layers that draw samples of a discrete variable from its parameters.

    Subclasses write `_sample`, `_mode` and `_mean`, and say with `compute_output_shape` what comes out.

    NaN inputs give NaN samples and means, which `tf.debugging.enable_check_numerics` reports where they start; of the
    mode they give some outcome. Replicas of a `tf.distribute` strategy draw different noise. Two layers with one seed
    draw the same noise: give each its own, or none.

    Args:
        inference: the rule outside of training. "mode" (default): the most likely outcome; "mean": the mean of the
            hard samples, so probabilities where these are one-hot; "sample": a sample as in training. The first two
            are deterministic.
        seed: a non-negative integer; by default one is drawn from the system and kept in the config.

    Call arguments:
        inputs: the parameters, a tensor or a structure of them.
        training: whether to sample.

    Raises:
        InputError: for an unknown rule or a seed that is not a non-negative integer.
    """

    def __init__(self, inference: str = "mode", seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.inference = check_name("inference rule", inference, INFERENCE)
        self.seed = random_base() if seed is None else check_seed(seed)
        self.supports_masking = True

    def build(self, input_shape):
        self.step = add_counter(self, "step")
        self.inference_draws = add_counter(self, "inference_draws")
        self.built = True

    def call(self, inputs, training=False):
        if training or self.inference == "sample":
            count, purpose = (self.step, "layer") if training else (self.inference_draws, "layer at inference")
            result = self._sample(inputs, step_seed(self.seed, count.value, purpose))
            count.assign_add(1)
        else:
            result = self._mode(inputs) if self.inference == "mode" else self._mean(inputs)
        return tf.cast(result, self.compute_dtype)

    @abc.abstractmethod
    def _sample(self, inputs, seed) -> tf.Tensor:
        """One sample for each set of parameters; `seed` is int32 `[2]`."""

    @abc.abstractmethod
    def _mode(self, inputs) -> tf.Tensor:
        """The most likely outcome."""

    @abc.abstractmethod
    def _mean(self, inputs) -> tf.Tensor:
        """The mean of the hard samples, with its gradient."""

    def get_config(self):
        return {**super().get_config(), "inference": self.inference, "seed": self.seed}


class RelaxedLayer(StochasticLayer):
    """Base of the layers whose samples are relaxed, at a temperature that may follow a schedule.

    Subclasses write `_perturb`, then `_relax` and `_harden`, of which `_sample` is made: both see the same noise.

    Args:
        temperature: a positive number, or a `keras.optimizers.schedules` schedule of the number of training calls.
        hard: whether samples are the hard outcomes, with the relaxed sample's gradient (straight-through).
        inference, seed: as for `StochasticLayer`.

    Raises:
        InputError: also for a temperature that is not positive.
    """

    def __init__(
        self,
        temperature: Temperature = 1.0,
        hard: bool = False,
        inference: str = "mode",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(inference=inference, seed=seed, **kwargs)
        self.temperature = check_temperature(deserialize_temperature(temperature))
        self.hard = hard

    def current_temperature(self) -> tf.Tensor:
        """The temperature at the present count of training calls, float32 `[]`."""
        return temperature_at(self.temperature, self.step.value)

    def _sample(self, inputs, seed):
        perturbed = self._perturb(inputs, seed)
        soft = self._relax(perturbed, self.current_temperature())
        return straight_through(self._harden(perturbed), soft) if self.hard else soft

    @abc.abstractmethod
    def _perturb(self, inputs, seed) -> tf.Tensor:
        """The parameters with the noise of one sample for each, differentiable."""

    @abc.abstractmethod
    def _relax(self, perturbed, temperature) -> tf.Tensor:
        """The relaxed sample, differentiable."""

    @abc.abstractmethod
    def _harden(self, perturbed) -> tf.Tensor:
        """The hard sample, in the relaxed one's dtype: its limit as the temperature goes to 0."""

    def get_config(self):
        return {**super().get_config(), "temperature": serialize_temperature(self.temperature), "hard": self.hard}


def check_categories(input_shape) -> None:
    """Raises `InputError` for logits whose last dimension is not static and at least 1."""
    if len(input_shape) < 1 or not input_shape[-1]:
        raise InputError(f"logits must have shape [..., K] with K >= 1 static. Received: shape {input_shape}.")
