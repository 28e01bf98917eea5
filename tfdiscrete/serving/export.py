"""SavedModels in TF Serving's layout, `BASE/VERSION/`, that load without this package.

Signatures, each with a dynamic batch and deterministic for its inputs, are the model's own; those of `DiscreteVAE`:

    serving_default = encode    x [B, *data]                  -> probabilities, code [B, N, K]; index [B, N]
    decode                      code [B, N, K]                -> reconstruction [B, *data]
    sample                      seed int32 [2], n int32 []    -> samples [n, *data]
"""

import os
import shutil
from pathlib import Path

import keras

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.models import LatentVariableModel


def export_saved_model(model: LatentVariableModel, base: str | os.PathLike, *, version: int | None = None) -> Path:
    """Writes a SavedModel with the signatures that `model.endpoints()` gives.

    It is written beside its place and renamed, so that a server that watches `base` never sees half a model.

    Args:
        model: built.
        base: the folder of all versions, made if it is not there.
        version: by default one more than the highest that is there.

    Returns:
        `base/version`.

    Raises:
        InputError: if that version exists.
    """
    base = Path(base)
    if version is None:
        version = 1 + max((int(entry.name) for entry in _entries(base) if entry.name.isdigit()), default=0)
    target = base / str(check_count("version", version))
    if target.exists():
        raise InputError(f"{target} exists. Give another version, or none for the next free one.")
    base.mkdir(parents=True, exist_ok=True)
    partial = base / f".{version}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    _archive(model).write_out(str(partial), verbose=False)
    os.replace(partial, target)
    return target


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _archive(model: LatentVariableModel) -> keras.export.ExportArchive:
    archive = keras.export.ExportArchive()
    # The first endpoint also becomes `serving_default`.
    for name, endpoint in model.endpoints().items():
        archive.add_endpoint(name, endpoint.function, endpoint.inputs)
    return archive
