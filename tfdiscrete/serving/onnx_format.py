"""ONNX files of a SavedModel's deterministic signatures, one a file, for onnxruntime and its kin.

    onnx/SIGNATURE.onnx     inputs and outputs by their names; the batch is dynamic

ONNX authors, "Open Neural Network Exchange", https://onnx.ai; tf2onnx, https://github.com/onnx/tensorflow-onnx.
"""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from tfdiscrete.serving.formats import Answer, Format, refuse_operators
from tfdiscrete.serving.saved_model import SignatureSpecs, read_signatures

OPSET = 18


class Onnx(Format):
    """Each signature converted by tf2onnx, checked by ONNX's own checker."""

    name = "onnx"
    title = "ONNX"
    packages = ("onnx", "tf2onnx", "onnxruntime")
    extra = "onnx"

    def write(self, saved_model: Path, folder: Path, names: Sequence[str]) -> None:
        import onnx

        signatures = read_signatures(saved_model)
        loaded = tf.saved_model.load(str(saved_model))
        protos = {name: _convert(loaded.signatures[name], signatures[name]) for name in names}
        lacking = {name: _unknown_operators(proto) for name, proto in protos.items()}
        refuse_operators(self.title, {name: operators for name, operators in lacking.items() if operators}, names)
        folder.mkdir()
        for name, proto in protos.items():
            _name_sizes(proto, signatures[name])
            onnx.checker.check_model(proto, full_check=True)
            onnx.save(proto, str(folder / f"{name}.onnx"))

    def open(self, folder: Path) -> Answer:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        sessions = {
            file.stem: onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            for file in sorted(folder.glob("*.onnx"))
        }

        def answer(name, inputs):
            outputs = [output.name for output in sessions[name].get_outputs()]
            return dict(zip(outputs, sessions[name].run(outputs, inputs), strict=True))

        return answer


def _convert(function, signature: SignatureSpecs):
    import tf2onnx

    specs = list(signature.inputs.values())
    positional = tf.function(
        lambda *inputs: function(**dict(zip(signature.inputs, inputs, strict=True))), specs, autograph=False
    )
    with _silent("tf2onnx"):
        return tf2onnx.convert.from_function(positional, specs, opset=OPSET)[0]


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """The converter logs operators that it leaves as they are, and the bare inputs of its own optimizer."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _unknown_operators(proto) -> list[str]:
    """Those of TensorFlow that were left as they were, for which the converter only warns."""
    return sorted({node.op_type for node in _nodes(proto.graph) if not _is_known(node)})


def _is_known(node) -> bool:
    import onnx

    return onnx.defs.has(node.op_type, node.domain)


def _nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _name_sizes(proto, signature: SignatureSpecs) -> None:
    """Calls dynamic sizes what they are: the batch, and others by name and place."""
    for values, specs in ((proto.graph.input, signature.inputs), (proto.graph.output, signature.outputs)):
        for value in values:
            spec = specs[value.name]
            if spec.shape.rank is None:
                continue
            sizes = value.type.tensor_type.shape.dim
            for i, (size, known) in enumerate(zip(sizes, spec.shape, strict=True)):
                if known is None:
                    size.dim_param = "batch" if i == 0 else f"{value.name}_{i}"
