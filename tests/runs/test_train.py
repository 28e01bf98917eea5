"""A run from data to folder: what it leaves, how it is resumed, and what it refuses to overwrite."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import runs
from tfdiscrete.errors import InputError
from tfdiscrete.runs.folder import entries_of
from tfdiscrete.training import data

ENTRIES = entries_of(runs.DiscreteVAERecipe)
SMALL = {"epochs": 3, "num_latents": 3, "num_categories": 4, "seed": 5}


class StopAfter(keras.callbacks.Callback):
    """Presses Ctrl-C in the middle of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if self.params["epochs"] and self.model.optimizer.iterations.numpy() > self.epoch * 13:
            raise KeyboardInterrupt


def weights(folder):
    return [weight.numpy() for weight in folder.load_model().weights]


def test_a_run_leaves_every_promised_file_and_nothing_else(finished):
    assert {path.name for path in finished.path.iterdir()} == ENTRIES
    assert finished.is_finished
    assert (finished.saved_model / "1" / "saved_model.pb").is_file()


def test_the_figures_are_those_of_the_model(finished):
    metrics = finished.read_metrics()
    assert metrics["discrete_elbo"] == pytest.approx(-(metrics["rate"] + metrics["distortion"]), rel=1e-5)
    assert metrics["discrete_elbo"] < metrics["iwae_100"] < 0
    assert metrics["iwae_100_stderr"] > 0
    assert metrics["steps"] == 3 * 13
    again = runs.evaluate(finished.path)
    assert {key: metrics[key] for key in again} == again
    x = data.load("digits", binarize="threshold").test.x
    probabilities = finished.load_model().predict(x, verbose=0)["probabilities"].astype(np.float64)
    rate = (probabilities * (np.log(probabilities) + np.log(4))).sum((1, 2)).mean()
    assert metrics["rate"] == pytest.approx(rate, rel=1e-4)


