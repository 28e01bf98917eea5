"""How a codebook learns: by moving averages of the rows of each code, or by gradient descent on its own loss.

EMA, for the rows that code k was nearest to in a batch, n_k of them with the sum s_k:

    N_k <- decay N_k + (1 - decay) n_k,    S_k <- decay S_k + (1 - decay) s_k,    c_k = S_k / N'_k,
    N'_k = (N_k + epsilon) / (sum_j N_j + K epsilon) * sum_j N_j    (Laplace smoothing)

A code is restarted at a random row of the batch once N_k is below a fraction of the mean count.

Aaron van den Oord, Oriol Vinyals, Koray Kavukcuoglu (2017), "Neural Discrete Representation Learning",
arXiv 1711.00937, appendix A.1.
Prafulla Dhariwal and others (2020), "Jukebox: A Generative Model for Music", arXiv 2005.00341 (random restarts).
"""

import numbers
from typing import NamedTuple

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_positive, unknown_name
from tfdiscrete.ops.nearest_code import CodeStatistics


class CodebookState(NamedTuple):
    """A codebook and the moving averages that it is made of."""

    codes: tf.Tensor
    """`[K, D]`."""
    counts: tf.Tensor
    """`[K]`, N above."""
    sums: tf.Tensor
    """`[K, D]`, S above."""


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class EMAUpdate:
    """Moves each code to the moving average of its rows, and restarts codes that few rows choose.

    A code without a row in the batch stays exactly where it is, where the formula would let its smoothing pull it to
    zero. A batch without rows changes nothing.

    Example:

        VectorQuantizer(512, update=EMAUpdate(decay=0.99, restart_threshold=0.0))

    Args:
        decay: of the averages, in [0, 1). The source has 0.99, with which codes that a learning encoder has left behind
            wait some hundred steps for their restart.
        epsilon: of the smoothing, positive.
        restart_threshold: the fraction of the mean count below which a code is restarted, in [0, 1); 0: never. A
            restarted code has the count of the threshold, so that it must be chosen soon or is restarted again.

    Raises:
        InputError: for a value out of range.
    """

    trains_codes = False

    def __init__(self, decay: float = 0.95, epsilon: float = 1e-5, restart_threshold: float = 0.1):
        self.decay = _check_fraction("decay", decay)
        self.epsilon = check_positive("epsilon", epsilon)
        self.restart_threshold = _check_fraction("restart_threshold", restart_threshold)

    def moved(self, state: CodebookState, batch: CodeStatistics) -> CodebookState:
        """The state after the statistics of one batch."""
        empty = tf.reduce_sum(batch.counts) == 0.0
        decay = tf.where(empty, tf.ones([], state.counts.dtype), tf.cast(self.decay, state.counts.dtype))
        counts = decay * state.counts + (1.0 - decay) * batch.counts
        sums = decay * state.sums + (1.0 - decay) * batch.sums
        total, num_codes = tf.reduce_sum(counts), counts.shape[0]
        smoothed = (counts + self.epsilon) / (total + num_codes * self.epsilon) * total
        codes = tf.where((batch.counts > 0.0)[:, None], sums / smoothed[:, None], state.codes)
        return CodebookState(codes, counts, sums)

    def dead(self, counts: tf.Tensor) -> tf.Tensor:
        """Which codes to restart, bool `[K]`."""
        return counts < self.restart_threshold * tf.reduce_mean(counts)

    def restarted(self, state: CodebookState, dead: tf.Tensor, rows: tf.Tensor) -> CodebookState:
        """The state with each dead code at the row `[K, D]` of its place, averages included."""
        count = self.restart_threshold * tf.reduce_mean(state.counts)
        return CodebookState(
            tf.where(dead[:, None], rows, state.codes),
            tf.where(dead, count, state.counts),
            tf.where(dead[:, None], count * rows, state.sums),
        )

    def get_config(self):
        """The arguments of `__init__`."""
        return {"decay": self.decay, "epsilon": self.epsilon, "restart_threshold": self.restart_threshold}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class LossUpdate:
    """Makes the codes trainable weights, and adds the codebook loss mean |stop_gradient(x) - c|^2 to the layer's.

    The optimizer moves them, with its own learning rate; there is no restart.

    Example:

        VectorQuantizer(512, update=LossUpdate())
    """

    trains_codes = True

    def get_config(self):
        """No arguments."""
        return {}

    @classmethod
    def from_config(cls, config):
        """The inverse of `get_config`."""
        return cls(**config)


UPDATES = {"ema": EMAUpdate, "loss": LossUpdate}


def get_update(update) -> EMAUpdate | LossUpdate:
    """The update that a name, a config entry or an object stands for; raises `InputError` for anything else."""
    if isinstance(update, dict):
        update = keras.saving.deserialize_keras_object(update)
    if isinstance(update, str):
        if update not in UPDATES:
            raise unknown_name("update", update, UPDATES)
        return UPDATES[update]()
    if not isinstance(update, (EMAUpdate, LossUpdate)):
        raise InputError(f"update must be 'ema', 'loss', an EMAUpdate or a LossUpdate. Received: update={update!r}.")
    return update


def _check_fraction(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < 1:
        raise InputError(f"{name} must be a number from 0 up to, and not including, 1. Received: {name}={value!r}.")
    return float(value)
