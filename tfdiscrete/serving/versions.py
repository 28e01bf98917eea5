"""The folders a SavedModel is served from: `BASE/<integer version>/saved_model.pb`, the higher the newer."""

from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from google.protobuf import json_format

from tfdiscrete.errors import InputError
from tfdiscrete.serving.saved_model import read_graph
from tfdiscrete.serving.signatures import Signature, signatures_of


def find_model(path: Path | str) -> Path:
    """The version folder to load from a run folder, a base folder of versions, or a version folder itself.

    Args:
        path: holds `saved_model/<version>/`, `<version>/` or `saved_model.pb`; the highest integer version is taken.

    Raises:
        InputError: where there is no SavedModel, for example in the folder of a run that has not finished.
    """
    versions = find_versions(path)
    return versions[max(versions)]


def find_versions(path: Path | str) -> dict[int, Path]:
    """All version folders, by number, oldest first; as `find_model` takes a path, and with its error."""
    path = Path(path)
    if (path / "saved_model.pb").is_file():
        return {int(path.name) if is_version(path.name) else 1: path}
    base = path / "saved_model" if (path / "saved_model").is_dir() else path
    folders = [file.parent for file in base.glob("*/saved_model.pb") if is_version(file.parent.name)]
    if folders:
        return {int(folder.name): folder for folder in sorted(folders, key=lambda folder: int(folder.name))}
    received = f"{path}, which holds no SavedModel" if path.is_dir() else f"{path}, which is no folder"
    if (path / "config.json").is_file():
        received = f"{path}, a run that has not exported its model; let it finish first"
    raise InputError(
        f"expected the folder of a finished run, of integer versions, or of a saved_model.pb. Received: {received}."
    )


class Version(NamedTuple):
    """A loaded version of a model."""

    number: int
    folder: Path
    signatures: dict[str, Signature]
    signature_defs: dict
    """As TF Serving's metadata gives them: the protocol buffers as JSON, by the signature's name."""
    saved_model: object
    """Keeps the variables alive."""


def load_version(number: int, folder: Path) -> Version:
    """Loads a SavedModel; raises TensorFlow's errors where it is broken."""
    saved_model = tf.saved_model.load(str(folder))
    signatures = signatures_of(saved_model)
    return Version(number, folder, signatures, _signature_defs(folder, signatures), saved_model)


def _signature_defs(folder, names):
    options = {"preserving_proto_field_name": True, "always_print_fields_with_no_presence": True}
    definitions = read_graph(folder).signature_def
    return {key: json_format.MessageToDict(each, **options) for key, each in definitions.items() if key in names}


def is_version(name: str) -> bool:
    """Whether a folder's name is that of a version: decimal digits, and no others of Unicode's."""
    return name.isascii() and name.isdecimal()
