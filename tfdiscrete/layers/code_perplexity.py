"""How many codes are in use: the perplexity of their counts.

exp(-sum_k p_k log p_k),    p_k the fraction of inputs with code k
"""

import keras
import tensorflow as tf


class CodePerplexity(keras.metrics.Metric):
    """The perplexity of indices, of all batches since its last reset: from 1 to `num_codes`.

    Of several groups, such as the heads of a product code, the geometric mean of the perplexities of those that were
    counted. Counts of the replicas of a `tf.distribute` strategy are added up. It is 1 where nothing was.

    Args:
        num_codes: `K`.
        groups: `G`, how many indices each code has.
        name: of the metric.
    """

    def __init__(self, num_codes: int, groups: int = 1, name: str = "perplexity", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_codes = num_codes
        self.groups = groups
        self.counts = self.add_variable((groups, num_codes), "zeros", dtype="float32", name="counts")

    def update_state(self, index):
        """Counts an int32 index `[..., G]`; one below 0 is left out."""
        offset = self.num_codes * tf.range(self.groups)
        index = tf.reshape(tf.where(index >= 0, index + offset, -1), [-1])
        ones = tf.ones_like(index, tf.float32)
        counts = tf.math.unsorted_segment_sum(ones, index, self.groups * self.num_codes)
        self.counts.assign_add(tf.reshape(counts, [self.groups, self.num_codes]))

    def result(self):
        counts = tf.convert_to_tensor(self.counts.value)
        totals = tf.reduce_sum(counts, axis=-1, keepdims=True)
        p = counts / tf.maximum(totals, 1.0)
        entropy = -tf.reduce_sum(tf.math.xlogy(p, p))
        return tf.exp(entropy / tf.maximum(tf.reduce_sum(tf.cast(totals > 0.0, counts.dtype)), 1.0))

    def get_config(self):
        return {"num_codes": self.num_codes, "groups": self.groups, **super().get_config()}
