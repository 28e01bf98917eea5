"""A run by several processes of this machine, each a worker of one cluster: what a trial of a cluster is."""

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf
from rich.console import Console

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.runs import recipes
from tfdiscrete.runs.folder import RunFolder, next_free_folder
from tfdiscrete.runs.recipes import Recipe
from tfdiscrete.runs.train import Interrupted, train
from tfdiscrete.training import strategies

# TensorFlow's C++ part greets on standard error when it is imported.
_CODE = """
import os
kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(nowhere, 2)
try:
    from tfdiscrete.runs.workers import work
finally:
    os.dup2(kept, 2)
work()
"""


def train_on_workers(
    recipe: Recipe | Mapping | None = None,
    out: str | os.PathLike | None = None,
    *,
    workers: int,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> RunFolder:
    """As `train`, by this many processes on this machine, which take a share of each batch and train one model.

    The first shows its progress on standard error; the others write to log files. With GPUs each has its own.

    Args:
        recipe, out, resume, overwrite: as for `train`.
        workers: how many.
        console: where messages about the workers go; by default standard error.

    Returns:
        The folder, finished.

    Raises:
        InputError: what `train` raises, and where a worker fails: all are ended then, and the message says which one
            it was, where its output is, and how to go on.
        Interrupted: on Ctrl-C or SIGTERM; the last whole epoch's backup may be the latest.
    """
    check_count("workers", workers)
    call = call_of_workers(recipe, out, resume=resume, overwrite=overwrite)
    folder = RunFolder(call["out"])
    logs = Path(tempfile.mkdtemp(prefix="tfdiscrete-workers-"))
    (console or Console(stderr=True)).print(f"{workers} workers; logs of all but the first: {logs}", highlight=False)
    environments = _environments(workers)
    processes = [
        _start(i, {**call, "logs": str(logs)}, environment, logs) for i, environment in enumerate(environments)
    ]
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main else None
    try:
        failed = _wait(processes)
    except KeyboardInterrupt:
        _end(processes)
        if folder.is_run:
            raise Interrupted(folder, f" --workers {workers}") from None
        raise
    finally:
        _end(processes)
        if in_main:
            signal.signal(signal.SIGTERM, handler)
    if failed is not None:
        raise _failure(failed, processes[failed].returncode, workers, logs, folder)
    shutil.rmtree(logs)
    return folder


def call_of_workers(recipe, out, *, resume: bool, overwrite: bool) -> dict:
    """The arguments of `train` as plain values, with which all workers name one folder; raises `InputError`."""
    if not resume:
        recipe = recipe if isinstance(recipe, Recipe) else recipes.from_json(recipe or {})
        out = out or next_free_folder(Path("runs"), recipe.dataset)
    if out is None:
        raise InputError("--resume needs --out, the folder of the run to continue.")
    settings = recipe.to_json() if isinstance(recipe, Recipe) else dict(recipe or {})
    return {"recipe": settings, "out": str(out), "resume": resume, "overwrite": overwrite}


def work() -> None:
    """The body of a worker's process: `train` with the arguments that its command line holds."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    call = json.loads(sys.argv[1])
    logs = Path(call.pop("logs"))
    try:
        strategy = strategies.get("multi_worker")
        if not call["resume"]:
            with open(logs / "data.lock", "wb") as lock:  # what must be downloaded is downloaded once
                fcntl.flock(lock, fcntl.LOCK_EX)
                recipes.from_json(call["recipe"]).load_data()
        train(strategy=strategy, **call)
    except InputError as error:
        index = strategies.read_cluster()["task"]["index"]
        (logs / f"worker-{index}.error").write_text(str(error))
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    """Ends this process when the other end of its standard input is gone: no worker outlives who started it."""
    os.read(0, 1)  # not sys.stdin, whose lock Python needs to end
    os._exit(1)


def _environments(workers: int) -> list[dict[str, str]]:
    """Those of the processes: TF_CONFIG, and each one's part of the machine."""
    sockets = [socket.socket() for _ in range(workers)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    gpus = _gpus(workers)
    threads = max(1, (os.cpu_count() or 1) // workers)
    environments = []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": str(threads), **os.environ}
        environment["TF_CONFIG"] = json.dumps(config)
        if gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus[index::workers])
        environments.append(environment)
    return environments


def _gpus(workers: int) -> list[str]:
    found = len(tf.config.list_physical_devices("GPU"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    names = [name for name in visible if name][:found] or [str(i) for i in range(found)]
    if 0 < len(names) < workers or len(names) % workers:
        raise InputError(
            f"each worker needs as many GPUs as the others. Received: workers={workers} with {len(names)} GPUs; "
            "choose a divisor, or try it on the CPU with CUDA_VISIBLE_DEVICES=-1."
        )
    return names


def _start(index: int, call: dict, environment: dict, logs: Path) -> subprocess.Popen:
    log = None if index == 0 else open(logs / f"worker-{index}.log", "wb")  # noqa: SIM115
    try:
        return subprocess.Popen(
            [sys.executable, "-c", _CODE, json.dumps(call)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=None if log is None else subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which ends them
        )
    finally:
        if log is not None:
            log.close()


def _wait(processes: Sequence[subprocess.Popen]) -> int | None:
    """The first process that fails, or None once all have ended well."""
    while True:
        codes = [process.poll() for process in processes]
        for index, code in enumerate(codes):
            if code:
                return index
        if None not in codes:
            return None
        time.sleep(0.1)


def _end(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def _failure(index: int, code: int, workers: int, logs: Path, folder: RunFolder) -> InputError:
    error = logs / f"worker-{index}.error"
    if error.is_file():
        return InputError(error.read_text())
    log = logs / f"worker-{index}.log"
    lines = log.read_text(errors="replace").split("\n") if log.is_file() else []
    last = next((f", and ends in: {line.strip()}" for line in reversed(lines) if line.strip()), "")
    where = f"its output is in {log}{last}" if log.is_file() else "its output is above"
    onward = f" Go on after the last whole epoch with '{folder.resume_command} --workers {workers}'." * folder.is_run
    return InputError(
        f"worker {index} of {workers} ended with exit code {code}, and the others were ended; {where}.{onward}"
    )
