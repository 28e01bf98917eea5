"""One training run, from the data to a folder that can be evaluated, sampled, exported and served."""

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import tensorflow as tf
from rich.console import Console

from tfdiscrete.errors import InputError
from tfdiscrete.models import LatentVariableModel
from tfdiscrete.runs import recipes
from tfdiscrete.runs.about import about_run
from tfdiscrete.runs.fitting import fit, is_spread, origin
from tfdiscrete.runs.folder import RunFolder, next_free_folder
from tfdiscrete.runs.recipes import Recipe
from tfdiscrete.serving.export import export_saved_model
from tfdiscrete.training import NonFiniteLoss, Progress, restore_backup, strategies
from tfdiscrete.training.data import Dataset
from tfdiscrete.training.pictures import save_figure


class Interrupted(KeyboardInterrupt):
    """Training was interrupted; `folder` holds a run that `resume` continues.

    Args:
        folder: the run's.
        options: of the command line that continues it, besides the folder.
    """

    def __init__(self, folder: RunFolder, options: str = ""):
        super().__init__(f"interrupted; continue with '{folder.resume_command}{options}'")
        self.folder = folder


def train(
    recipe: Recipe | Mapping | None = None,
    out: str | os.PathLike | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
    strategy: str | tf.distribute.Strategy = "none",
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
        strategy: over what training is spread, a name in `training.strategies.REGISTRY` or a strategy. Of several
            workers the first writes the folder, which all must see to resume from it; see `train_on_workers` for
            several on this machine. It is no setting of the run: a resumed run may have another.

    Returns:
        The folder, finished: `read_metrics()` gives the figures.

    Raises:
        InputError: for wrong settings or data, or a folder that holds something else or that another process writes;
            nothing is overwritten then. For a loss that is not finite, with the batch and the layer where it began.
        Interrupted: on Ctrl-C or SIGTERM; within `fit` after a backup. With several workers the last whole epoch's
            may be the latest.
    """
    strategy = strategies.get(strategy)  # that of several workers must come first of all
    if out is None and strategies.has_workers(strategy):
        raise InputError("several workers need `out`, one folder that all of them name. Received: none.")
    if resume:
        folder, recipe = _resumed(recipe, out)
    else:
        recipe = recipe if isinstance(recipe, Recipe) else recipes.from_json(recipe or {})
        folder = RunFolder(out or next_free_folder(Path("runs"), recipe.dataset))
    with tempfile.TemporaryDirectory() as elsewhere, _interruptible(folder):
        if strategies.is_chief(strategy):
            with folder.locked():
                _train(recipe, folder, folder, strategy, resume, overwrite, console or Console(stderr=True))
        else:
            _train(recipe, folder, RunFolder(elsewhere), strategy, resume, overwrite, Console(quiet=True))
    return folder


@contextlib.contextmanager
def _interruptible(folder: RunFolder) -> Iterator[None]:
    """SIGTERM is as Ctrl-C; both are `Interrupted` once there is a run to continue."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main else None
    try:
        yield
    except KeyboardInterrupt:
        if folder.is_run:
            raise Interrupted(folder) from None
        raise
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, handler)


def _train(recipe: Recipe, source: RunFolder, folder: RunFolder, strategy, resume: bool, overwrite: bool, console):
    """One worker's run, continued from `source` and written to `folder`, which are one but for the others' workers."""
    # What can fail for the user's reasons comes before anything is written.
    dataset = recipe.load_data()
    batches = recipe.make_batches(dataset.train)
    with strategy.scope():
        model = recipe.make_model(dataset.train.x.shape[1:], batches.steps_per_epoch)
    done, earlier = Progress(0, 0), {}
    if resume:
        done = restore_backup(model, source.backup)
        whole = source.is_finished and done == (recipe.epochs, 0) and recipe == source.read_recipe()
        finished = source.is_finished
        earlier = source.read_metrics() if finished else {}
        _check_equal(strategy, source, done)
        if whole:
            return
        if finished and done == (0, 0):
            raise InputError(f"{source.path} holds a finished run without its backups: it cannot be trained further.")
    if resume and folder is source:
        folder.reopen()
        folder.write_recipe(recipe)
    else:
        folder.begin(recipe, overwrite=overwrite)
    try:
        timing = fit(model, recipe, folder, dataset, batches, done=done, console=console, strategy=strategy)._asdict()
        steps = int(model.optimizer.iterations.numpy())
        with strategy.scope():
            model = recipe.after_fit(model, dataset, console)
    except NonFiniteLoss as error:
        if is_spread(strategy):
            raise
        raise InputError(f"{error} {origin(recipe, folder, dataset, batches)}") from None
    if not timing["timed_steps"]:  # the run was whole, and only its prior is new
        timing = {name: earlier.get(name, value) for name, value in timing.items()}
    if folder is source:
        timing |= {"steps": steps, "replicas": strategy.num_replicas_in_sync}
        _write_results(model, recipe, folder, dataset, timing, strategy)
    strategies.of_all_workers(strategy, 0)  # those that leave early end the others


def _check_equal(strategy: tf.distribute.Strategy, source: RunFolder, done: Progress) -> None:
    """Raises `InputError` where workers have found different backups; and holds them until all have read theirs."""
    found = list(zip(*(strategies.of_all_workers(strategy, number) for number in done), strict=True))
    if len(set(found)) > 1:
        raise InputError(
            f"the workers find different backups in {source.path}: of (epochs, batches) {found}. The run's folder must "
            "be on a file system that all of them see."
        )


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


def _write_results(
    model: LatentVariableModel, recipe: Recipe, folder: RunFolder, dataset: Dataset, timing: dict, strategy
) -> None:
    folder.save_model(model)
    if is_spread(strategy):
        # As whoever takes up the run will have it; of several workers this one goes on alone.
        model = folder.load_model()
    for name, figure in recipe.draw(model, dataset.test).items():
        save_figure(figure, folder.picture(name))
    metrics = {**recipe.evaluate(model, dataset.test), "split": "test", "epochs": recipe.epochs, **timing}
    export_saved_model(model, folder.saved_model, name=folder.path.resolve().name, about=about_run(folder, metrics))
    folder.write_metrics(metrics)
