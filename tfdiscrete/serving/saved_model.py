"""What a SavedModel's file says: its signatures, and whether its graph runs anywhere; no weights are loaded."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfdiscrete.errors import InputError

DEFAULT = "serving_default"
SEED = "seed"
_PYTHON = {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


class Signature(NamedTuple):
    """A signature of a SavedModel, as its file says."""

    inputs: dict[str, tf.TensorSpec]
    """By name, in alphabetical order; a dynamic size is None."""
    outputs: dict[str, tf.TensorSpec]
    """Likewise."""

    @property
    def draws(self) -> bool:
        """Whether its answer is drawn at random, with the noise of a seed."""
        return SEED in self.inputs

    def example(self, batch: int = 1, rng: np.random.Generator | None = None) -> dict[str, np.ndarray]:
        """Inputs of that batch: zeros, or with `rng` uniform floats from 0 to 1; `n` is the batch."""
        return {name: _example(spec, batch, rng) for name, spec in self.inputs.items()}


def _example(spec, batch, rng):
    shape = [batch if size is None else size for size in spec.shape]
    if rng is not None and spec.dtype.is_floating:
        return rng.random(shape).astype(spec.dtype.as_numpy_dtype)
    return np.full(shape, 0 if shape else batch, spec.dtype.as_numpy_dtype)


def read_signatures(saved_model: str | os.PathLike) -> dict[str, Signature]:
    """The signatures of a SavedModel's folder, the default one first; the weights are not loaded.

    Raises:
        InputError: if there is no SavedModel.
    """
    definitions = read_graph(saved_model).signature_def
    names = sorted(name for name in definitions if not name.startswith("__"))
    return {
        name: Signature(_specs(definitions[name].inputs), _specs(definitions[name].outputs))
        for name in sorted(names, key=DEFAULT.__ne__)
    }


def read_graph(saved_model: str | os.PathLike):
    """The `MetaGraphDef` of a SavedModel's folder; raises `InputError` if there is none."""
    file = Path(saved_model) / "saved_model.pb"
    if not file.is_file():
        raise InputError(f"expected the folder of a SavedModel. Received: {saved_model}, which holds no {file.name}.")
    return saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs[0]


def _specs(infos) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec(infos[name].tensor_shape, infos[name].dtype, name) for name in sorted(infos)}


def check_portable(saved_model: str | os.PathLike) -> None:
    """Raises `InputError` where the graph needs the Python process that made it, or XLA, which TF Serving has off."""
    graph = read_graph(saved_model)
    functions = graph.graph_def.library.function
    nodes = [*graph.graph_def.node, *(node for function in functions for node in function.node_def)]
    if found := sorted({node.op for node in nodes} & _PYTHON):
        raise InputError(
            f"the model calls Python ({', '.join(found)}), which no other process can. Write what it wraps "
            "(tf.py_function, tf.numpy_function) with TensorFlow's operators."
        )
    if any(function.attr["_XlaMustCompile"].b for function in functions if "_XlaMustCompile" in function.attr):
        raise InputError("the model holds a tf.function(jit_compile=True), which TF Serving cannot run: leave it out.")
