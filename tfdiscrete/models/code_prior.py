"""An autoregressive prior, trained alone, on codes that are data or draws from a posterior.

min E -log p(z),    z the codes of data, or z ~ q(z|x), drawn anew in each step
"""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.models.base import Endpoint, LatentVariableModel, Terms
from tfdiscrete.ops import perturb, split_seed
from tfdiscrete.ops.precision import widen
from tfdiscrete.priors.autoregressive import Autoregressive


def draw_index(logits: tf.Tensor, seed) -> tf.Tensor:
    """A code of each law of logits `[B, N, K]`: int32 `[B, N]`."""
    return tf.argmax(perturb(widen(logits), 1, seed)[0], axis=-1, output_type=tf.int32)


@keras.saving.register_keras_serializable(package="tfdiscrete.models")
class CodePrior(LatentVariableModel):
    """Trains a prior with `compile` and `fit` on codes, integers `[B, N]`, or on the logits of codes, `[B, N, K]`.

    `fit` and `evaluate` report `loss`, -log p(z) in nats per example; `predict`, and a call, give log p(z).

    Example:

        model = CodePrior(vae.prior)
        model.compile("adam")
        model.fit(vae.codes(images), epochs=10)     # vae.sample draws from it from now on

    Args:
        prior: built, an `Autoregressive`.
        seed: of the dropout and the draws; a non-negative integer, by default drawn from the system and kept in the
            config.

    Raises:
        InputError: for a prior that is not built, and codes that it does not take.
    """

    parts = ("prior",)

    def __init__(self, prior: Autoregressive, *, seed: int | None = None, **kwargs):
        super().__init__(seed=seed, **kwargs)
        self.prior = prior
        if prior.built:
            self.build((None, prior.event_shape[0]))

    def build(self, input_shape):
        if not self.prior.built:
            raise InputError("the prior must be built: call prior.build((N, K)) for N codes of K categories.")
        self.built = True

    def compile(self, optimizer="adam", *, jit_compile=False, **kwargs):
        """As that of all models, but without XLA, whose attention takes half as long again on a CPU."""
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)

    def call(self, inputs, training=False):
        return self.prior.log_prob_index(inputs)

    def terms(self, data, *, seed, training):
        seed, code_seed = split_seed(seed, 2)
        index = data if data.dtype.is_integer else draw_index(data, code_seed)
        return Terms(-self.prior.log_prob_index(index, seed=seed if training else None), {})

    def _unpack(self, data):
        index, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if y is not None or weight is not None:
            raise InputError("CodePrior learns from codes alone. Received: labels or sample weights; call fit(codes).")
        return index

    def _check_arrays(self, x, y=None):
        if np.issubdtype(x.dtype, np.floating) and x.shape[1:] == self.prior.event_shape:
            return
        if not np.issubdtype(x.dtype, np.integer) or (x.size and not 0 <= x.min() <= x.max() < self._categories):
            raise InputError(
                f"codes must be integers from 0 to {self._categories - 1}, or logits [B, N, K] with (N, K) = "
                f"{self.prior.event_shape}. Received: {x.dtype} of shape {x.shape} from {x.min():g} to {x.max():g}."
            )

    @property
    def _categories(self) -> int:
        return self.prior.event_shape[1]

    def endpoints(self):
        def log_prob(index):
            return {"log_prob": self.prior.log_prob_index(index)}

        def sample(seed, n):
            return {"index": self.prior.sample_index(n, seed)}

        return {
            "log_prob": Endpoint(log_prob, [tf.TensorSpec([None, self.prior.event_shape[0]], tf.int32, "index")]),
            "sample": Endpoint(sample, [tf.TensorSpec([2], tf.int32, "seed"), tf.TensorSpec([], tf.int32, "n")]),
        }
