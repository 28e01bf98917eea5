"""SavedModels in TF Serving's layout, `BASE/VERSION/`, that load without this package, and the same as ONNX and LiteRT.

    BASE/VERSION/saved_model.pb  variables/  assets.extra/     "saved_model"
    BASE/VERSION/onnx/SIGNATURE.onnx                           "onnx"
    BASE/VERSION/litert/model.tflite                           "litert"
    BASE/VERSION/MODEL.md                                      the model's card

Signatures, each with a dynamic batch and deterministic for its inputs, are the model's own; those of `DiscreteVAE`:

    serving_default = encode    x [B, *data]                  -> probabilities, code [B, N, K]; index [B, N]
    decode                      code [B, N, K]                -> reconstruction [B, *data]
    sample                      seed int32 [2], n int32 []    -> samples [n, *data]
"""

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from tfdiscrete.errors import InputError, check_count, check_name
from tfdiscrete.serving import card
from tfdiscrete.serving.endpoints import endpoints_of
from tfdiscrete.serving.examples import examples
from tfdiscrete.serving.formats import Format, FormatReport, SavedModel, measure
from tfdiscrete.serving.litert_format import LiteRT
from tfdiscrete.serving.onnx_format import Onnx
from tfdiscrete.serving.saved_model import DEFAULT, check_portable, read_signatures
from tfdiscrete.serving.versions import is_version
from tfdiscrete.serving.warm_up import write_warm_up

FORMATS: dict[str, Format] = {each.name: each for each in (SavedModel(), Onnx(), LiteRT())}
_PROBES = 3


class Export(NamedTuple):
    """What `export_model` wrote."""

    path: Path
    """`base/version`."""
    formats: tuple[FormatReport, ...]
    """What each format weighs, and how it starts."""
    warm_up: bool
    """Whether the SavedModel has warm-up requests for TF Serving."""


def export_model(
    model: keras.layers.Layer,
    base: str | os.PathLike,
    *,
    formats: Sequence[str] = ("saved_model",),
    signatures: Sequence[str] | None = None,
    version: int | None = None,
    about: str = "",
) -> Export:
    """Writes a model in some formats, opens each of them, and compares their answers.

    It is written beside its place and renamed, so that a server that watches `base` never sees half a model. Such a
    server needs the SavedModel among the formats.

    Example:

        exported = export_model(vae, "models/digits", formats=("saved_model", "onnx", "litert"))
        exported.path                                   # models/digits/1
        [(each.name, each.num_bytes, each.load_seconds) for each in exported.formats]

    Args:
        model: a `LatentVariableModel`, a layer, or a Keras model made with such layers, built: `endpoints_of` says
            which signatures each has.
        base: the folder of all versions, made if it is not there.
        formats: "saved_model", "onnx" and "litert".
        signatures: what goes into ONNX and LiteRT; by default all that draw nothing. The SavedModel has all.
        version: by default one more than the highest that is there.
        about: Markdown on the model's data, settings and figures, for its card.

    Returns:
        The folder, and a report of each format.

    Raises:
        InputError: if that version exists, for an unknown format or signature, a format whose packages are missing,
            a signature that a format cannot have: one that draws, or has an operator that it lacks, and one that
            answers otherwise in a format than in the SavedModel.
    """
    if isinstance(formats, str) or not formats:
        raise InputError(f"formats must be some of {', '.join(FORMATS)}. Received: formats={formats!r}.")
    chosen = [FORMATS[check_name("format", name, FORMATS)] for name in dict.fromkeys(formats)]
    for each in chosen:
        each.require()
    has_saved_model = "saved_model" in formats
    name = Path(base).resolve().name
    with _partial_version(base, version) as partial, tempfile.TemporaryDirectory() as elsewhere:
        saved_model = partial if has_saved_model else Path(elsewhere)
        warm_up = _write_saved_model(model, saved_model, name) and has_saved_model
        reports = _write_formats(chosen, saved_model, partial, signatures)
        known = read_signatures(saved_model)
        text = card.write_card(name, model, known, formats=reports, warm_up=warm_up, about=about)
        (partial / card.FILE_NAME).write_text(text)
        target = _publish(partial, version)
    moved = [each._replace(path=target / each.path.relative_to(partial)) for each in reports]
    return Export(target, tuple(moved), warm_up)


