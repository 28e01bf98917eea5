"""Backups of a training run, one an epoch and one where it is told to stop, from which it continues bit-exactly.

A backup holds all weights (counters, annealing steps and baselines among them) and the optimizer's state. It is
written beside and renamed, and its name holds a digest of its bytes: what is cut off or damaged is passed over for the
one before. The last two are kept.
"""

import hashlib
import math
import os
import re
import signal
import threading
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from tfdiscrete.errors import InputError

_NAME = re.compile(r"epoch-(\d{6})(?:-batch-(\d{9}))?(?:-([0-9a-f]{16}))?\.weights\.h5")
_STOPPING = (signal.SIGTERM, signal.SIGINT)


class Progress(NamedTuple):
    """How far a run has come."""

    epochs: int
    """Whole ones."""
    batches: int
    """Of the next epoch."""


class NonFiniteLoss(InputError):
    """The loss of a run is NaN or infinite; `epoch` is the one in which that was seen, from 0."""

    def __init__(self, loss: float, epoch: int, folder: Path):
        super().__init__(
            f"the loss is {loss} in epoch {epoch + 1}. Earlier epochs' weights, if there were any, stay in "
            f"{folder}; a lower learning rate or a higher temperature is what usually helps."
        )
        self.epoch = epoch


class EpochBackup(keras.callbacks.Callback):
    """Writes a backup at the end of each epoch, and one more where SIGTERM or Ctrl-C ends the run.

    The first such signal ends `fit` after the batches that are running, with a KeyboardInterrupt, the second one at
    once. A run whose loss is not finite is stopped without a backup of it.

    Args:
        folder: made if it is not there.
        keep: how many of the latest backups stay.
        done: how far a run had come that is continued: what `restore_backup` gave.

    Raises:
        NonFiniteLoss: in `fit`, of a loss that is NaN or infinite.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 2, *, done: Progress | None = None):
        super().__init__()
        self.folder = Path(folder)
        self.keep = keep
        self.done = done or Progress(0, 0)
        self._stop = False
        self._handlers: dict[int, Any] = {}

    def on_train_begin(self, logs=None):
        self.release()
        self._stop = False
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._ask_to_stop) for number in _STOPPING}

    def _ask_to_stop(self, number, frame):
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True

    def release(self) -> None:
        """Gives the signals back; called at the end of training and, by whoever called `fit`, when that has failed."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_train_end(self, logs=None):
        self.release()
        if self._stop:  # during what other callbacks do after the last backup
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        # Of several steps in one execution `batch` is the last, or where fewer were left one that does not exist.
        if self._stop and batch + 1 < (self.params["steps"] or math.inf):  # else the epoch is whole
            before = self.done.batches if self._epoch == self.done.epochs else 0
            self._write(Progress(self._epoch, before + batch + 1))
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise NonFiniteLoss(loss, epoch, self.folder)
        self._write(Progress(epoch + 1, 0))
        if self._stop:
            raise KeyboardInterrupt

    def _write(self, progress: Progress) -> None:
        if not all(np.isfinite(weight.numpy()).all() for weight in self.model.trainable_weights):
            raise NonFiniteLoss(math.nan, self._epoch, self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / "partial.weights.h5"
        self.model.save_weights(partial, overwrite=True)
        within = f"-batch-{progress.batches:09d}" if progress.batches else ""
        _sync(partial)
        written = self.folder / f"epoch-{progress.epochs:06d}{within}-{_digest(partial)}.weights.h5"
        os.replace(partial, written)
        _sync(self.folder)
        backups = _backups(self.folder)
        # One of the same progress was damaged, or this run would not have come here again.
        repeated = [path for done, path in backups if done == progress and path != written]
        kept = [path for _, path in backups if path not in repeated]
        for old in [*repeated, *kept[self.keep :]]:
            old.unlink()


def restore_backup(model: keras.Model, folder: str | os.PathLike) -> Progress:
    """Loads the latest readable backup into a built and compiled model.

    Args:
        model: with its optimizer built.
        folder: of the backups; it need not exist.

    Returns:
        How far that run had come: `Progress(0, 0)` if there is no backup. The rest of an epoch is
        `batches.dataset.skip(progress.batches)`.

    Raises:
        InputError: if there are backups and none can be read.
    """
    backups = _backups(Path(folder))
    for progress, path in backups:
        try:
            digest = _NAME.fullmatch(path.name)[3]  # type: ignore[index]
            if digest not in (None, _digest(path)):
                raise ValueError("its bytes are not those that were written")
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Keras only warns of variables that the file lacks.
                model.load_weights(path)
        except (OSError, ValueError, KeyError, UserWarning) as error:
            print(f"passing over the backup {path}, which cannot be read ({type(error).__name__}: {error})")
            continue
        return progress
    if backups:
        raise InputError(f"none of the backups in {folder} can be read: the run cannot be continued.")
    return Progress(0, 0)


def _backups(folder: Path) -> list[tuple[Progress, Path]]:
    """What there is, latest first."""
    files = folder.iterdir() if folder.is_dir() else ()
    found = [(match, path) for path in files if (match := _NAME.fullmatch(path.name))]
    return sorted(((Progress(int(match[1]), int(match[2] or 0)), path) for match, path in found), reverse=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's names, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
