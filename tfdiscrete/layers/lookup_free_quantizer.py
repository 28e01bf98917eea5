"""Lookup-free quantization: each dimension becomes its sign, and the signs are the bits of the index.

    code_i = 1 if x_i > 0 else -1,    index = sum_i 2^(i-1) [x_i > 0]
    L = w (E_x H(p(.|x)) - g H(E_x p(.|x))) + beta |x - sg(code)|^2,    p(c|x) ~ exp(-|x - c|^2 / tau)

The distribution over the 2^D codes is one of independent bits, p(c_i = 1|x) = sigmoid(4 x_i / tau), whose entropy is
exactly the sum of theirs.

Lijun Yu and others (2023), "Language Model Beats Diffusion - Tokenizer is Key to Visual Generation" (MAGVIT-v2),
arXiv 2310.05737.
"""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import check_count, check_non_negative, check_positive
from tfdiscrete.layers.quantizer import Quantized, Quantizer, mean_square
from tfdiscrete.ops import straight_through
from tfdiscrete.ops.global_batch import sum_over_replicas
from tfdiscrete.ops.precision import wide_dtype

_MOST_COUNTED_BITS = 20


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class LookupFreeQuantizer(Quantizer):
    """Puts its sign in the place of each input dimension; there is no codebook and no weight.

    Two entropies, in nats, are part of the loss. That of each input's own code, which is made small: inputs move away
    from zero, where their code is certain. And that of the batch's mean distribution, which is made large: all codes
    are to be used. The second is not one of independent bits: it is enumerated over groups of `group_bits` bits, each
    exact, and added up over the groups, which gives the entropy of all bits where one group holds them, and else a
    bound from above that does not see dependence between groups. Under a `tf.distribute` strategy the mean
    distribution is that of the global batch.

    Example:

        x = keras.Input((7, 7, 10))
        code, index, _ = tfdiscrete.layers.LookupFreeQuantizer(10)(x)   # 1,024 codes

    Args:
        num_bits: `D`, up to 30. Beyond 20 the perplexity is that of the bits, their geometric mean.
        entropy_cost: w, of both entropies, not negative.
        diversity: g, the weight of the batch's entropy against that of the inputs, not negative.
        commitment_cost: beta, not negative, of the mean over all elements.
        temperature: tau, positive; the lower, the closer to zero an input's code is certain.
        group_bits: up to 16; memory grows as inputs times 2^group_bits.

    Call arguments:
        inputs: `[..., D]`.
        training: whether the loss is added.

    Returns:
        `Quantized`: code `[..., D]` of -1 and 1, index `[...]`, the first dimension's bit the lowest, loss `[]`. The
        gradient is the identity (straight-through). The code of 0 is -1.

    Raises:
        InputError: for an argument out of range, or inputs of another dimension.
    """

    def __init__(
        self,
        num_bits: int,
        *,
        entropy_cost: float = 0.1,
        diversity: float = 1.0,
        commitment_cost: float = 0.25,
        temperature: float = 1.0,
        group_bits: int = 8,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_bits = check_count("num_bits", num_bits, 1, 30)
        self.entropy_cost = check_non_negative("entropy_cost", entropy_cost)
        self.diversity = check_non_negative("diversity", diversity)
        self.commitment_cost = check_non_negative("commitment_cost", commitment_cost)
        self.temperature = check_positive("temperature", temperature)
        self.group_bits = check_count("group_bits", group_bits, 1, 16)
        self.num_codes = 2**self.num_bits
        self._few = self.num_bits <= _MOST_COUNTED_BITS
        self._count_codes(*((self.num_codes, 1) if self._few else (2, self.num_bits)))
        self._places = 2 ** np.arange(self.num_bits, dtype=np.int32)

    def build(self, input_shape):
        self._set_dimension(input_shape, self.num_bits, f"D = {self.num_bits}, the `num_bits`")
        self.built = True

    def _quantize(self, x, training):
        bits = tf.cast(x > 0.0, tf.int32)
        code = self._signs(bits, x.dtype)
        loss = self.commitment_cost * mean_square(x - code)
        if self.entropy_cost:
            certain, diverse = self.entropies(x, over_replicas=training)
            loss += self.entropy_cost * (certain - self.diversity * diverse)
        return Quantized(straight_through(code, x), tf.reduce_sum(bits * self._places, axis=-1), loss)

    def entropies(self, x, *, over_replicas: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
        """The mean entropy of each input's distribution over codes, and that of their mean distribution; nats.

        Args:
            x: `[..., D]`.
            over_replicas: whether the mean is that of all replicas' inputs.
        """
        logits = 4.0 / self.temperature * tf.reshape(x, [-1, self.num_bits])
        count = tf.cast(tf.shape(logits)[0], x.dtype)
        total = tf.maximum(sum_over_replicas(count) if over_replicas else count, 1.0)
        diverse = tf.zeros([], x.dtype)
        for start in range(0, self.num_bits, self.group_bits):
            mass = _summed_probabilities(logits[:, start : start + self.group_bits])
            mean = (sum_over_replicas(mass) if over_replicas else mass) / total
            diverse -= tf.reduce_sum(tf.math.xlogy(mean, mean))
        size = tf.abs(logits)
        # H = log(1 + e^-a) + a sigmoid(-a) for a = |logit|
        entropy = tf.reduce_sum(tf.nn.softplus(-size) + size * tf.sigmoid(-size))
        return entropy / tf.maximum(count, 1.0), diverse

    def _signs(self, bits, dtype) -> tf.Tensor:
        return tf.cast(2 * bits - 1, dtype)

    def _bits(self, indices) -> tf.Tensor:
        return indices[..., None] // self._places % 2

    def _decode(self, indices):
        return self._signs(self._bits(indices), wide_dtype(self.compute_dtype))

    def _index_range(self):
        return 0, self.num_codes

    def _counted(self, index):
        return index[..., None] if self._few else self._bits(index)

    def get_config(self):
        return {
            **super().get_config(),
            "num_bits": self.num_bits,
            "entropy_cost": self.entropy_cost,
            "diversity": self.diversity,
            "commitment_cost": self.commitment_cost,
            "temperature": self.temperature,
            "group_bits": self.group_bits,
        }


def _summed_probabilities(logits: tf.Tensor) -> tf.Tensor:
    """The sum over rows of the probabilities of all settings of independent bits, `[M, g]` to `[2^g]`."""
    bits = logits.shape[-1]
    table = tf.constant(np.arange(2**bits)[None] >> np.arange(bits)[:, None] & 1, logits.dtype)
    log_one, log_zero = tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)
    return tf.reduce_sum(tf.exp(tf.matmul(log_one, table) + tf.matmul(log_zero, 1.0 - table)), axis=0)
