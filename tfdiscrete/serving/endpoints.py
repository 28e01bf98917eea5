"""What an export answers: the signatures of a model, of a layer, or of any Keras model made with such layers.

Each is a function of its inputs alone, with a dynamic batch; noise comes from an input `seed`.
"""

import contextlib
import re
from collections.abc import Iterator

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.layers.quantizer import Quantizer
from tfdiscrete.models import Endpoint, LatentVariableModel

_UNNAMED = re.compile(r"(keras_tensor|input_layer)(_\d+)?")


def endpoints_of(model: keras.layers.Layer) -> dict[str, Endpoint]:
    """What is exported of a model or a layer; the first is the default one.

    - Of a `LatentVariableModel` its own endpoints.
    - Of a quantizer `encode`, inputs `x` to `code` and `index`, and `decode`, `index` to `code`.
    - Of any other Keras model or layer `serve`, its call outside of training. Inputs have the names that
      `keras.Input(name=...)` gives them; a single one without a name is `x`, and others are `x_0`, `x_1`, ... Outputs
      are named as in the dictionary or NamedTuple that the call returns; a single one is `output`, and others are
      `output_0`, `output_1`, ...

    Args:
        model: built.

    Raises:
        InputError: for something else, what is not built, or a layer that draws samples at inference.
    """
    if isinstance(model, LatentVariableModel):
        return model.endpoints()
    if not isinstance(model, keras.layers.Layer):
        raise InputError(f"expected a Keras model or layer. Received: {type(model).__name__}.")
    for layer in model._flatten_layers():
        if getattr(layer, "inference", None) == "sample":
            raise InputError(
                f"{layer.name} draws samples at inference, with noise of its own: the same request would get another "
                "answer each time. Give it inference='mode' or 'mean', or draw in a model whose signatures take a seed."
            )
    structure, specs = _inputs(model)
    if isinstance(model, Quantizer):
        return _quantizer_endpoints(model, specs)
    return _call_endpoint(model, structure, specs)


def _quantizer_endpoints(quantizer, specs) -> dict[str, Endpoint]:
    index = quantizer.compute_output_shape(tuple(specs[0].shape)).index

    def encode(x):
        index = quantizer.encode(x)
        return {"code": quantizer.decode(index), "index": index}

    def decode(index):
        return {"code": quantizer.decode(index)}

    return {"encode": Endpoint(encode, specs), "decode": Endpoint(decode, [tf.TensorSpec(index, tf.int32, "index")])}


def _call_endpoint(model, structure, specs) -> dict[str, Endpoint]:
    def serve(*inputs):
        with _without_metrics(model):
            outputs = model(keras.tree.pack_sequence_as(structure, inputs), training=False)
        return _named_outputs(outputs)

    return {"serve": Endpoint(serve, specs)}


def _inputs(model):
    """The structure of what the model is called on, and a named spec of each of its tensors."""
    if getattr(model, "inputs", None):
        structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
        names = [tensor.name for tensor in model.inputs]
        shapes = [(tuple(tensor.shape), tensor.dtype) for tensor in model.inputs]
    else:
        shape = (model.get_build_config() or {}).get("input_shape") if model.built else None
        if not shape or not all(size is None or isinstance(size, int) for size in shape):
            raise InputError(
                f"{model.name} is not built, or not for a single input, so that the shape of a request is not known. "
                "Call it on data first, or put it into a functional model: keras.Model(inputs, layer(inputs))."
            )
        structure, names, shapes = 0, ["x"], [((None, *shape[1:]), model.dtype)]
    bare = ["x"] if len(names) == 1 else [f"x_{i}" for i in range(len(names))]
    names = [given if _UNNAMED.fullmatch(name) else name for name, given in zip(names, bare, strict=True)]
    return structure, [tf.TensorSpec(s, dtype, name) for (s, dtype), name in zip(shapes, names, strict=True)]


def _named_outputs(outputs) -> dict[str, tf.Tensor]:
    if hasattr(outputs, "_asdict"):
        return outputs._asdict()
    if isinstance(outputs, dict):
        return outputs
    flat = keras.tree.flatten(outputs)
    return {"output": flat[0]} if len(flat) == 1 else {f"output_{i}": output for i, output in enumerate(flat)}


@contextlib.contextmanager
def _without_metrics(model) -> Iterator[None]:
    """Metrics that a layer updates in its call, such as a quantizer's perplexity, are no part of an answer."""
    metrics = {id(metric): metric for layer in model._flatten_layers() for metric in layer._metrics}.values()
    for metric in metrics:
        metric.update_state = lambda *args, **kwargs: None
    try:
        yield
    finally:
        for metric in metrics:
            del metric.update_state
