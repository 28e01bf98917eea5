"""Backups of a training run, one an epoch, from which it continues bit-exactly.

A backup holds all weights (counters, annealing steps and baselines among them) and the optimizer's state. It is
written beside and renamed, so that a file with its final name is whole; the last two are kept, and an unreadable one
is passed over.
"""

import os
import re
import warnings
from pathlib import Path

import keras
import numpy as np

from tfdiscrete.errors import InputError

_NAME = re.compile(r"epoch-(\d{6})\.weights\.h5")


class EpochBackup(keras.callbacks.Callback):
    """Writes `folder/epoch-NNNNNN.weights.h5` at the end of each epoch, and stops a run whose loss is not finite.

    Args:
        folder: made if it is not there.
        keep: how many of the latest backups stay.

    Raises:
        InputError: in `fit`, at the end of an epoch whose loss is NaN or infinite.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 2):
        super().__init__()
        self.folder = Path(folder)
        self.keep = keep

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if not np.isfinite(loss):
            raise InputError(
                f"the loss is {loss} in epoch {epoch + 1}. Earlier epochs' weights, if there were any, stay in "
                f"{self.folder}; a lower learning rate or a higher temperature is what usually helps."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / "partial.weights.h5"
        self.model.save_weights(partial, overwrite=True)
        os.replace(partial, self.folder / f"epoch-{epoch + 1:06d}.weights.h5")
        for _, old in _backups(self.folder)[self.keep :]:
            old.unlink()


def restore_backup(model: keras.Model, folder: str | os.PathLike) -> int:
    """Loads the latest readable backup into a built and compiled model.

    Args:
        model: with its optimizer built.
        folder: of the backups; it need not exist.

    Returns:
        The number of finished epochs: 0 if there is no backup.

    Raises:
        InputError: if there are backups and none can be read.
    """
    backups = _backups(Path(folder))
    for epoch, path in backups:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Keras only warns of variables that the file lacks.
                model.load_weights(path)
        except (OSError, ValueError, KeyError, UserWarning) as error:
            print(f"passing over the backup {path}, which cannot be read ({type(error).__name__}: {error})")
            continue
        return epoch
    if backups:
        raise InputError(f"none of the backups in {folder} can be read: the run cannot be continued.")
    return 0


def _backups(folder: Path) -> list[tuple[int, Path]]:
    """Finished epochs and files, latest first."""
    files = folder.iterdir() if folder.is_dir() else ()
    found = [(int(match[1]), path) for path in files if (match := _NAME.fullmatch(path.name))]
    return sorted(found, reverse=True)
