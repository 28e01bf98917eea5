"""What all quantizers share: a code, its index and a loss; how the loss and the use of the codes are reported."""

import abc
import threading
from typing import NamedTuple

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.layers.code_perplexity import CodePerplexity
from tfdiscrete.layers.codebook import Codebook
from tfdiscrete.ops.precision import wide_dtype, widen


class Quantized(NamedTuple):
    """What a quantizer returns."""

    code: tf.Tensor
    """`[..., D]`, the codes in the place of the inputs, in the compute dtype, with the inputs' gradient."""
    index: tf.Tensor
    """int32 `[...]`, or `[..., H]` where several indices make up a code."""
    loss: tf.Tensor
    """`[]`, float32 at least: what the layer adds to the model's loss in training."""


class ReplicaLosses(threading.local):
    """The list in which a Keras layer keeps its losses, one for each replica.

    Replicas of a mirrored strategy are threads that take turns wherever they meet. With one list for all of them, a
    replica finds there the losses of another, which its gradient tape has not seen, or finds its own removed.
    """

    def __init__(self):
        self._losses = []

    def extend(self, losses):
        self._losses.extend(losses)

    def clear(self):
        self._losses.clear()

    def __getitem__(self, index):
        return self._losses[index]

    def __len__(self):
        return len(self._losses)


