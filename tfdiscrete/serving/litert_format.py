"""A LiteRT (TensorFlow Lite) file of a SavedModel's deterministic signatures, of builtin operators alone.

    litert/model.tflite     all signatures in one file, which share the weights; the batch is dynamic

LiteRT authors, "LiteRT", https://ai.google.dev/edge/litert.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.serving.formats import Answer, Format, refuse_operators

FILE = "model.tflite"
_LACKING = re.compile(r'see current operation: [^"]*"tf\.(\w+)".*')
_FLOAT64 = "float64 arithmetic"


class LiteRT(Format):
    """All signatures converted by TensorFlow's converter, without TensorFlow's own operators (Flex)."""

    name = "litert"
    title = "LiteRT"
    packages = ("ai_edge_litert.interpreter",)

    def write(self, saved_model: Path, folder: Path, names: Sequence[str]) -> None:
        try:
            content = _convert(saved_model, names)
        except _Unconvertible:
            # Which signature it was is told by each alone.
            lacking = {name: operators for name in names if (operators := _lacking(saved_model, name))}
            refuse_operators(self.title, lacking, names)
            raise
        folder.mkdir()
        (folder / FILE).write_bytes(content)

    def open(self, folder: Path) -> Answer:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(folder / FILE))
        return lambda name, inputs: interpreter.get_signature_runner(name)(**inputs)


class _Unconvertible(InputError):
    """For another reason than a missing operator it goes to the caller as it is."""

    def __init__(self, error: Exception):
        super().__init__(f"the LiteRT converter failed: {str(error).splitlines()[0]}")
        found = _LACKING.finditer(str(error))
        self.operators = sorted({_FLOAT64 if "f64" in match[0] else match[1] for match in found})


def _convert(saved_model: Path, names: Sequence[str]) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=list(names))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    with _silent_stderr():
        try:
            return converter.convert()
        except Exception as error:  # the converter's own type is not public
            raise _Unconvertible(error) from error


def _lacking(saved_model: Path, name: str) -> list[str]:
    try:
        _convert(saved_model, [name])
    except _Unconvertible as error:
        return error.operators
    return []


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """The converter is C++, and writes a line for each operator that it lacks, past Python's `sys.stderr`."""
    sys.stderr.flush()
    with tempfile.TemporaryFile() as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
