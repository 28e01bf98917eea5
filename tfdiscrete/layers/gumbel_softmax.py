"""The Gumbel-Softmax layer: logits in, relaxed or straight-through one-hot samples out.

    y = softmax((log pi + G) / tau),    G standard Gumbel

Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
"""

import keras
import tensorflow as tf

from tfdiscrete.layers.stochastic import RelaxedLayer, check_categories
from tfdiscrete.ops import gumbel_max, gumbel_noise, relaxed_one_hot
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class GumbelSoftmax(RelaxedLayer):
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
        inference: the rule outside of training. "mode" (default): the one-hot most likely category; "mean":
            softmax(logits), the hard samples' mean; "sample": a sample as in training. The first two are
            deterministic.
        seed: a non-negative integer; by default one is drawn from the system and kept in the config.

    Call arguments:
        inputs: logits `[..., K]`, finite, `K >= 1` static.
        training: whether to sample.

    Returns:
        `[..., K]`, in the compute dtype. Noise and softmax are computed in float32 at least.

    Raises:
        InputError: for a temperature that is not positive, an unknown rule, or inputs without a static last dimension.
    """

    def build(self, input_shape):
        check_categories(input_shape)
        super().build(input_shape)

    def _perturb(self, logits, seed):
        logits = widen(logits)
        return logits + gumbel_noise(tf.shape(logits), seed, dtype=logits.dtype)

    def _relax(self, perturbed, temperature):
        return relaxed_one_hot(perturbed, temperature)

    def _harden(self, perturbed):
        return gumbel_max(perturbed)

    def _mode(self, logits):
        return gumbel_max(widen(logits))

    def _mean(self, logits):
        return tf.nn.softmax(widen(logits), axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape
