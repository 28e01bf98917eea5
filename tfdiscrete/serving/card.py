"""`MODEL.md`, the card of an export: what the model is, what it answers, in which formats, made by what.

Margaret Mitchell et al. (2019), "Model Cards for Model Reporting", arXiv 1810.03993.
"""

import inspect
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.models import LatentVariableModel
from tfdiscrete.serving.formats import FormatReport
from tfdiscrete.serving.saved_model import DEFAULT, SignatureSpecs
from tfdiscrete.serving.warm_up import FILE, INSTALL

FILE_NAME = "MODEL.md"
_PACKAGES = ("tfdiscrete", "tensorflow", "keras", "tensorflow-probability", "numpy")
_CONVERTERS = {"onnx": ("onnx", "tf2onnx", "onnxruntime"), "litert": ("ai-edge-litert",)}


def write_card(
    name: str,
    model: keras.layers.Layer,
    signatures: Mapping[str, SignatureSpecs],
    *,
    formats: Sequence[FormatReport] = (),
    warm_up: bool = False,
    about: str = "",
) -> str:
    """The card's text, in Markdown.

    Args:
        name: of the model.
        model: what was exported.
        signatures: those of its SavedModel.
        formats: what was measured; none if nothing was.
        warm_up: whether the SavedModel has warm-up requests.
        about: sections on its data, its settings, its figures and what made it; by default that they are not known.
    """
    names = [report.name for report in formats] or ["saved_model"]
    parts = [
        f"# {name}\n",
        _what_it_is(model),
        about or "\nIt was exported from memory: of its data, its settings and its figures nothing is known here.\n",
        _signatures(signatures),
        _formats(formats) if formats else "",
        _warm_up(warm_up) if "saved_model" in names else "",
        "\n## Versions\n\nOf the export.\n",
        table(("package", "version"), _versions(names)),
    ]
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; bars in a cell are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _what_it_is(model) -> str:
    package = type(model).__module__.split(".")[0]
    text = (
        f"`{type(model).__name__}` of {package}, {sum(int(np.prod(each.shape)) for each in model.weights):,} weights."
    )
    if package == "tfdiscrete":
        text += f" {(inspect.getmodule(type(model)).__doc__ or ' ').splitlines()[0]}"
    if isinstance(model, LatentVariableModel):
        rows = [(part, _kind(getattr(model, part, None))) for part in model.parts]
        return f"{text}\n\n{table(('part', 'what'), rows)}"
    layers = [layer for layer in model._flatten_layers(include_self=False) if type(layer).__module__.startswith("tfd")]
    return f"{text}\n\n{table(('layer', 'what'), [(each.name, _kind(each)) for each in layers])}" if layers else text


def _kind(part) -> str:
    if isinstance(part, list | tuple):
        return ", ".join(map(_kind, part))
    return "none" if part is None else type(part).__name__


def _signatures(signatures: Mapping[str, SignatureSpecs]) -> str:
    rows = [(f"`{name}`", _specs(each.inputs, each), _specs(each.outputs, each)) for name, each in signatures.items()]
    text = f"\n## Signatures\n\n{table(('signature', 'inputs', 'outputs'), rows)}"
    text += f"\n`{DEFAULT}` is what a request gets that names none. B is any number of examples."
    if any(each.draws for each in signatures.values()):
        text += " Noise is a function of `seed`: the same seed gives the same answer."
    return text


def _specs(specs: Mapping[str, tf.TensorSpec], signature: SignatureSpecs) -> str:
    batch = "n" if signature.draws else "B"
    return "<br>".join(f"`{name}`: {spec.dtype.name} {_shape(spec.shape, batch)}" for name, spec in specs.items())


def _shape(shape: tf.TensorShape, batch: str) -> str:
    if shape.rank is None:
        return "of any shape"
    return f"[{', '.join((batch if i == 0 else '?') if size is None else str(size) for i, size in enumerate(shape))}]"


def _formats(formats: Sequence[FormatReport]) -> str:
    rows = [
        (
            each.name,
            ", ".join(f"`{name}`" for name in each.signatures),
            f"{each.num_bytes:,}",
            f"{1000 * each.load_seconds:.1f}",
            "-" if each.difference is None else f"{each.difference:.1e}",
        )
        for each in formats
    ]
    header = ("format", "signatures", "bytes", "ms to load", "differs by")
    return (
        f"\n## Formats\n\n{table(header, rows)}\nMilliseconds to open it and get the first answer of each signature, "
        "on the machine that exported it; the largest absolute difference of its answers to random inputs from those "
        "of the SavedModel. ONNX and LiteRT have the signatures that draw nothing."
    )


def _warm_up(written: bool) -> str:
    if written:
        return f"\nTF Serving is warmed up by one request a signature, in `{FILE}`."
    return f"\nNo warm-up requests for TF Serving were written: they need {INSTALL}."


def _versions(formats: Sequence[str]) -> list[tuple[str, str]]:
    packages = [*_PACKAGES, *(package for name in formats for package in _CONVERTERS.get(name, ()))]
    return [("python", platform.python_version()), *((name, _version(name)) for name in packages)]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
