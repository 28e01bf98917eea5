"""Several processes as workers: one run comes of them, or one error that says which of them failed."""

import json
import os
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import runs
from tfdiscrete.errors import InputError
from tfdiscrete.runs import workers
from tfdiscrete.runs.folder import entries_of
from tfdiscrete.training import strategies

# Without noise, the workers' number makes no difference.
EXACT = {"epochs": 2, "num_latents": 2, "num_categories": 3, "estimator": "enumeration", "batch_size": 150, "seed": 5}
INDEX = "import json, os, sys, time; index = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"

no_shared_gpu = pytest.mark.skipif(
    len(tf.config.list_physical_devices("GPU")) % 2 == 1, reason="two workers need two GPUs, or none"
)
pytestmark = no_shared_gpu


def weights(folder):
    return [weight.numpy() for weight in folder.load_model().weights]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_fails_ends_the_others_and_is_named(tmp_path, monkeypatch):
    code = INDEX + f"open('{tmp_path}/' + str(index), 'w').write(str(os.getpid()))\n"
    code += "print('out of luck', file=sys.stderr)\nif index == 1:\n    time.sleep(1)\n    sys.exit(3)\ntime.sleep(60)"
    monkeypatch.setattr(workers, "_CODE", code)
    start = time.monotonic()
    with pytest.raises(InputError, match=r"worker 1 of 2 ended with exit code 3, .* and ends in: out of luck\."):
        runs.train_on_workers(EXACT, tmp_path / "run", workers=2)
    assert time.monotonic() - start < 30
    assert not any(is_alive(int((tmp_path / str(i)).read_text())) for i in range(2))


def test_how_to_go_on_is_said_where_there_is_a_run(tmp_path, monkeypatch):
    runs.RunFolder(tmp_path).begin(runs.recipes.from_json(EXACT), overwrite=False)
    monkeypatch.setattr(workers, "_CODE", "import sys; sys.exit(1)")
    with pytest.raises(InputError, match=rf"Go on .* 'tfdiscrete train --out {tmp_path} --resume --workers 3'"):
        runs.train_on_workers(None, tmp_path, workers=3, resume=True)


def test_a_worker_s_own_error_is_the_error(tmp_path, monkeypatch):
    code = INDEX + "logs = json.loads(sys.argv[1])['logs']\nif index == 0:\n"
    code += "    open(logs + '/worker-0.error', 'w').write('the loss is nan')\n    sys.exit(2)\ntime.sleep(60)"
    monkeypatch.setattr(workers, "_CODE", code)
    with pytest.raises(InputError, match="^the loss is nan$"):
        runs.train_on_workers(EXACT, tmp_path / "run", workers=2)


def test_each_worker_is_told_of_all(monkeypatch):
    monkeypatch.setattr(workers, "_gpus", lambda count: [])
    environments = workers._environments(3)
    configs = [json.loads(environment["TF_CONFIG"]) for environment in environments]
    assert [config["task"] for config in configs] == [{"type": "worker", "index": i} for i in range(3)]
    addresses = configs[0]["cluster"]["worker"]
    assert len(set(addresses)) == 3
    assert all(config["cluster"]["worker"] == addresses for config in configs)


@pytest.mark.parametrize(("gpus", "expected"), [("0,1,2,3", ["0,2", "1,3"]), ("4,7", ["4", "7"]), ("", ["", ""])])
def test_the_gpus_are_divided(gpus, expected, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    found = [object()] * len(gpus.split(",")) if gpus else []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: found)
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in workers._environments(2)] == expected


@pytest.mark.parametrize("count", [1, 3])
def test_a_gpu_is_not_shared(count, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [object()] * count)
    with pytest.raises(InputError, match=f"workers=2 with {count} GPUs; choose a divisor"):
        workers._environments(2)


@pytest.mark.slow
def test_a_mirrored_run_is_the_run_of_one_device(tmp_path):
    alone = runs.train({**EXACT, "epochs": 1}, tmp_path / "alone")
    spread = runs.train({**EXACT, "epochs": 1}, tmp_path / "spread", strategy="mirrored")
    for one, other in zip(weights(alone), weights(spread), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)
    assert {path.name for path in spread.path.iterdir()} == entries_of(runs.DiscreteVAERecipe)
    assert spread.read_metrics()["discrete_elbo"] == pytest.approx(alone.read_metrics()["discrete_elbo"], rel=1e-4)
    assert spread.load_model().distribute_strategy is tf.distribute.get_strategy()


