"""What a training run survives: signals, kills, a full disk, a second process, values that are not finite."""

import contextlib
import ctypes
import multiprocessing
import os
import random
import resource
import shutil
import signal
import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from tfdiscrete import runs
from tfdiscrete.errors import InputError
from tfdiscrete.training import strategies

SMALL = {"epochs": 6, "num_latents": 3, "num_categories": 4, "estimator": "nvil", "seed": 5}


def _train(settings, folder, accident, report):
    """In a process of its own: trains, with an accident, and reports how it ended."""
    with contextlib.suppress(ImportError):
        import tfdiscrete.training.backup as backup
    try:
        accident(backup)
        resume = runs.RunFolder(folder).is_run
        runs.train(None if resume else settings, folder, resume=resume)
        report.send("finished")
    except BaseException as error:
        report.send(f"{type(error).__name__}: {error}")


def nothing(backup):
    """No accident."""


def attempt(folder, accident=nothing, settings=SMALL):
    """How a training in a process of its own ended: "finished", an error, or None where it was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorflow", "tfdiscrete.runs"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(settings, folder, accident, sender))
    process.start()
    sender.close()
    process.join()
    with contextlib.suppress(EOFError):
        return receiver.recv() if receiver.poll() else None


def weights(folder):
    return [weight.numpy() for weight in runs.RunFolder(folder).load_model().weights]


class KillAfter:
    """SIGKILL after so many seconds."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __call__(self, backup):
        threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()


class KillWithinSave:
    """SIGKILL when a backup is half written, or written and not renamed, or renamed and not followed up."""

    def __init__(self, moment):
        self.moment = moment

    def __call__(self, backup):
        replace = os.replace

        def killed(source, target):
            if "weights.h5" in str(target):
                if self.moment == "half written":
                    data = Path(source).read_bytes()
                    Path(source).write_bytes(data[: len(data) // 2])
                if self.moment == "renamed":
                    replace(source, target)
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = killed


class SmallDisk:
    """No file may have more than so many bytes, as on a disk that is full."""

    def __init__(self, size):
        self.size = size

    def __call__(self, backup):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))


def as_any_user(backup):
    """Permissions hold for root too: without the capability to pass them by (`capset` of linux/capability.h)."""
    if os.geteuid() == 0:
        pass_by, version = 1 << 1, 0x20080522
        libc = ctypes.CDLL(None, use_errno=True)
        header, data = (ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * 6)()
        assert libc.capget(header, data) == 0
        data[0] &= ~pass_by
        assert libc.capset(header, data) == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run without accidents."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert attempt(folder) == "finished"
    return folder


@pytest.mark.slow
def test_twenty_kills_end_with_the_bits_of_an_undisturbed_run(whole, tmp_path):
    rng = random.Random(0)
    start = time.monotonic()
    attempt(tmp_path / "timed")
    seconds = time.monotonic() - start
    within = ["half written", "written", "renamed"] * 3
    folders = [tmp_path / "run"]
    killed = 0
    while killed < 20 or not runs.RunFolder(folders[-1]).is_finished:
        if runs.RunFolder(folders[-1]).is_finished:
            folders.append(tmp_path / f"run-{len(folders)}")
        # Most of a short run is its start and its end: a kill within a save lets it go on in between.
        accident = KillWithinSave(within.pop()) if within and killed % 2 else KillAfter(rng.uniform(0.2, 0.8) * seconds)
        ended = attempt(folders[-1], nothing if killed == 20 else accident)
        assert ended in (None, "finished")
        killed += ended is None
    for folder in folders:
        for ours, theirs in zip(weights(folder), weights(whole), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_full_disk_is_one_error_and_the_run_goes_on_where_there_is_room(whole, tmp_path):
    size = next((whole / "backup").iterdir()).stat().st_size
    ended = attempt(tmp_path / "run", SmallDisk(size // 2))
    assert ended.startswith("OSError")
    assert attempt(tmp_path / "run") == "finished"
    for ours, theirs in zip(weights(tmp_path / "run"), weights(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_read_only_folder_is_one_error_that_names_it(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "metrics.json").unlink()  # not finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    for path in (folder, tmp_path):
        path.chmod(0o555)
    try:
        for place in (folder, tmp_path / "another"):
            ended = attempt(place, as_any_user)
            assert ended.startswith("PermissionError"), ended
            assert str(place) in ended
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    finally:
        for path in (tmp_path, folder):
            path.chmod(0o755)
    assert attempt(folder) == "finished"


def test_two_runs_in_one_folder_are_refused(tmp_path):
    folder = runs.RunFolder(tmp_path / "run")
    with folder.locked():
        with pytest.raises(InputError, match="another process is writing the run in"):
            runs.train(SMALL, folder.path)
        assert folder.path.exists()
        with pytest.raises(InputError, match="another process"), runs.RunFolder(folder.path).locked():
            pass
    assert not folder.path.exists()


def test_what_is_refused_leaves_a_users_folder_as_it_was(tmp_path):
    with runs.RunFolder(tmp_path).locked():
        pass
    assert list(tmp_path.iterdir()) == []
    for name in ("samples-1.png", "metrics-train.json", "partial_notes.txt"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match="exists and is not a run"):
        runs.train(SMALL, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"samples-1.png", "metrics-train.json", "partial_notes.txt"}


class Terminate(keras.callbacks.Callback):
    """SIGTERM in the execution after so many, or at the end of an epoch."""

    def __init__(self, executions, at_end=False):
        super().__init__()
        self.left, self.at_end = executions, at_end

    def _count(self):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    def on_train_batch_begin(self, batch, logs=None):
        if not self.at_end:
            self._count()

    def on_epoch_end(self, epoch, logs=None):
        if self.at_end:
            self._count()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["none", "mirrored"])
def test_signals_within_epochs_of_executions_of_many_steps_leave_the_same_bits(strategy, tmp_path, monkeypatch):
    # 87 steps an epoch, in executions of 32, 32 and 23.
    settings = {**SMALL, "epochs": 3, "batch_size": 15}
    strategy = strategies.get("mirrored", replicas=2) if strategy == "mirrored" else strategy
    whole = runs.train(settings, tmp_path / "whole", strategy=strategy)
    callbacks = type(whole.read_recipe()).callbacks
    accidents = [Terminate(2), Terminate(1), Terminate(2, at_end=True)]
    for number, accident in enumerate(accidents):
        with monkeypatch.context() as patched:
            patched.setattr(
                runs.DiscreteVAERecipe, "callbacks", lambda *parts, extra=accident: [extra, *callbacks(*parts)]
            )
            with pytest.raises(runs.Interrupted, match="--resume"):
                runs.train(settings if not number else None, tmp_path / "cut", resume=number > 0, strategy=strategy)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    cut = runs.train(None, tmp_path / "cut", resume=True, strategy=strategy)
    for ours, theirs in zip(weights(cut.path), weights(whole.path), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_loss_that_is_not_finite_is_told_with_its_batch_and_its_layer(tmp_path):
    with pytest.raises(InputError, match=r"the loss is (nan|inf) in epoch 1.*It began in batch \d+ of epoch 1: "):
        runs.train({**SMALL, "learning_rate": 1e30}, tmp_path / "run")
    assert not list((tmp_path / "run").glob("backup/*"))
