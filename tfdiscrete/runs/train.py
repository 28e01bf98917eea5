"""One training run, from the data to a folder that can be evaluated, sampled, exported and served."""

import functools
import os
import time
from collections.abc import Mapping
from pathlib import Path

import keras
from rich.console import Console

from tfdiscrete.errors import InputError
from tfdiscrete.models import LatentVariableModel
from tfdiscrete.runs import recipes
from tfdiscrete.runs.about import about_run
from tfdiscrete.runs.folder import RunFolder, next_free_folder
from tfdiscrete.runs.recipes import Recipe
from tfdiscrete.serving.export import export_saved_model
from tfdiscrete.training import EpochBackup, EpochProgress, NonFiniteLoss, Progress, locate_non_finite, restore_backup
from tfdiscrete.training.data import Dataset
from tfdiscrete.training.pictures import save_figure


class Interrupted(KeyboardInterrupt):
    """Training was interrupted; `folder` holds a run that `resume` continues."""

    def __init__(self, folder: RunFolder):
        super().__init__(f"interrupted; continue with '{folder.resume_command}'")
        self.folder = folder


def train(
    recipe: Recipe | Mapping | None = None,
    out: str | os.PathLike | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> RunFolder:
    """Trains a model, evaluates it on the test split, and writes the run's folder.

    Args:
        recipe: a `Recipe`, or some settings of one, and its "model", by default "discrete_vae"; the others have their
            defaults or, when resuming, the run's own values. A resumed run may have more `epochs`, and another
            number of `prior_epochs` of a DiscreteVAE; one that has them already is left as it is.
        out: the run's folder; by default `runs/DATASET-NNNN`, the first free number.
        resume: continue the run in `out` after its last backup. A run that was cut off ends with the same weights as
            one that was not.
        overwrite: replace the run in `out`.
        console: where progress is shown; by default standard error.

    Returns:
        The folder, finished: `read_metrics()` gives the figures.

    Raises:
        InputError: for wrong settings or data, or a folder that holds something else or that another process writes;
            nothing is overwritten then. For a loss that is not finite, with the batch and the layer where it began.
        Interrupted: on Ctrl-C or SIGTERM, after a backup.
    """
    if resume:
        folder, recipe = _resumed(recipe, out)
    else:
        recipe = recipe if isinstance(recipe, Recipe) else recipes.from_json(recipe or {})
        folder = RunFolder(out or next_free_folder(Path("runs"), recipe.dataset))
    with folder.locked():
        return _train(folder, recipe, resume=resume, overwrite=overwrite, console=console or Console(stderr=True))


def _train(folder: RunFolder, recipe: Recipe, *, resume: bool, overwrite: bool, console: Console) -> RunFolder:
    # What can fail for the user's reasons comes before anything is written.
    dataset = recipe.load_data()
    batches = recipe.make_batches(dataset.train)
    model = recipe.make_model(dataset.train.x.shape[1:], batches.steps_per_epoch)
    done, earlier = Progress(0, 0), {}
    if resume:
        done = restore_backup(model, folder.backup)
        if folder.is_finished and done == (recipe.epochs, 0) and recipe == folder.read_recipe():
            return folder
        if folder.is_finished and done == (0, 0):
            raise InputError(f"{folder.path} holds a finished run without its backups: it cannot be trained further.")
        earlier = folder.read_metrics() if folder.is_finished else {}
        folder.reopen()
        folder.write_recipe(recipe)
    else:
        folder.begin(recipe, overwrite=overwrite)
    try:
        timing = _fit(model, recipe, folder, dataset, batches, done, console)
        steps = int(model.optimizer.iterations.numpy())
        model = recipe.after_fit(model, dataset, console)
    except KeyboardInterrupt:
        raise Interrupted(folder) from None
    except NonFiniteLoss as error:
        raise InputError(f"{error} {_origin(recipe, folder, dataset, batches)}") from None
    if not timing["timed_steps"]:  # the run was whole, and only its prior is new
        timing = {name: earlier.get(name, value) for name, value in timing.items()}
    _write_results(model, recipe, folder, dataset, {"steps": steps, **timing})
    return folder


def _resumed(recipe: Recipe | Mapping | None, out) -> tuple[RunFolder, Recipe]:
    if out is None:
        raise InputError("--resume needs --out, the folder of the run to continue.")
    folder = RunFolder(out)
    if not folder.is_run:
        raise InputError(f"{folder.path} holds no run to resume: there is no config.json of one.")
    stored = folder.read_recipe().to_json()
    asked = recipe.to_json() if isinstance(recipe, Recipe) else dict(recipe or {})
    if asked.get("model", stored["model"]) != stored["model"]:
        raise InputError(f"{folder.path} holds a run of {stored['model']}. Received: model={asked['model']!r}.")
    resumed = recipes.from_json({**stored, **asked})
    kept = {name: value for name, value in asked.items() if name not in resumed.may_change}
    differing = [f"{k}={v!r} (the run has {stored[k]!r})" for k, v in kept.items() if v != stored[k]]
    if differing:
        raise InputError(
            f"a resumed run keeps its settings, but for {' and '.join(resumed.may_change)}. "
            f"Received: {', '.join(differing)}."
        )
    if resumed.epochs < stored["epochs"]:
        raise InputError(f"a resumed run can only grow. Received: epochs={resumed.epochs} < {stored['epochs']}.")
    if resumed.epochs != stored["epochs"] and resumed.learning_rate_decay != "none":
        raise InputError(
            f"a run whose learning rate has decayed over its {stored['epochs']} epochs cannot grow. "
            f"Received: epochs={resumed.epochs}."
        )
    return folder, resumed


def _fit(
    model: LatentVariableModel, recipe: Recipe, folder: RunFolder, dataset: Dataset, batches, done: Progress, console
) -> dict:
    progress, backup = EpochProgress(recipe.epochs, console), EpochBackup(folder.backup, done=done)
    callbacks = [
        batches,
        backup,
        keras.callbacks.TensorBoard(str(folder.tensorboard), write_graph=False),
        *recipe.callbacks(str(folder.tensorboard / "latents"), dataset.valid),
        progress,
    ]
    fit = functools.partial(model.fit, verbose=0, shuffle=False, callbacks=callbacks)
    steps = int(model.optimizer.iterations.numpy())
    start = time.perf_counter()
    try:
        first = done.epochs
        if done.batches:  # the rest of an epoch, whose reported means are of that rest
            fit(batches.dataset.skip(done.batches), initial_epoch=first, epochs=first + 1)
            first += 1
        fit(batches.dataset, initial_epoch=first, epochs=recipe.epochs)
    finally:
        progress.close()
        backup.release()
    seconds = time.perf_counter() - start
    steps = int(model.optimizer.iterations.numpy()) - steps
    # A resumed run was timed in part: timed_steps says how much.
    return {"train_seconds": round(seconds, 1), "timed_steps": steps, "steps_per_second": round(steps / seconds, 1)}


def _origin(recipe: Recipe, folder: RunFolder, dataset: Dataset, batches) -> str:
    """Where the values that are not finite began, by training from the last backup again."""
    model = recipe.make_model(dataset.train.x.shape[1:], batches.steps_per_epoch)
    done = restore_backup(model, folder.backup)
    batches.on_epoch_begin(done.epochs)
    found = locate_non_finite(model, batches.dataset.skip(done.batches))
    if found is None:
        return "Repeated from there, the epoch stays finite."
    return f"It began in batch {done.batches + found.batch + 1} of epoch {done.epochs + 1}: {found.where}."


def _write_results(
    model: LatentVariableModel, recipe: Recipe, folder: RunFolder, dataset: Dataset, timing: dict
) -> None:
    folder.save_model(model)
    for name, figure in recipe.draw(model, dataset.test).items():
        save_figure(figure, folder.picture(name))
    metrics = {**recipe.evaluate(model, dataset.test), "split": "test", "epochs": recipe.epochs, **timing}
    export_saved_model(model, folder.saved_model, name=folder.path.resolve().name, about=about_run(folder, metrics))
    folder.write_metrics(metrics)