class Quantizer(keras.layers.Layer, abc.ABC):
    """Base of the layers that put a code from a finite set in the place of each input vector.

    Subclasses write `_quantize` and `_decode`, and in `__init__` call `_count_codes`, and `_add_codebooks` if they have
    any.

    In training a quantizer adds its loss to the model's (`add_loss`), so that `fit` needs no more; a training loop of
    one's own takes `model.losses` or the field `loss`, not both. It is the mean over this replica's inputs: `fit`
    divides it by the number of replicas, and so must such a loop.

    The metric `NAME_perplexity`, where NAME is the layer's name, is the perplexity of the codes of all inputs since
    the epoch began, of every call, `predict` included: `fit` and `evaluate` report it, over all replicas, and of two
    quantizers with one name only one. `encode` counts nothing: export that.

    The output has three parts, so a `keras.Sequential` cannot hold a quantizer: call it in a functional or subclassed
    model. A mask is passed on and not used: masked inputs are quantized, counted and learned like others.

    Call arguments:
        inputs: `[..., D]`, `D` static.
        training: whether the codebook learns, and the loss is added.

    Returns:
        `Quantized`. Codes, indices and the loss are computed in float32 at least.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self._losses = ReplicaLosses()
        self._num_codebooks = 0
        self._dimension: int | None = None

    def _count_codes(self, num_codes: int, groups: int = 1) -> None:
        """Adds the perplexity of `groups` indices of `num_codes` codes each."""
        self.perplexity = CodePerplexity(num_codes, groups, name=f"{self.name}_perplexity")

    def _add_codebooks(self, count: int, **options) -> None:
        """Makes the codebooks, each an attribute of its own: TensorFlow checkpoints do not see those in a list."""
        for i in range(count):
            name = f"codebook_{i}"
            own = {"name": name, "purpose": f"codebook {i}", "dtype": self.dtype_policy, "trainable": self.trainable}
            setattr(self, name, Codebook(**own, **options))
        self._num_codebooks = count

    @property
    def codebooks(self) -> list[Codebook]:
        """The codebooks, of each head or level; `codebook.embeddings()` are its codes `[K, D]`."""
        return [getattr(self, f"codebook_{i}") for i in range(self._num_codebooks)]

    def call(self, inputs, training=False):
        self._check_inputs(inputs.shape)
        code, index, loss = self._quantize(widen(inputs), training)
        self.perplexity.update_state(self._counted(index))
        if training:
            self.add_loss(loss)
        return Quantized(tf.cast(code, self.compute_dtype), index, loss)

    def encode(self, inputs) -> tf.Tensor:
        """The index of each input's code, int32 `[...]` or `[..., H]`, as at inference; nothing is counted."""
        _refuse_symbolic(inputs, "encode", "call the quantizer and take its `index`")
        inputs = tf.convert_to_tensor(inputs)
        if not self.built:
            self.build(tuple(inputs.shape))
        self._check_inputs(inputs.shape)
        return self._quantize(widen(tf.cast(inputs, self.compute_dtype)), False).index

    def decode(self, indices) -> tf.Tensor:
        """The codes of indices: the inverse of `encode`, to the code of a call.

        Args:
            indices: integers of the shape of `index`, from 0 up to the number of codes, not included.

        Returns:
            `[..., D]`, in the compute dtype. In a graph, where nothing can be raised on every device, the code of an
            index out of range is NaN.

        Raises:
            InputError: for indices of another type or shape, the symbolic ones of a functional model, and eagerly for
                one out of range.
        """
        _refuse_symbolic(indices, "decode", "call it in the `call` of a subclassed layer or model")
        indices = tf.convert_to_tensor(indices)
        if not indices.dtype.is_integer:
            raise InputError(f"indices must be integers. Received: indices of dtype {indices.dtype.name}.")
        self._check_indices(indices.shape)
        if not self.built:
            raise InputError(f"{self.name} has no codes yet: call it on inputs first, or `build` it.")
        indices = tf.cast(indices, tf.int64)
        lowest, end = self._index_range()
        inside = (indices >= lowest) & (indices < end)
        if tf.executing_eagerly() and not bool(tf.reduce_all(inside)):
            wrong = int(tf.boolean_mask(indices, ~inside)[0])
            raise InputError(f"indices must be from {lowest} to {end - 1}. Received: {wrong}.")
        indices = tf.cast(tf.where(inside, indices, tf.zeros_like(indices)), tf.int32)
        code = self._decode(indices)
        if indices.shape.rank == code.shape.rank:
            inside = tf.reduce_all(inside, axis=-1)
        code = tf.where(inside[..., None], code, tf.constant(float("nan"), code.dtype))
        return tf.cast(code, self.compute_dtype)

    @abc.abstractmethod
    def _quantize(self, x, training) -> Quantized:
        """Of inputs in float32 at least, with the code in that dtype."""

    @abc.abstractmethod
    def _decode(self, indices) -> tf.Tensor:
        """The codes of int32 indices that are in range, in float32 at least."""

    @abc.abstractmethod
    def _index_range(self) -> tuple[int, int]:
        """The lowest index, and the first one beyond the highest."""

    def _set_dimension(self, input_shape, dimension: int | None, expected: str) -> int:
        """Checks the static last dimension of `[..., D]` and keeps it; that of all inputs to come."""
        if len(input_shape) < 1 or not input_shape[-1] or (dimension is not None and input_shape[-1] != dimension):
            raise InputError(f"inputs must have shape [..., D] with {expected}. Received: shape {tuple(input_shape)}.")
        self._dimension = int(input_shape[-1])
        return self._dimension

    def _check_inputs(self, input_shape) -> None:
        self._set_dimension(input_shape, self._dimension, f"D = {self._dimension}, as it was built")

    def _index_shape(self, input_shape) -> tuple:
        """The shape of the index, for inputs of `input_shape`."""
        return tuple(input_shape[:-1])

    def _check_indices(self, shape) -> None:
        """Raises `InputError` for indices of a shape that no code has."""

    def _counted(self, index) -> tf.Tensor:
        """The index `[..., groups]` whose perplexity is reported; below 0 for one to leave out."""
        return index[..., None]

    def compute_output_shape(self, input_shape):
        return Quantized(tuple(input_shape), self._index_shape(input_shape), ())

    def compute_output_spec(self, inputs, training=False):
        code, index, loss = self.compute_output_shape(inputs.shape)
        return Quantized(
            keras.KerasTensor(code, self.compute_dtype),
            keras.KerasTensor(index, "int32"),
            keras.KerasTensor(loss, wide_dtype(self.compute_dtype).name),
        )


def _refuse_symbolic(tensor, method: str, instead: str) -> None:
    if isinstance(tensor, keras.KerasTensor):
        raise InputError(f"{method} takes tensors with values; in a functional model {instead}. Received: {tensor!r}.")


def mean_square(difference: tf.Tensor) -> tf.Tensor:
    """The mean of squares over all elements, 0 of none."""
    size = tf.cast(tf.maximum(tf.size(difference), 1), difference.dtype)
    return tf.reduce_sum(difference * difference) / size
