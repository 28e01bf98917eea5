"""The Gumbel-Softmax layer: logits in, relaxed or straight-through one-hot samples out.

    y = softmax((log pi + G) / tau),    G standard Gumbel

Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_name, check_seed
from tfdiscrete.ops import add_counter, gumbel_max, gumbel_softmax, perturb, random_base, step_seed, straight_through
from tfdiscrete.ops.temperature import (
    Temperature,
    check_temperature,
    deserialize_temperature,
    serialize_temperature,
    temperature_at,
)

INFERENCE = ("mode", "probabilities", "sample")


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class GumbelSoftmax(keras.layers.Layer):
    """Samples one categorical variable for each row of logits.

    While training each call draws new noise: relaxed samples on the simplex, or with `hard=True` exact one-hot
    samples whose gradient is the relaxed sample's. At inference the rule is chosen by `inference`. The layer's
    seed and its count of training calls, which makes the noise new and drives a scheduled temperature, are saved with
    it, so that a restored model goes on where it was. Replicas of a `tf.distribute` strategy draw different noise. Two
    layers with one seed draw the same noise: give each its own, or none.

    Example:

        model = keras.Sequential([
            keras.layers.Dense(20 * 10),
            keras.layers.Reshape((20, 10)),
            tfdiscrete.layers.GumbelSoftmax(temperature=0.5, hard=True),
        ])

    Args:
        temperature: a positive number, or a `keras.optimizers.schedules` schedule of the number of training calls.
        hard: whether samples are one-hot (straight-through).
        inference: the rule outside of training. "mode" (default): the one-hot most likely category;
            "probabilities": softmax(logits), the samples' mean at any temperature for hard samples; "sample": a sample
            as in training. The first two are deterministic.
        seed: a non-negative integer; by default one is drawn from the system and kept in the config.

    Call arguments:
        inputs: logits `[..., K]`, finite, `K >= 1` static.
        training: whether to sample.

    Returns:
        `[..., K]`, in the compute dtype. Noise and softmax are computed in float32 at least.

    Raises:
        InputError: for a temperature that is not positive, an unknown rule, or inputs without a static last dimension.
    """

    def __init__(
        self,
        temperature: Temperature = 1.0,
        hard: bool = False,
        inference: str = "mode",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.temperature = check_temperature(deserialize_temperature(temperature))
        self.hard = hard
        self.inference = check_name("inference rule", inference, INFERENCE)
        self.seed = random_base() if seed is None else check_seed(seed)
        self.supports_masking = True

    def build(self, input_shape):
        if len(input_shape) < 1 or not input_shape[-1]:
            raise InputError(f"logits must have shape [..., K] with K >= 1 static. Received: shape {input_shape}.")
        self.step = add_counter(self, "step")
        self.inference_draws = add_counter(self, "inference_draws")
        self.built = True

    def call(self, inputs, training=False):
        if training or self.inference == "sample":
            return tf.cast(self._sample(inputs, training), inputs.dtype)
        if self.inference == "probabilities":
            return tf.nn.softmax(inputs, axis=-1)
        return gumbel_max(inputs)

    def _sample(self, logits, training):
        count, purpose = (self.step, "layer") if training else (self.inference_draws, "layer at inference")
        perturbed = perturb(logits, 1, step_seed(self.seed, count.value, purpose))[0]
        log_y = gumbel_softmax(perturbed, temperature_at(self.temperature, self.step.value))
        count.assign_add(1)
        soft = tf.exp(log_y)
        return straight_through(gumbel_max(log_y), soft) if self.hard else soft

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": serialize_temperature(self.temperature),
            "hard": self.hard,
            "inference": self.inference,
            "seed": self.seed,
        }