@pytest.mark.slow
def test_a_mirrored_run_that_was_cut_off_resumes_to_the_same_bits(tmp_path, monkeypatch):
    whole = runs.train(EXACT, tmp_path / "whole", strategy="mirrored")
    fit = keras.Model.fit

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(
            keras.Model, "fit", lambda self, *a, callbacks, **k: fit(self, *a, callbacks=[*callbacks, Stop()], **k)
        )
        with pytest.raises(runs.Interrupted):
            runs.train(EXACT, tmp_path / "cut", strategy="mirrored")
    resumed = runs.train(None, tmp_path / "cut", resume=True, strategy="mirrored")
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_two_workers_train_what_one_process_trains_and_resume_it(tmp_path):
    alone = runs.train(EXACT, tmp_path / "alone")
    half = runs.train_on_workers({**EXACT, "epochs": 1}, tmp_path / "spread", workers=2)
    assert half.read_metrics()["epochs"] == 1
    spread = runs.train_on_workers({"epochs": 2}, tmp_path / "spread", workers=2, resume=True)
    for one, other in zip(weights(alone), weights(spread), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)
    assert {path.name for path in spread.path.iterdir()} == entries_of(runs.DiscreteVAERecipe)
    with pytest.raises(InputError, match="holds another run"):
        runs.train_on_workers(EXACT, tmp_path / "spread", workers=2)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_worker_that_is_killed_leaves_a_run_that_resumes_to_the_same_bits(victim, tmp_path, monkeypatch):
    settings = {**EXACT, "epochs": 6, "estimator": "nvil", "batch_size": 30}
    whole = runs.train_on_workers(settings, tmp_path / "whole", workers=2)
    folder = runs.RunFolder(tmp_path / "cut")
    wait = workers._wait

    def kill_after_an_epoch(processes):
        while not list(folder.path.glob("backup/epoch-*")):
            assert processes[victim].poll() is None
            time.sleep(0.01)
        os.kill(processes[victim].pid, signal.SIGKILL)
        return wait(processes)

    with monkeypatch.context() as patched:
        patched.setattr(workers, "_wait", kill_after_an_epoch)
        with pytest.raises(InputError, match=r"worker \d of 2 ended with .* Go on after the last whole epoch"):
            runs.train_on_workers(settings, folder.path, workers=2)
    assert not folder.is_finished
    resumed = runs.train_on_workers(None, folder.path, workers=2, resume=True)
    for one, other in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["semi_supervised_vae", "vector_quantized_vae"])
def test_two_workers_train_every_model(model, tmp_path):
    small = {"semi_supervised_vae": {}, "vector_quantized_vae": {"prior_epochs": 1, "channels": 4}}[model]
    folder = runs.train_on_workers({"model": model, "epochs": 1, "batch_size": 300, **small}, tmp_path, workers=2)
    assert all(np.isfinite(value) for value in folder.read_metrics().values() if isinstance(value, float))


@pytest.mark.slow
def test_a_ray_cluster_trains_a_run(tmp_path):
    ray = pytest.importorskip("ray", reason="needs the extra: pip install 'tfdiscrete[ray]'")
    ray.init(num_cpus=2, include_dashboard=False)
    try:
        folder = runs.train_on_ray({**EXACT, "epochs": 1}, tmp_path / "run", workers=2)
        assert folder.is_finished
        with pytest.raises(InputError, match="holds another run"):
            runs.train_on_ray({**EXACT, "epochs": 1}, tmp_path / "run", workers=2)
    finally:
        ray.shutdown()


def test_the_strategy_is_no_setting_of_a_run(tmp_path):
    with pytest.raises(InputError, match="unknown strategy 'mirored'. Did you mean 'mirrored'"):
        runs.train(EXACT, tmp_path / "run", strategy="mirored")
    assert not (tmp_path / "run").exists()
    assert "strategy" not in runs.DiscreteVAERecipe().to_json()
    assert set(strategies.REGISTRY) == {"none", "mirrored", "multi_worker"}