@pytest.mark.slow
def test_the_config_repeats_the_run(finished, tmp_path):
    record = json.loads((finished.path / "config.json").read_text())
    assert record["versions"]["keras"] == keras.__version__
    again = runs.train(runs.recipes.from_json(record["config"]), tmp_path / "again")
    for ours, theirs in zip(weights(again), weights(finished), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    timing = ("train_seconds", "timed_steps", "steps_per_second")
    first, second = ({k: v for k, v in f.read_metrics().items() if k not in timing} for f in (finished, again))
    assert first == second


def test_tensorboard_gets_scalars_and_pictures(finished):
    tags = set()
    for path in finished.tensorboard.rglob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            tags |= {value.tag for value in event.summary.value}
    wanted = {"epoch_loss", "epoch_rate", "reconstructions", "samples", "latent_usage", "active_units", "temperature"}
    assert wanted <= tags


@pytest.mark.slow
def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_bits(finished, tmp_path, monkeypatch):
    fit = keras.Model.fit

    def interrupted_fit(self, *args, callbacks, **kwargs):
        return fit(self, *args, callbacks=[*callbacks, StopAfter(2)], **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(keras.Model, "fit", interrupted_fit)
        with pytest.raises(runs.Interrupted, match=r"train --out .*/cut --resume"):
            runs.train(SMALL, tmp_path / "cut")
    cut = runs.RunFolder(tmp_path / "cut")
    assert cut.is_run
    assert not cut.is_finished
    with pytest.raises(InputError, match="holds an unfinished run. Finish it with"):
        runs.evaluate(cut.path)
    resumed = runs.train(None, cut.path, resume=True)
    for ours, theirs in zip(weights(resumed), weights(finished), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_finished_run_can_be_trained_further_and_ends_as_a_longer_one(finished, tmp_path):
    short = runs.train({**SMALL, "epochs": 1}, tmp_path / "run")
    assert short.read_metrics()["steps"] == 13
    longer = runs.train({"epochs": 3}, tmp_path / "run", resume=True)
    for ours, theirs in zip(weights(longer), weights(finished), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert longer.read_recipe().epochs == 3
    exported = tf.saved_model.load(str(longer.saved_model / "1")).signatures["encode"]
    x = data.load("digits", binarize="threshold").test.x[:5]
    ours = exported(x=tf.constant(x))["probabilities"].numpy()
    np.testing.assert_allclose(ours, longer.load_model().predict(x, verbose=0)["probabilities"], atol=1e-6)


def test_a_resumed_run_keeps_its_settings(finished):
    with pytest.raises(InputError, match=r"keeps its settings.*learning_rate=0.5 \(the run has 0.001\)"):
        runs.train({"learning_rate": 0.5}, finished.path, resume=True)
    with pytest.raises(InputError, match="can only grow. Received: epochs=2 < 3"):
        runs.train({"epochs": 2}, finished.path, resume=True)
    assert finished.is_finished


def test_another_run_is_not_overwritten(finished):
    before = finished.read_metrics()
    with pytest.raises(InputError, match="holds another run. Use --resume to continue it, --overwrite to replace it"):
        runs.train(SMALL, finished.path)
    assert finished.read_metrics() == before


def test_a_folder_of_other_files_is_never_removed(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(InputError, match="exists and is not a run"):
            runs.train(SMALL, tmp_path, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_overwrite_replaces_a_run_but_not_before_the_new_one_can_start(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "samples-3.png").touch()
    with pytest.raises(InputError, match="enumeration of 20 latent variables"):
        runs.train({"estimator": "enumeration"}, tmp_path / "run", overwrite=True)
    assert runs.RunFolder(tmp_path / "run").read_metrics() == finished.read_metrics()
    replaced = runs.train({**SMALL, "epochs": 1}, tmp_path / "run", overwrite=True)
    assert replaced.read_metrics()["epochs"] == 1
    assert len(list(replaced.backup.iterdir())) == 1


def test_a_run_with_other_peoples_files_is_not_overwritten(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not a run's, \['notes.txt'\]"):
        runs.train(SMALL, tmp_path / "run", overwrite=True)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {*ENTRIES, "notes.txt"}


def test_another_programs_config_does_not_make_a_run(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").write_text("weights")
    with pytest.raises(InputError, match="exists and is not a run"):
        runs.train(SMALL, tmp_path, overwrite=True)
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.slow
def test_a_folder_where_a_run_died_at_once_can_be_used(tmp_path):
    (tmp_path / "config.json.partial").write_text("{")
    assert runs.train({**SMALL, "epochs": 1}, tmp_path).is_finished


def test_resuming_a_finished_run_changes_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")}
    assert runs.train(None, finished.path, resume=True).read_metrics() == finished.read_metrics()
    assert {path: path.stat().st_mtime_ns for path in finished.path.rglob("*")} == before


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_finished_run_without_readable_backups_is_not_trained_from_the_start(finished, tmp_path, damage):
    run = runs.RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    for path in run.backup.iterdir():
        path.unlink() if damage == "missing" else path.write_bytes(b"")
    with pytest.raises(InputError, match="without its backups|none of the backups"):
        runs.train({"epochs": 5}, run.path, resume=True)
    assert run.read_metrics() == finished.read_metrics()
    assert run.read_recipe().epochs == 3


@pytest.mark.parametrize(
    ("out", "message"), [(None, "--resume needs --out"), ("nothing-here", "holds no run to resume")]
)
def test_resuming_nothing_is_refused(tmp_path, out, message):
    with pytest.raises(InputError, match=message):
        runs.train(None, None if out is None else tmp_path / out, resume=True)


def test_without_a_folder_the_first_free_number_is_taken(tmp_path):
    taken = runs.folder.next_free_folder(tmp_path, "digits")
    taken.mkdir()
    assert (taken.name, runs.folder.next_free_folder(tmp_path, "digits").name) == ("digits-0001", "digits-0002")


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["linear", "mlp2", "conv"])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "categorical"])
def test_every_network_and_likelihood_trains(encoder, likelihood):
    config = runs.DiscreteVAERecipe(encoder=encoder, likelihood=likelihood, num_latents=2, num_categories=3)
    x = data.load("digits", binarize=config.binarization).train.x[:200]
    model = config.make_model(x.shape[1:], 2)
    losses = model.fit(x, batch_size=100, epochs=8, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["gumbel_softmax", "score_function", "straight_through_gumbel_softmax"])
def test_every_estimator_lowers_the_bound_of_digits(estimator):
    config = runs.DiscreteVAERecipe(estimator=estimator, num_latents=4, num_categories=4)
    x = data.load("digits", binarize="threshold").train.x
    model = config.make_model(x.shape[1:], 2)
    before = model.evaluate(x, verbose=0)[0]
    model.fit(x, batch_size=100, epochs=5, verbose=0)
    # The best model without latents, the pixels' own frequencies, has 25.6 nats.
    assert model.evaluate(x, verbose=0)[0] < 30.0 < before
