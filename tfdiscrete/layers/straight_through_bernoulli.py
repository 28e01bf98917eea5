"""The straight-through Bernoulli layer: logits in, exact samples out, the probability's gradient back.

    z = STEP(f - u),    f = sigmoid(logits),    u uniform on (0, 1),    dz / dlogits := df / dlogits

Yoshua Bengio, Nicholas Leonard, Aaron Courville (2013), "Estimating or Propagating Gradients Through Stochastic
Neurons", arXiv 1308.3432.
"""

import keras
import tensorflow as tf

from tfdiscrete.layers.stochastic import StochasticLayer
from tfdiscrete.ops import step, uniform
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class StraightThroughBernoulli(StochasticLayer):
    """Samples one Bernoulli variable for each logit, with no temperature to choose.

    While training each call draws new, exact samples, 0 or 1. Backward a sample stands for its probability: the
    expected gradient is exact for a function that is linear in each sample and biased otherwise. The layer's seed and
    its counts of draws are saved with it.

    Example:

        model = keras.Sequential([
            keras.layers.Dense(200),
            tfdiscrete.layers.StraightThroughBernoulli(),
        ])

    Args:
        inference: the rule outside of training. "mode" (default): 1 where the logit is at least 0; "mean":
            sigmoid(logits); "sample": a sample as in training.
        seed: a non-negative integer; by default one is drawn from the system and kept in the config.

    Call arguments:
        inputs: logits `[...]`, finite: log odds of 1. The uniforms lie on a grid of 2^-23, so an outcome whose
            probability is below 2^-24 is never drawn.
        training: whether to sample.

    Returns:
        `[...]`, in the compute dtype. Sigmoid and noise are computed in float32 at least.

    Raises:
        InputError: for an unknown rule or a bad seed.
    """

    def _sample(self, inputs, seed):
        probability = tf.sigmoid(widen(inputs))
        return step(probability - uniform(tf.shape(probability), seed, dtype=probability.dtype))

    def _mode(self, inputs):
        inputs = widen(inputs)
        return tf.cast(inputs >= 0.0, inputs.dtype)

    def _mean(self, inputs):
        return tf.sigmoid(widen(inputs))

    def compute_output_shape(self, input_shape):
        return input_shape
