"""Vector quantization: each input becomes the nearest of K learned codes.

    k(x) = argmin_k |x - c_k|^2,    L = beta |x - sg(c_k)|^2 (+ |sg(x) - c_k|^2 where a loss trains the codes)

Aaron van den Oord, Oriol Vinyals, Koray Kavukcuoglu (2017), "Neural Discrete Representation Learning",
arXiv 1711.00937.
Herve Jegou, Matthijs Douze, Cordelia Schmid (2011), "Product Quantization for Nearest Neighbor Search", IEEE
Transactions on Pattern Analysis and Machine Intelligence 33 (heads).
Jiahui Yu and others (2022), "Vector-quantized Image Modeling with Improved VQGAN", arXiv 2110.04627 (cosine).
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_name, check_non_negative, check_seed
from tfdiscrete.layers.codebook_update import EMAUpdate, LossUpdate, get_update
from tfdiscrete.layers.quantizer import Quantized, Quantizer, mean_square
from tfdiscrete.ops import rotation_trick, straight_through
from tfdiscrete.ops.nearest_code import METRICS
from tfdiscrete.ops.random import random_base
from tfdiscrete.ops.sizes import sizes

GRADIENTS = {"straight_through": lambda x, code: straight_through(code, x), "rotation": rotation_trick}


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class VectorQuantizer(Quantizer):
    """Puts the nearest code of a learned codebook in the place of each input vector.

    In training, in this order: the first batch starts the codebook by k-means; inputs are quantized with the codebook
    as it stands; it learns from them. Replicas of a `tf.distribute` strategy start and learn from the global batch and
    keep equal codebooks. Codes are kept and compared in float32 at least. With `trainable = False` the codebook neither
    starts nor learns; the loss is still added. An input with a NaN or infinite value gives a NaN code and loss and has
    no part in the start, the moving averages and the restarts. A batch without inputs changes nothing and has the
    loss 0.

    Example:

        images = keras.Input((28, 28, 1))
        x = keras.layers.Conv2D(16, 4, strides=4)(images)
        code, index, _ = tfdiscrete.layers.VectorQuantizer(512)(x)   # [B, 7, 7, 16], [B, 7, 7]
        model = keras.Model(images, keras.layers.Conv2DTranspose(1, 4, strides=4)(code))
        model.compile("adam", "mse")

    Args:
        num_codes: `K`, of each codebook.
        heads: `H`. The input's dimension is split into `H` equal parts, each with a codebook of its own, so that
            `K^H` codes are possible. `H > 1` gives the index a last dimension.
        commitment_cost: beta, not negative; the loss holds means over all elements.
        update: "ema", "loss", an `EMAUpdate` or a `LossUpdate`.
        metric: "euclidean", or "cosine": each head of the input is scaled to length 1 first, and codes have length 1.
        gradient: how the input gets its gradient, "straight_through" or "rotation".
        kmeans_iterations: of the start; 0 starts at random codes in [-1, 1]^D. Of a first batch with fewer different
            inputs than codes, the codes left over start near random inputs and are unused until others come.
        seed: of the start and the restarts; a non-negative integer, by default drawn from the system and kept in the
            config.

    Call arguments:
        inputs: `[..., D]`, `D` static and a multiple of `heads`.
        training: whether the codebook learns, and the loss is added.

    Returns:
        `Quantized`: code `[..., D]`, index `[...]` or `[..., H]`, loss `[]`.

    Raises:
        InputError: for an argument out of range, or a dimension that is not static or no multiple of `heads`.
    """

    def __init__(
        self,
        num_codes: int,
        *,
        heads: int = 1,
        commitment_cost: float = 0.25,
        update: str | EMAUpdate | LossUpdate = "ema",
        metric: str = "euclidean",
        gradient: str = "straight_through",
        kmeans_iterations: int = 10,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_codes = check_count("num_codes", num_codes)
        self.heads = check_count("heads", heads)
        self.commitment_cost = check_non_negative("commitment_cost", commitment_cost)
        self.update = get_update(update)
        self.metric = check_name("metric", metric, METRICS)
        self.gradient = check_name("gradient", gradient, GRADIENTS)
        self.kmeans_iterations = check_count("kmeans_iterations", kmeans_iterations, 0)
        self.seed = random_base() if seed is None else check_seed(seed)
        self._add_codebooks(
            self.heads,
            num_codes=self.num_codes,
            update=self.update,
            metric=self.metric,
            kmeans_iterations=self.kmeans_iterations,
            seed=self.seed,
        )
        self._count_codes(self.num_codes, self.heads)

    def build(self, input_shape):
        dimension = self._set_dimension(input_shape, None, "D static")
        if dimension % self.heads:
            raise InputError(f"D must be a multiple of heads={self.heads}. Received: inputs of shape {input_shape}.")
        for codebook in self.codebooks:
            codebook.build((None, dimension // self.heads))
        self.built = True

    def _quantize(self, x, training):
        parts = tf.split(tf.reshape(x, [-1, x.shape[-1]]), self.heads, axis=-1)
        assigned = [
            codebook.assign(part, training=training) for codebook, part in zip(self.codebooks, parts, strict=True)
        ]
        rows, codes, index, _ = (_joined(parts) for parts in zip(*assigned, strict=True))
        loss = self.commitment_cost * mean_square(rows - tf.stop_gradient(codes))
        if self.update.trains_codes:
            loss += mean_square(tf.stop_gradient(rows) - codes)
        code = GRADIENTS[self.gradient](rows, tf.stop_gradient(codes))
        shape = sizes(x)
        return Quantized(tf.reshape(code, shape), tf.reshape(index, self._index_shape(shape)), loss)

    def _decode(self, indices):
        index = [indices] if self.heads == 1 else tf.unstack(indices, axis=-1)
        codes = [tf.gather(codebook.embeddings(), i) for codebook, i in zip(self.codebooks, index, strict=True)]
        return tf.concat(codes, axis=-1)

    def _index_range(self):
        return 0, self.num_codes

    def _index_shape(self, input_shape):
        return tuple(input_shape[:-1]) + ((self.heads,) if self.heads > 1 else ())

    def _check_indices(self, shape):
        if self.heads > 1 and (shape.rank == 0 or shape[-1] != self.heads):
            raise InputError(f"indices must have shape [..., {self.heads}], one of each head. Received: shape {shape}.")

    def _counted(self, index):
        return index if self.heads > 1 else index[..., None]

    def get_config(self):
        return {
            **super().get_config(),
            "num_codes": self.num_codes,
            "heads": self.heads,
            "commitment_cost": self.commitment_cost,
            "update": keras.saving.serialize_keras_object(self.update),
            "metric": self.metric,
            "gradient": self.gradient,
            "kmeans_iterations": self.kmeans_iterations,
            "seed": self.seed,
        }


def _joined(parts) -> tf.Tensor:
    """Vectors `[M, d]` of all heads as `[M, H d]`; indices `[M]` as `[M, H]`."""
    if len(parts) == 1:
        return parts[0]
    return tf.concat(parts, axis=-1) if parts[0].shape.rank == 2 else tf.stack(parts, axis=-1)
