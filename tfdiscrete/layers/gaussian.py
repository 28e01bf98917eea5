"""The Gaussian layer: means and log scales in, reparameterized samples out, for models that mix kinds of variables.

    z = mu + sigma eps,    eps standard normal

Diederik P. Kingma, Max Welling (2014), "Auto-Encoding Variational Bayes", arXiv 1312.6114.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.layers.stochastic import StochasticLayer
from tfdiscrete.ops import normal
from tfdiscrete.ops.loc_scale import loc_and_scale


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class Gaussian(StochasticLayer):
    """Samples one Gaussian variable for each mean and log scale, with the pathwise gradient.

    Example:

        model = keras.Sequential([
            keras.layers.Dense(2 * 16),
            tfdiscrete.layers.Gaussian(),           # [B, 16]
        ])

    Args:
        inference: the rule outside of training. "mode" (default) and "mean" are the mean; "sample": a sample as in
            training.
        seed: a non-negative integer; by default one is drawn from the system and kept in the config.

    Call arguments:
        inputs: `[..., 2 D]`, finite: the D means, then the D logarithms of the scales (kept within +-20).
        training: whether to sample.

    Returns:
        `[..., D]`, in the compute dtype, within its range. Scales and noise are computed in float32 at least.

    Raises:
        InputError: for an unknown rule, a bad seed, or inputs without a static, even last dimension.
    """

    def build(self, input_shape):
        if len(input_shape) < 1 or not input_shape[-1] or input_shape[-1] % 2:
            raise InputError(
                "inputs must have shape [..., 2 D], means and then log scales, with D >= 1 static. "
                f"Received: shape {input_shape}."
            )
        super().build(input_shape)

    def _sample(self, inputs, seed):
        loc, scale = loc_and_scale(inputs)
        limit = float(tf.as_dtype(self.compute_dtype).max)  # of float16 65,504
        return tf.clip_by_value(loc + scale * normal(tf.shape(loc), seed, dtype=loc.dtype), -limit, limit)

    def _mode(self, inputs):
        return loc_and_scale(inputs)[0]

    def _mean(self, inputs):
        return loc_and_scale(inputs)[0]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2)
