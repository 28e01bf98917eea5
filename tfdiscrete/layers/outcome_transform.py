"""From the simplex to outcomes: the linear transform of generalized Gumbel-Softmax.

    T(y) = sum_k c_k y_k

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847 (Theorem 3).
"""

import keras
import numpy as np

from tfdiscrete.errors import InputError, check_finite
from tfdiscrete.ops import linear_transform


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class OutcomeTransform(keras.layers.Layer):
    """Maps points of the simplex to outcomes, one-hot ones exactly; no weights.

    After a `GumbelSoftmax` layer over K logits it makes any finite set of numbers or vectors a relaxed discrete
    variable, which is the implicit form of generalized Gumbel-Softmax.

    Example:

        coins = keras.Sequential([
            keras.layers.Dense(4),
            tfdiscrete.layers.GumbelSoftmax(temperature=0.5, hard=True),
            tfdiscrete.layers.OutcomeTransform([1, 5, 10, 25]),
        ])
        coins(tf.zeros([2, 3]), training=True).shape      # [2]

    Args:
        outcomes: c, `[K]` numbers or `[K, D]` vectors, finite, as (nested) lists or an array.

    Call arguments:
        inputs: y, `[..., K]`, such as the output of `GumbelSoftmax`.

    Returns:
        `[...]` for numbers and `[..., D]` for vectors, in the compute dtype: bfloat16 holds integers to 256 exactly,
        float16 to 2048.

    Raises:
        InputError: for outcomes of another rank, none, or not finite, or inputs that have not K coordinates.
    """

    def __init__(self, outcomes, **kwargs):
        super().__init__(**kwargs)
        self._values = _checked(outcomes)
        self.supports_masking = True

    @property
    def outcomes(self) -> list:
        """The outcomes, as (nested) lists."""
        return self._values.tolist()

    def build(self, input_shape):
        self._check(input_shape)
        self.built = True

    def _check(self, input_shape):
        if len(input_shape) < 1 or input_shape[-1] != len(self._values):
            raise InputError(
                f"inputs must have shape [..., K] with K = {len(self._values)}, one for each outcome. Received: shape "
                f"{tuple(input_shape)}."
            )

    def call(self, inputs):
        self._check(inputs.shape)
        return linear_transform(inputs, self._values)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], *self._values.shape[1:])

    def get_config(self):
        return {**super().get_config(), "outcomes": self.outcomes}


def _checked(outcomes) -> np.ndarray:
    try:
        values = np.asarray(outcomes, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"outcomes must be [K] numbers or [K, D] vectors of one length. Received: {outcomes!r}."
        ) from None
    if values.ndim not in (1, 2) or not values.size:
        raise InputError(f"outcomes must be [K] numbers or [K, D] vectors. Received: shape {values.shape}.")
    check_finite(values)
    return values
