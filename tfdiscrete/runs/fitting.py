"""How a run's model is fitted: with backups, logs and progress, from wherever an earlier attempt was cut off."""

import functools
import time
from typing import NamedTuple

import keras
import tensorflow as tf
from rich.console import Console

from tfdiscrete.models import LatentVariableModel
from tfdiscrete.runs.folder import RunFolder
from tfdiscrete.runs.recipes import Recipe
from tfdiscrete.training import EpochBackup, EpochProgress, Progress, locate_non_finite, restore_backup
from tfdiscrete.training.data import Dataset


class Timing(NamedTuple):
    """What a run says of its speed; a resumed run was timed in part."""

    train_seconds: float
    timed_steps: int
    """In these seconds."""
    steps_per_second: float


def fit(
    model: LatentVariableModel,
    recipe: Recipe,
    folder: RunFolder,
    dataset: Dataset,
    batches,
    *,
    done: Progress,
    console: Console,
    strategy: tf.distribute.Strategy,
) -> Timing:
    """Fits a model, made under `strategy`, from the progress that its backup had.

    Raises:
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after a backup.
        NonFiniteLoss: where the loss is not finite.
    """
    progress, backup = EpochProgress(recipe.epochs, console), EpochBackup(folder.backup, done=done)
    callbacks = [
        batches,
        backup,
        keras.callbacks.TensorBoard(str(folder.tensorboard), write_graph=False),
        *recipe.callbacks(str(folder.tensorboard / "latents"), dataset.valid),
        progress,
    ]
    data = batches.shared(strategy) if is_spread(strategy) else batches.dataset
    fit = functools.partial(model.fit, verbose=0, shuffle=False, callbacks=callbacks)
    steps, start = _steps(model), time.perf_counter()
    try:
        first = done.epochs
        if done.batches:  # the rest of an epoch, whose reported means are of that rest
            fit(data.skip(done.batches), initial_epoch=first, epochs=first + 1)
            first += 1
        fit(data, initial_epoch=first, epochs=recipe.epochs)
    finally:
        progress.close()
        backup.release()
    seconds = time.perf_counter() - start
    steps = _steps(model) - steps
    return Timing(round(seconds, 1), steps, round(steps / seconds, 1))


def _steps(model) -> int:
    return int(model.optimizer.iterations.numpy())


def is_spread(strategy: tf.distribute.Strategy) -> bool:
    """Whether there is a strategy besides TensorFlow's default one."""
    return strategy is not tf.distribute.get_strategy()


def origin(recipe: Recipe, folder: RunFolder, dataset: Dataset, batches) -> str:
    """Where values that are not finite began, in words, by training on one device from the last backup again."""
    model = recipe.make_model(dataset.train.x.shape[1:], batches.steps_per_epoch)
    done = restore_backup(model, folder.backup)
    batches.on_epoch_begin(done.epochs)
    found = locate_non_finite(model, batches.dataset.skip(done.batches))
    if found is None:
        return "Repeated on one device from there, the epoch stays finite."
    return f"It began in batch {done.batches + found.batch + 1} of epoch {done.epochs + 1}: {found.where}."
