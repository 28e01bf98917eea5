"""A run by the workers of a Ray cluster. It needs the extra: pip install 'tfdiscrete[ray]'.

Ray starts the workers, each on the machine and with the processors that it chooses, and tells TensorFlow of them all;
what they do is `train` under the strategy "multi_worker".
"""

import os
from collections.abc import Mapping
from pathlib import Path

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.runs.folder import RunFolder
from tfdiscrete.runs.recipes import Recipe
from tfdiscrete.runs.train import train
from tfdiscrete.runs.workers import call_of_workers


def train_on_ray(
    recipe: Recipe | Mapping | None = None,
    out: str | os.PathLike | None = None,
    *,
    workers: int,
    resume: bool = False,
    overwrite: bool = False,
    gpu: bool = False,
    resources: Mapping[str, float] | None = None,
) -> RunFolder:
    """As `train`, by workers of the Ray cluster that `ray.init` found, or of this machine.

    Args:
        recipe, out, resume, overwrite: as for `train`. The folder must be on a file system that all machines see.
        workers: how many.
        gpu: whether each has a GPU of its own.
        resources: what each worker takes of its machine, by Ray's names, such as `{"CPU": 4}`.

    Returns:
        The folder, finished.

    Raises:
        InputError: where Ray is not installed, and what `train` raises.
    """
    try:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer
    except ImportError as error:
        raise InputError(f"training on Ray needs the extra: pip install 'tfdiscrete[ray]' ({error}).") from error
    check_count("workers", workers)
    call = call_of_workers(recipe, out, resume=resume, overwrite=overwrite)
    folder = RunFolder(Path(call["out"]).resolve())  # workers run elsewhere
    call["out"] = str(folder.path)
    trainer = TensorflowTrainer(
        _work,
        train_loop_config=call,
        scaling_config=ScalingConfig(
            num_workers=workers, use_gpu=gpu, resources_per_worker=dict(resources) if resources else None
        ),
        run_config=RunConfig(storage_path=str(folder.path.parent / ".ray"), name=folder.path.name),
    )
    try:
        trainer.fit()
    except Exception as error:
        # Ray's errors hold those of the workers as causes, or in the text alone.
        if (cause := _input_error(error)) is not None:
            raise InputError(str(cause)) from error
        raise
    return folder


def _work(call: dict) -> None:
    train(strategy="multi_worker", **call)


def _input_error(error: BaseException | None) -> InputError | None:
    while error is not None and not isinstance(error, InputError):
        failures = getattr(error, "worker_failures", None) or {}
        error = next(iter(failures.values()), None) or error.__cause__
    return error
