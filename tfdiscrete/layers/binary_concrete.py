"""The binary Concrete layer: logits in, relaxed or straight-through Bernoulli samples out.

    y = sigmoid((logits + L) / tau),    L = log U - log(1 - U) standard logistic

Chris J. Maddison, Andriy Mnih, Yee Whye Teh (2017), "The Concrete Distribution", arXiv 1611.00712.
"""

import keras
import tensorflow as tf

from tfdiscrete.layers.stochastic import RelaxedLayer
from tfdiscrete.ops import logistic_noise
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class BinaryConcrete(RelaxedLayer):
    """Samples one Bernoulli variable for each logit.

    While training each call draws new noise: relaxed samples between 0 and 1, or with `hard=True` exact samples, 0 or
    1, whose gradient is the relaxed sample's. At inference the rule is chosen by `inference`. The layer's seed and its
    counts of draws are saved with it.

    Example:

        model = keras.Sequential([
            keras.layers.Dense(200),
            tfdiscrete.layers.BinaryConcrete(temperature=0.5, hard=True),
        ])

    Args:
        temperature: a positive number, or a `keras.optimizers.schedules` schedule of the number of training calls.
        hard: whether samples are 0 or 1 (straight-through).
        inference: the rule outside of training. "mode" (default): 1 where the logit is at least 0; "mean":
            sigmoid(logits), the hard samples' mean; "sample": a sample as in training.
        seed: a non-negative integer; by default one is drawn from the system and kept in the config.

    Call arguments:
        inputs: logits `[...]`, finite: log odds of 1.
        training: whether to sample.

    Returns:
        `[...]`, in the compute dtype. Noise and sigmoid are computed in float32 at least.

    Raises:
        InputError: for a temperature that is not positive, an unknown rule or a bad seed.
    """

    def _perturb(self, inputs, seed):
        logits = widen(inputs)
        return logits + logistic_noise(tf.shape(logits), seed, dtype=logits.dtype)

    def _relax(self, perturbed, temperature):
        return tf.sigmoid(perturbed / tf.cast(temperature, perturbed.dtype))

    def _harden(self, perturbed):
        return tf.cast(perturbed >= 0.0, perturbed.dtype)

    def _mode(self, inputs):
        return self._harden(widen(inputs))

    def _mean(self, inputs):
        return tf.sigmoid(widen(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape
