"""One training run, from the data to a folder that can be evaluated, sampled, exported and served."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from tfdiscrete import estimators, families, objectives
from tfdiscrete.errors import InputError
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.objectives import likelihoods
from tfdiscrete.ops import seed_of
from tfdiscrete.runs.config import RunConfig
from tfdiscrete.runs.evaluate import evaluate_model
from tfdiscrete.runs.folder import RunFolder, next_free_folder
from tfdiscrete.serving.export import export_saved_model
from tfdiscrete.training import (
    EpochBackup,
    EpochProgress,
    ExponentialAnnealing,
    LatentSummaries,
    ShuffledBatches,
    data,
    restore_backup,
)
from tfdiscrete.training.pictures import reconstructions_figure, samples_figure, save_figure


class Interrupted(KeyboardInterrupt):
    """Training was interrupted; `folder` holds a run that `resume` continues."""

    def __init__(self, folder: RunFolder):
        super().__init__(f"interrupted; continue with '{folder.resume_command}'")
        self.folder = folder


def train(
    config: RunConfig | Mapping | None = None,
    out: str | os.PathLike | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> RunFolder:
    """Trains a `DiscreteVAE`, evaluates it on the test split, and writes the run's folder.

    Args:
        config: a `RunConfig`, or some of its settings; the others have their defaults or, when resuming, the run's
            own values. A resumed run may change `epochs` alone; one that has them all is left as it is.
        out: the run's folder; by default `runs/DATASET-NNNN`, the first free number.
        resume: continue the run in `out` after its last backed-up epoch. A run that was cut off ends with the same
            weights as one that was not.
        overwrite: replace the run in `out`.
        console: where progress is shown; by default standard error.

    Returns:
        The folder, finished: `read_metrics()` gives the figures.

    Raises:
        InputError: for wrong settings or data, or a folder that holds something else; nothing is overwritten then.
        Interrupted: on Ctrl-C, after the files of the last whole epoch are in place.
    """
    if resume:
        folder, config = _resumed(config, out)
    else:
        config = config if isinstance(config, RunConfig) else RunConfig.from_json(dict(config or {}))
        folder = RunFolder(out or next_free_folder(Path("runs"), config.dataset))
    # What can fail for the user's reasons comes before anything is written.
    dataset = data.load(config.dataset, binarize=config.binarization)
    model = make_model(config, dataset.train.x.shape[1:], len(dataset.train.x))
    batches = ShuffledBatches(dataset.train.x, batch_size=config.batch_size, seed=config.seed)
    done = 0
    if resume:
        done = restore_backup(model, folder.backup)
        if folder.is_finished and done == config.epochs:
            return folder
        if folder.is_finished and done == 0:
            raise InputError(f"{folder.path} holds a finished run without its backups: it cannot be trained further.")
        folder.reopen()
        folder.write_config(config)
    else:
        folder.begin(config, overwrite=overwrite)
    timing = _fit(model, config, folder, dataset, batches, done, console or Console(stderr=True))
    _write_results(model, config, folder, dataset, timing)
    return folder


def make_model(config: RunConfig, data_shape: tuple[int, ...], num_examples: int) -> DiscreteVAE:
    """The compiled model of a config, with its optimizer built, for so many examples in an epoch."""
    likelihood = likelihoods.get(config.likelihood)
    family = make_family(config)
    encoder, decoder = make_networks(
        config.encoder,
        data_shape=tuple(data_shape),
        parameter_shape=likelihood.parameter_shape(tuple(data_shape)),
        num_latents=config.num_latents,
        family=family,
        seed=config.seed,
    )
    model = DiscreteVAE(
        encoder,
        decoder,
        family=family,
        estimator=make_estimator(config),
        prior=config.prior,
        likelihood=likelihood,
        objective=objectives.get(config.objective, **config.parsed_objective_options()),
        kl=config.kl,
        seed=config.seed,
        name="discrete_vae",
    )
    model.compile(keras.optimizers.Adam(_learning_rate(config, num_examples)))
    model.optimizer.build(model.trainable_variables)
    return model


def _learning_rate(config: RunConfig, num_examples: int):
    if config.learning_rate_decay == "none":
        return config.learning_rate
    steps = config.epochs * -(-num_examples // config.batch_size)
    return keras.optimizers.schedules.CosineDecay(config.learning_rate, steps, alpha=0.01)


def make_family(config: RunConfig) -> families.Latents:
    """The latent variables of a config."""
    options = config.parsed_family_options()
    if "num_categories" in families.options_of(config.family):
        options.setdefault("num_categories", config.num_categories)
    return families.get(config.family, **options)


def make_estimator(config: RunConfig) -> estimators.Estimator:
    """The estimator of a config; one that anneals its temperature or epsilon gets the schedule."""
    options = config.parsed_estimator_options()
    annealed = estimators.REGISTRY[config.estimator_name].annealed
    if annealed is not None and annealed not in options:
        options[annealed] = ExponentialAnnealing(
            config.temperature, rate=config.anneal_rate, minimum=config.temperature_min, every=config.anneal_every
        )
    return estimators.get(config.estimator_name, **options)


def _resumed(config: RunConfig | Mapping | None, out) -> tuple[RunFolder, RunConfig]:
    if out is None:
        raise InputError("--resume needs --out, the folder of the run to continue.")
    folder = RunFolder(out)
    if not folder.is_run:
        raise InputError(f"{folder.path} holds no run to resume: there is no config.json of one.")
    stored = folder.read_config().to_json()
    asked = config.to_json() if isinstance(config, RunConfig) else dict(config or {})
    resumed = RunConfig.from_json({**stored, **asked})
    differing = [f"{k}={v!r} (the run has {stored[k]!r})" for k, v in asked.items() if k != "epochs" and v != stored[k]]
    if differing:
        raise InputError(f"a resumed run keeps its settings, but for epochs. Received: {', '.join(differing)}.")
    if resumed.epochs != stored["epochs"] and resumed.learning_rate_decay != "none":
        raise InputError(
            f"a run whose learning rate has decayed over its {stored['epochs']} epochs cannot grow. "
            f"Received: epochs={resumed.epochs}."
        )
    if resumed.epochs < stored["epochs"]:
        raise InputError(f"a resumed run can only grow. Received: epochs={resumed.epochs} < {stored['epochs']}.")
    return folder, resumed


def _fit(model, config, folder: RunFolder, dataset, batches: ShuffledBatches, done: int, console) -> dict:
    progress = EpochProgress(config.epochs, console)
    steps = int(model.optimizer.iterations.numpy())
    start = time.perf_counter()
    try:
        model.fit(
            batches.dataset,
            initial_epoch=done,
            epochs=config.epochs,
            verbose=0,
            shuffle=False,
            callbacks=[
                batches,
                EpochBackup(folder.backup),
                keras.callbacks.TensorBoard(str(folder.tensorboard), write_graph=False),
                LatentSummaries(folder.tensorboard / "latents", dataset.valid.x, every=config.epochs // 10),
                progress,
            ],
        )
    except KeyboardInterrupt:
        raise Interrupted(folder) from None
    finally:
        progress.close()
    seconds = time.perf_counter() - start
    steps = int(model.optimizer.iterations.numpy()) - steps
    # A resumed run was timed in part: timed_steps says how much.
    return {"train_seconds": round(seconds, 1), "timed_steps": steps, "steps_per_second": round(steps / seconds, 1)}


def _write_results(model: DiscreteVAE, config: RunConfig, folder: RunFolder, dataset, timing: dict) -> None:
    x = dataset.test.x
    folder.save_model(model)
    export_saved_model(model, folder.saved_model)
    # From the whole split: some test sets are sorted by class.
    shown = x[np.linspace(0, len(x) - 1, 20, dtype=int)]
    reconstruction = model.predict(shown, verbose=0)["reconstruction"]
    save_figure(reconstructions_figure(shown, reconstruction), folder.reconstructions)
    save_figure(samples_figure(model.sample(64, seed_of(config.seed, "sample")).numpy()), folder.samples)
    metrics = evaluate_model(model, x)
    steps = int(model.optimizer.iterations.numpy())
    folder.write_metrics({**metrics, "split": "test", "epochs": config.epochs, "steps": steps, **timing})
