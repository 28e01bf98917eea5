"""The folder of one run, and what state it is in.

.lock                  held by the process that writes the run
config.json            the settings and the versions; written first
backup/                the last two epochs' backups
tensorboard/           logs
model.keras  saved_model/1/  and pictures: those of the model's recipe
metrics.json           written last: a run without it is unfinished
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import re
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import IO

import keras

from tfdiscrete.errors import InputError
from tfdiscrete.models import LatentVariableModel
from tfdiscrete.runs import recipes
from tfdiscrete.runs.recipes import Recipe

_ENTRIES = {".lock", "backup", "config.json", "metrics.json", "model.keras", "saved_model", "tensorboard"}
_EXTRA = re.compile(r"samples-\d+\.png|metrics-train\.json")
_LOCK = ".lock"
_PARTIAL = re.compile(r"(?:config|metrics|metrics-train)\.json\.partial|\w+\.png\.partial|partial\.keras")
_PACKAGES = ("tfdiscrete", "tensorflow", "keras", "tensorflow-probability", "numpy")


def entries_of(recipe: Recipe | type[Recipe]) -> set[str]:
    """All that `train` writes into a folder."""
    return _ENTRIES | {f"{name}.png" for name in recipe.pictures}


class RunFolder:
    """Paths and files of a run.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.backup = self.path / "backup"
        self.tensorboard = self.path / "tensorboard"
        self.model = self.path / "model.keras"
        self.saved_model = self.path / "saved_model"
        self._config = self.path / "config.json"
        self._metrics = self.path / "metrics.json"
        self._lock = self.path / _LOCK

    def picture(self, name: str) -> Path:
        """The path of a picture."""
        return self.path / f"{name}.png"

    @property
    def is_run(self) -> bool:
        """Whether a run of this package was begun here: other programs write a `config.json` too."""
        try:
            return "tfdiscrete" in json.loads(self._config.read_text())["versions"]
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @property
    def is_finished(self) -> bool:
        """Whether it also ended."""
        return self.is_run and self._metrics.is_file()

    def require_finished(self) -> "RunFolder":
        """Returns itself; raises `InputError` unless a finished run is here."""
        if not self._config.is_file():
            raise InputError(f"{self.path} holds no run: there is no config.json. Make one with 'tfdiscrete train'.")
        self.read_record()
        if not self.is_finished:
            raise InputError(f"{self.path} holds an unfinished run. Finish it with '{self.resume_command}'.")
        return self

    @property
    def resume_command(self) -> str:
        """The command line that continues this run."""
        return f"tfdiscrete train --out {shlex.quote(str(self.path))} --resume"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing here at the same time; makes the folder.

        Raises:
            InputError: if one does.
        """
        self._entries()  # refuses a file
        is_new = not self.path.exists()
        self.path.mkdir(parents=True, exist_ok=True)
        file = self._open_lock()
        try:
            yield
        finally:
            if not self.is_run:  # what was refused leaves nothing
                self._lock.unlink(missing_ok=True)
                if is_new:
                    with contextlib.suppress(OSError):
                        self.path.rmdir()
            file.close()

    def _open_lock(self) -> IO:
        while True:
            file = open(self._lock, "ab")  # noqa: SIM115
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.close()
                raise InputError(
                    f"another process is writing the run in {self.path}. Wait for it, or choose another folder with "
                    "--out."
                ) from error
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # a file system without locks
                    file.close()
                    raise
            # Whoever had it may have removed it in between.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self._lock)):
                    return file
            file.close()

    def begin(self, recipe: Recipe, *, overwrite: bool) -> None:
        """Makes the folder and writes the config.

        Raises:
            InputError: if something else is there: a run without `overwrite`, or any other files.
        """
        present = self._entries()
        if present - {_LOCK} and not self.is_run:
            raise InputError(f"{self.path} exists and is not a run. Choose another folder with --out.")
        if present - {_LOCK} and not overwrite:
            raise InputError(
                f"{self.path} holds another run. Use --resume to continue it, --overwrite to replace it, or "
                "another --out."
            )
        every = set().union(*(entries_of(recipe) for recipe in recipes.REGISTRY.values()))
        if foreign := sorted(present - every):
            raise InputError(f"{self.path} holds files that are not a run's, {foreign}: it is not overwritten.")
        for path in self._extra():
            path.unlink()
        # The config goes last: what is left of an interrupted removal is still a run.
        for name in sorted(present - {_LOCK}, key="config.json".__eq__):
            _remove(self.path / name)
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_recipe(recipe)

    def _entries(self) -> set[str]:
        """What is in the folder, but for files of a run that other commands or an interruption have left."""
        if self.path.exists() and not self.path.is_dir():
            raise InputError(f"{self.path} is a file. Choose another folder with --out.")
        found = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        left = {name for name in found if _PARTIAL.fullmatch(name) or (self.is_run and _EXTRA.fullmatch(name))}
        return found - left

    def _extra(self) -> list[Path]:
        """What other commands than `train` have left of the model."""
        return [path for path in self.path.iterdir() if _EXTRA.fullmatch(path.name)] if self.is_run else []

    def write_recipe(self, recipe: Recipe) -> None:
        """Writes the settings, and the versions that they ran with."""
        write_json(self._config, {"config": recipe.to_json(), "versions": versions()})

    def read_recipe(self) -> Recipe:
        """The settings; raises `InputError` where they cannot be read."""
        return recipes.from_json(self.read_record()["config"])

    def read_record(self) -> dict:
        """`config.json`: the settings under "config", the versions under "versions"."""
        try:
            record = json.loads(self._config.read_text())
            return {"config": record["config"], "versions": record["versions"]}
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self._config} cannot be read ({type(error).__name__}: {error}).") from error

    def write_metrics(self, metrics: dict) -> None:
        """Writes the figures; the run is then finished."""
        write_json(self._metrics, metrics)

    def read_metrics(self) -> dict:
        """The figures of a finished run."""
        return json.loads(self._metrics.read_text())

    def reopen(self) -> None:
        """Marks a finished run as unfinished, to train it further: its figures, its pictures and its export go."""
        self._metrics.unlink(missing_ok=True)
        (self.path / "metrics-train.json").unlink(missing_ok=True)
        for name in self.read_recipe().pictures:
            self.picture(name).unlink(missing_ok=True)
        shutil.rmtree(self.saved_model, ignore_errors=True)

    def save_model(self, model: LatentVariableModel) -> None:
        """Writes `model.keras`, beside and then renamed."""
        partial = self.path / "partial.keras"
        model.save(partial)
        os.replace(partial, self.model)

    def load_model(self) -> LatentVariableModel:
        """The trained model; raises `InputError` where it cannot be read."""
        try:
            return keras.saving.load_model(self.model)
        # A file of a stranger may fail in any of these ways; Keras runs no code that it holds.
        except (OSError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.model} cannot be read ({str(error).splitlines()[0]}).") from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def next_free_folder(parent: Path, name: str) -> Path:
    """`parent/name-NNNN` with the first number that is free."""
    number = 1
    while (parent / f"{name}-{number:04d}").exists():
        number += 1
    return parent / f"{name}-{number:04d}"


def versions() -> dict[str, str]:
    """Those of Python and of the packages that a figure may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def write_json(path: Path, value: dict) -> None:
    """Writes JSON beside `path` and renames it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(value, indent=2) + "\n")
    os.replace(partial, path)
