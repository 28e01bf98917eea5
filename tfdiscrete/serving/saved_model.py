"""What a SavedModel's file says: its signatures, and whether its graph runs anywhere; no weights are loaded."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tfdiscrete.errors import InputError

DEFAULT = "serving_default"
SEED = "seed"
_TAG = tf.saved_model.SERVING
_PYTHON = {"PyFunc", "EagerPyFunc", "PyFuncStateless"}
# Of tf.random, and of its Generator; those that take a seed begin with Stateless.
_RANDOM = re.compile(
    "Random(StandardNormal|Uniform|UniformInt|Gamma|Poisson|PoissonV2|Shuffle)|(Parameterized)?TruncatedNormal|"
    "Multinomial|Stateful(StandardNormal(V2)?|Uniform|UniformFullInt|UniformInt|TruncatedNormal|RandomBinomial)|RngReadAndSkip|NonDeterministicInts"
)


class SignatureSpecs(NamedTuple):
    """What a signature of a SavedModel takes and returns, as its file says."""

    inputs: dict[str, tf.TensorSpec]
    """By name, in alphabetical order; a dynamic size is None."""
    outputs: dict[str, tf.TensorSpec]
    """Likewise."""

    @property
    def draws(self) -> bool:
        """Whether its answer is drawn at random, with the noise of a seed."""
        return SEED in self.inputs


def read_signatures(saved_model: str | os.PathLike) -> dict[str, SignatureSpecs]:
    """The signatures of a SavedModel's folder, the default one first; the weights are not loaded.

    Raises:
        InputError: if there is no SavedModel.
    """
    definitions = read_graph(saved_model).signature_def
    names = sorted(name for name in definitions if not name.startswith("__"))
    return {
        name: SignatureSpecs(_specs(definitions[name].inputs), _specs(definitions[name].outputs))
        for name in sorted(names, key=DEFAULT.__ne__)
    }


def read_graph(saved_model: str | os.PathLike):
    """The `MetaGraphDef` for serving of a SavedModel's folder; raises `InputError` if there is none."""
    file = Path(saved_model) / "saved_model.pb"
    if not file.is_file():
        raise InputError(f"expected the folder of a SavedModel. Received: {saved_model}, which holds no {file.name}.")
    graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
    # One without the tag is loaded too where it is the only one.
    serving = [graph for graph in graphs if _TAG in graph.meta_info_def.tags] or list(graphs)
    if not serving:
        raise InputError(f"expected a SavedModel. Received: {file}, which holds no graph.")
    return serving[0]


def _specs(infos) -> dict[str, tf.TensorSpec]:
    return {name: tf.TensorSpec(infos[name].tensor_shape, infos[name].dtype, name) for name in sorted(infos)}


def check_portable(saved_model: str | os.PathLike) -> None:
    """Raises `InputError` for a graph that is no function of its inputs, or that not every process can run.

    It draws with noise of its own, needs the Python process that made it, or XLA, which TF Serving has off.
    """
    graph = read_graph(saved_model)
    functions = graph.graph_def.library.function
    nodes = [*graph.graph_def.node, *(node for function in functions for node in function.node_def)]
    operators = sorted({node.op for node in nodes})
    if found := [name for name in operators if _RANDOM.fullmatch(name)]:
        raise InputError(
            f"the model draws with noise of its own ({', '.join(found)}): the same request would get another answer "
            "each time. Draw with tf.random.stateless_... and a seed among the inputs, or not at inference."
        )
    if found := [name for name in operators if name in _PYTHON]:
        raise InputError(
            f"the model calls Python ({', '.join(found)}), which no other process can. Write what it wraps "
            "(tf.py_function, tf.numpy_function) with TensorFlow's operators."
        )
    if any(function.attr["_XlaMustCompile"].b for function in functions if "_XlaMustCompile" in function.attr):
        raise InputError("the model holds a tf.function(jit_compile=True), which TF Serving cannot run: leave it out.")
