"""Finite scalar quantization: each dimension is rounded to a few levels, and their grid is the codebook.

    f(z) = tanh(z + s) h - o,    h = (L - 1)(1 + 1e-3) / 2,    o = 1/2 for even L, 0 for odd,
    code = round(f) / (L // 2)

The shift s = artanh(o / h) makes f(0) = 0. Codes of odd L are -1 ... 1, those of even L -1 ... 1 - 2/L.

Fabian Mentzer, David Minnen, Eirikur Agustsson, Michael Tschannen (2023), "Finite Scalar Quantization: VQ-VAE Made
Simple", arXiv 2309.15505. Their listing has tan where artanh is meant: close for L >= 4, but f(0) is not 0.
"""

import math
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.layers.quantizer import Quantized, Quantizer
from tfdiscrete.ops import straight_through
from tfdiscrete.ops.precision import wide_dtype

_MARGIN = 1e-3
_MOST_COUNTED = 2**20


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class FiniteScalarQuantizer(Quantizer):
    """Rounds each input dimension, squashed to its range, to one of its levels.

    It has no weights and no loss (0 is returned and added). Beyond 2^20 codes the perplexity is that of the
    dimensions, their geometric mean. With two levels a dimension's threshold is 0, where the
    formula's shift, without a level at either side of it, would leave it in the flat end of the tanh.

    Example:

        x = keras.Input((7, 7, 4))
        code, index, _ = tfdiscrete.layers.FiniteScalarQuantizer([8, 5, 5, 5])(x)   # 1,000 codes

    Args:
        levels: `D` integers of at least 2, whose product, the number of codes, fits in an int32.

    Call arguments:
        inputs: `[..., D]`.
        training: whether the loss is added.

    Returns:
        `Quantized`: code `[..., D]` in [-1, 1], index `[...]`, of mixed radix, the first dimension's digit the lowest,
        loss `[]`. The gradient is that of f (straight-through).

    Raises:
        InputError: for levels that are none or too many, or inputs of another dimension.
    """

    def __init__(self, levels: Iterable[int], **kwargs):
        super().__init__(**kwargs)
        if isinstance(levels, str) or not isinstance(levels, Iterable) or not (levels := list(levels)):
            raise InputError(f"levels must be a list of integers of at least 2. Received: levels={levels!r}.")
        self.levels = [check_count("a number of levels", level, 2) for level in levels]
        self.num_codes = math.prod(self.levels)
        if self.num_codes > 2**31 - 1:
            raise InputError(
                f"the product of the levels must be below 2^31, for an int32 index. Received: levels={self.levels}, "
                f"with {self.num_codes} codes."
            )
        self._few = self.num_codes <= _MOST_COUNTED
        self._count_codes(*((self.num_codes, 1) if self._few else (max(self.levels), len(self.levels))))
        radix = np.array(self.levels, np.int64)
        self._radix = radix.astype(np.int32)
        self._places = np.cumprod([1, *radix[:-1]]).astype(np.int32)
        self._halves = self._radix // 2

    def build(self, input_shape):
        self._set_dimension(input_shape, len(self.levels), f"D = {len(self.levels)}, the number of `levels`")
        self.built = True

    def _quantize(self, x, training):
        levels = np.array(self.levels, np.float64)
        height, offset = (levels - 1) * (1 + _MARGIN) / 2, np.where(levels % 2, 0.0, 0.5)
        shift = np.where(levels == 2, 0.0, np.arctanh(offset / height))
        height, offset, shift = (tf.constant(value, x.dtype) for value in (height, offset, shift))
        bounded = tf.tanh(x + shift) * height - offset
        # The clip is for thousands of levels, where the margin is as wide as one, and for NaN.
        digits = tf.clip_by_value(tf.cast(tf.round(bounded), tf.int32) + self._halves, 0, self._radix - 1)
        code = straight_through(self._grid(digits, x.dtype), bounded / tf.constant(self._halves, x.dtype))
        return Quantized(code, tf.reduce_sum(digits * self._places, axis=-1), tf.zeros([], x.dtype))

    def _grid(self, digits, dtype) -> tf.Tensor:
        """The codes of digits `[..., D]`, each from 0 to its number of levels."""
        return tf.cast(digits - self._halves, dtype) / tf.constant(self._halves, dtype)

    def _digits(self, indices) -> tf.Tensor:
        return indices[..., None] // self._places % self._radix

    def _decode(self, indices):
        return self._grid(self._digits(indices), wide_dtype(self.compute_dtype))

    def _index_range(self):
        return 0, self.num_codes

    def _counted(self, index):
        return index[..., None] if self._few else self._digits(index)

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}