def export_saved_model(
    model: keras.layers.Layer, base: str | os.PathLike, *, version: int | None = None, name: str = "", about: str = ""
) -> Path:
    """Writes a SavedModel alone, with its card, and measures nothing: a shorter `export_model`.

    Example:

        layer = tfdiscrete.layers.VectorQuantizer(512)
        layer(vectors)                                  # [B, D]
        export_saved_model(layer, "models/quantizer")   # signatures encode and decode

    Args:
        model: as for `export_model`.
        base: the folder of all versions, made if it is not there.
        version: by default one more than the highest that is there.
        name: of the model in its card and in warm-up requests; by default that of `base`.
        about: Markdown on the model's data, settings and figures, for its card.

    Returns:
        `base/version`.

    Raises:
        InputError: if that version exists, or for a model that cannot be exported.
    """
    name = name or Path(base).resolve().name
    with _partial_version(base, version) as partial:
        warm_up = _write_saved_model(model, partial, name)
        text = card.write_card(name, model, read_signatures(partial), warm_up=warm_up, about=about)
        (partial / card.FILE_NAME).write_text(text)
        return _publish(partial, version)


@contextlib.contextmanager
def _partial_version(base: str | os.PathLike, version: int | None) -> Iterator[Path]:
    """A folder of its own in `base` to write to, for `_publish`; it is removed if anything fails."""
    base = Path(base)
    if version is not None:
        _check_free(base / str(check_count("version", version)))
    base.mkdir(parents=True, exist_ok=True)
    partial = base / f".{uuid.uuid4().hex}.partial"
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _publish(partial: Path, version: int | None) -> Path:
    """Renames it to its version, or to the next free one, whatever other exports have done meanwhile."""
    base = partial.parent
    while True:
        numbers = [int(entry.name) for entry in base.iterdir() if is_version(entry.name)]
        target = base / str(max(numbers, default=0) + 1 if version is None else version)
        try:
            return partial.rename(target)
        except OSError:
            if version is not None:
                _check_free(target)
            if not target.exists():
                raise


def _check_free(target: Path) -> None:
    if target.exists():
        raise InputError(f"{target} exists. Give another version, or none for the next free one.")


def _write_saved_model(model, folder: Path, name: str) -> bool:
    """Returns whether there are warm-up requests."""
    _archive(model).write_out(str(folder), verbose=False)
    check_portable(folder)
    return write_warm_up(folder, name)


def _archive(model) -> keras.export.ExportArchive:
    # Without `track`, which would save all weights twice.
    archive = keras.export.ExportArchive()
    # The first endpoint also becomes `serving_default`.
    for name, endpoint in endpoints_of(model).items():
        archive.add_endpoint(name, endpoint.function, endpoint.inputs)
    return archive


def _write_formats(chosen: Sequence[Format], saved_model: Path, version: Path, asked) -> list[FormatReport]:
    signatures = {name: each for name, each in read_signatures(saved_model).items() if name != DEFAULT}
    for name in asked or ():
        check_name("signature", name, signatures)
    rng = np.random.default_rng(0)
    probes = {name: examples(each.inputs, batch=_PROBES, rng=rng) for name, each in signatures.items()}
    original, expected = measure(SavedModel(), saved_model, probes, None)
    reports = []
    for each in chosen:
        if each.name == original.name:
            reports.append(original)
            continue
        names = each.choose(signatures, asked)
        folder = each.folder(version)
        each.write(saved_model, folder, names)
        reports.append(measure(each, folder, {name: probes[name] for name in names}, expected)[0])
    return reports
