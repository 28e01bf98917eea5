"""The straight-through one-hot layer: logits in, exact categorical samples out, the softmax's gradient back.

    z = SNAP(log pi + G),    pi = softmax(logits),    G standard Gumbel,    dz / dlogits := dpi / dlogits

or with the second-order gradient of ReinMax in the place of dpi / dlogits.

Yoshua Bengio, Nicholas Leonard, Aaron Courville (2013), "Estimating or Propagating Gradients Through Stochastic
Neurons", arXiv 1308.3432.
Liyuan Liu, Chengyu Dong, Xiaodong Liu, Bin Yu, Jianfeng Gao (2023), "Bridging Discrete and Backpropagation:
Straight-Through and Beyond", arXiv 2304.08612 (ReinMax).
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import check_name
from tfdiscrete.layers.stochastic import StochasticLayer, check_categories
from tfdiscrete.ops import gumbel_max, perturb, reinmax, straight_through
from tfdiscrete.ops.precision import widen

GRADIENTS = ("probabilities", "reinmax")


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class StraightThroughOneHot(StochasticLayer):
    """Samples one categorical variable for each row of logits, with no temperature to choose.

    While training each call draws new, exact one-hot samples. Backward a sample stands for its probabilities: the
    expected gradient is exact for a function that is linear in each sample; with `gradient="reinmax"` for a function
    that is at most quadratic in a sample, too, at a few operations more. The layer's seed and its counts of draws are
    saved with it.

    Example:

        model = keras.Sequential([
            keras.layers.Dense(20 * 10),
            keras.layers.Reshape((20, 10)),
            tfdiscrete.layers.StraightThroughOneHot(gradient="reinmax"),
        ])

    Args:
        gradient: that of a sample: "probabilities" (default), softmax(logits), or "reinmax".
        inference: the rule outside of training. "mode" (default): the one-hot most likely category; "mean":
            softmax(logits); "sample": a sample as in training.
        seed: a non-negative integer; by default one is drawn from the system and kept in the config.

    Call arguments:
        inputs: logits `[..., K]`, finite, `K >= 1` static.
        training: whether to sample.

    Returns:
        `[..., K]`, in the compute dtype. Noise and softmax are computed in float32 at least.

    Raises:
        InputError: for an unknown gradient or rule, a bad seed, or inputs without a static last dimension.
    """

    def __init__(self, gradient: str = "probabilities", inference: str = "mode", seed: int | None = None, **kwargs):
        super().__init__(inference=inference, seed=seed, **kwargs)
        self.gradient = check_name("gradient", gradient, GRADIENTS)

    def build(self, input_shape):
        check_categories(input_shape)
        super().build(input_shape)

    def _sample(self, inputs, seed):
        hard = gumbel_max(perturb(inputs, 1, seed)[0])
        if self.gradient == "reinmax":
            return reinmax(inputs, hard)
        return straight_through(hard, tf.nn.softmax(widen(inputs), axis=-1))

    def _mode(self, inputs):
        return gumbel_max(inputs)

    def _mean(self, inputs):
        return tf.nn.softmax(widen(inputs), axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "gradient": self.gradient}
