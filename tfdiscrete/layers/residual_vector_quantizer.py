"""Residual vector quantization: each level quantizes what the levels before it left.

    r_1 = x,    k_l = argmin_k |r_l - c_lk|^2,    r_{l+1} = r_l - sg(c_lk_l),    code = sum_l c_lk_l

Neil Zeghidour, Alejandro Luebs, Ahmed Omran, Jan Skoglund, Marco Tagliasacchi (2021), "SoundStream: An End-to-End
Neural Audio Codec", arXiv 2107.03312.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_name, check_non_negative, check_seed
from tfdiscrete.layers.codebook import Codebook
from tfdiscrete.layers.codebook_update import EMAUpdate, LossUpdate, get_update
from tfdiscrete.layers.quantizer import Quantized, Quantizer, mean_square
from tfdiscrete.layers.vector_quantizer import GRADIENTS
from tfdiscrete.ops import fold_in, seed_of, uniform
from tfdiscrete.ops.counter import add_counter
from tfdiscrete.ops.random import random_base
from tfdiscrete.ops.sizes import sizes


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class ResidualVectorQuantizer(Quantizer):
    """Puts a sum of codes, one of each level's codebook, in the place of each input vector.

    Codebooks start, learn and are kept as those of a `VectorQuantizer`, each from its level's residuals. With
    `quantizer_dropout` each training call keeps the first n levels, n uniform on 1 ... L and equal on all replicas, so
    that the first indices of a code alone decode well; the index of a dropped level is -1, its code zero, and its
    codebook does not learn. At inference all levels are kept.

    Example:

        x = keras.Input((100, 32))
        code, index, _ = tfdiscrete.layers.ResidualVectorQuantizer(8, 1024)(x)   # [B, 100, 32], [B, 100, 8]

    Args:
        num_quantizers: `L`, the levels.
        num_codes: `K`, of each codebook.
        shared_codebook: whether one codebook serves all levels. It starts from the inputs, the first level's rows, and
            learns from the rows of all levels.
        quantizer_dropout: whether training drops levels.
        commitment_cost: beta, not negative. The loss is the mean over the levels kept of each one's, in which means
            are over all elements.
        update: "ema", "loss", an `EMAUpdate` or a `LossUpdate`.
        gradient: how the input gets its gradient, "straight_through" or "rotation" (from the input to the sum).
        kmeans_iterations: of the start; 0 starts at random codes in [-1, 1]^D.
        seed: of the start, the restarts and the dropout; a non-negative integer, by default drawn from the system and
            kept in the config.

    Call arguments:
        inputs: `[..., D]`, `D` static.
        training: whether codebooks learn, levels are dropped, and the loss is added.

    Returns:
        `Quantized`: code `[..., D]`, index `[..., L]`, loss `[]`. `decode` takes indices of the first levels alone,
        `[..., n]` with `n <= L`, and a level of index -1 as zeros.

    Raises:
        InputError: for an argument out of range, or a dimension that is not static.
    """

    def __init__(
        self,
        num_quantizers: int,
        num_codes: int,
        *,
        shared_codebook: bool = False,
        quantizer_dropout: bool = False,
        commitment_cost: float = 0.25,
        update: str | EMAUpdate | LossUpdate = "ema",
        gradient: str = "straight_through",
        kmeans_iterations: int = 10,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_quantizers = check_count("num_quantizers", num_quantizers)
        self.num_codes = check_count("num_codes", num_codes)
        self.shared_codebook = shared_codebook
        self.quantizer_dropout = quantizer_dropout
        self.commitment_cost = check_non_negative("commitment_cost", commitment_cost)
        self.update = get_update(update)
        self.gradient = check_name("gradient", gradient, GRADIENTS)
        self.kmeans_iterations = check_count("kmeans_iterations", kmeans_iterations, 0)
        self.seed = random_base() if seed is None else check_seed(seed)
        self._add_codebooks(
            1 if shared_codebook else self.num_quantizers,
            num_codes=self.num_codes,
            update=self.update,
            metric="euclidean",
            kmeans_iterations=self.kmeans_iterations,
            seed=self.seed,
        )
        self._count_codes(self.num_codes, self.num_quantizers)

    def build(self, input_shape):
        dimension = self._set_dimension(input_shape, None, "D static")
        for codebook in self.codebooks:
            codebook.build((None, dimension))
        if self.quantizer_dropout:
            self.step = add_counter(self, "step")
        self.built = True

    def _codebook(self, level: int) -> Codebook:
        return self.codebooks[0 if self.shared_codebook else level]

    def _levels_kept(self, training):
        """How many levels this call keeps: an integer, or int32 `[]` from 1 to L."""
        if not (training and self.quantizer_dropout):
            return self.num_quantizers
        # Without the replica, which `step_seed` would fold in.
        draw = uniform([], fold_in(seed_of(self.seed, "levels"), self.step.value))
        self.step.assign_add(1)
        return 1 + tf.cast(draw * self.num_quantizers, tf.int32)

    def _quantize(self, x, training):
        rows = tf.reshape(x, [-1, x.shape[-1]])
        kept = self._levels_kept(training)
        residual, code, loss, indices, learned = rows, tf.zeros_like(rows), tf.zeros([], rows.dtype), [], []
        for level in range(self.num_quantizers):
            keep = tf.convert_to_tensor(level < kept)
            assigned = self._codebook(level).assign(
                residual, training=training, kept=keep, learns=not self.shared_codebook, starts=self._starts(level)
            )
            loss += tf.where(keep, self._level_loss(residual, assigned.codes), tf.zeros([], rows.dtype))
            chosen = tf.where(keep, tf.stop_gradient(assigned.codes), tf.zeros_like(rows))
            learned.append((tf.stop_gradient(residual), assigned.learned))
            residual, code = residual - chosen, code + chosen
            indices.append(tf.where(keep, assigned.index, -1))
        if training and self.shared_codebook and self.trainable:
            self.codebooks[0].learn(*(tf.concat(parts, axis=0) for parts in zip(*learned, strict=True)))
        shape = sizes(x)
        return Quantized(
            tf.reshape(GRADIENTS[self.gradient](rows, code), shape),
            tf.reshape(tf.stack(indices, axis=-1), self._index_shape(shape)),
            loss / tf.cast(kept, loss.dtype),
        )

    def _starts(self, level: int) -> bool:
        return level == 0 or not self.shared_codebook

    def _level_loss(self, residual, codes):
        loss = self.commitment_cost * mean_square(residual - tf.stop_gradient(codes))
        return loss + mean_square(tf.stop_gradient(residual) - codes) if self.update.trains_codes else loss

    def _decode(self, indices):
        codes = [
            tf.where(index[..., None] >= 0, tf.gather(self._codebook(level).embeddings(), tf.maximum(index, 0)), 0.0)
            for level, index in enumerate(tf.unstack(indices, axis=-1))
        ]
        return tf.add_n(codes)

    def _index_range(self):
        return -1, self.num_codes

    def _index_shape(self, input_shape):
        return (*input_shape[:-1], self.num_quantizers)

    def _check_indices(self, shape):
        if shape.rank == 0 or shape[-1] is None or not 1 <= shape[-1] <= self.num_quantizers:
            raise InputError(
                f"indices must have shape [..., n], n from 1 to {self.num_quantizers} levels. Received: shape {shape}."
            )

    def _counted(self, index):
        return index

    def get_config(self):
        return {
            **super().get_config(),
            "num_quantizers": self.num_quantizers,
            "num_codes": self.num_codes,
            "shared_codebook": self.shared_codebook,
            "quantizer_dropout": self.quantizer_dropout,
            "commitment_cost": self.commitment_cost,
            "update": keras.saving.serialize_keras_object(self.update),
            "gradient": self.gradient,
            "kmeans_iterations": self.kmeans_iterations,
            "seed": self.seed,
        }
