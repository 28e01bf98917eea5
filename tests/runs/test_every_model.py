"""A run of each model: its files, its figures, and that it is resumed to the same bits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import runs
from tfdiscrete.errors import InputError
from tfdiscrete.runs.folder import entries_of

SMALL = {
    "discrete_vae": {"num_latents": 3, "num_categories": 4, "prior_epochs": 1},
    "deep_discrete_vae": {"layers": "4,3", "family": "bernoulli", "estimator": "relax"},
    "semi_supervised_vae": {"num_labelled": 30, "estimator": "direct_arg_max"},
    "attributes": {"model": "semi_supervised_vae", "target": "attributes", "num_labelled": 64},
    "vector_quantized_vae": {"channels": 4, "networks": "conv", "quantizer": "residual", "prior_epochs": 1},
}


def settings_of(name):
    return {"model": name, "epochs": 2, "seed": 3, **SMALL[name]}


@pytest.fixture(scope="module", params=SMALL)
def run(request, tmp_path_factory):
    return runs.train(settings_of(request.param), tmp_path_factory.mktemp("runs") / request.param)


@pytest.mark.slow
def test_a_run_leaves_its_files_and_figures(run):
    recipe = run.read_recipe()
    assert {path.name for path in run.path.iterdir()} == entries_of(recipe)
    metrics = run.read_metrics()
    again = runs.evaluate(run.path)
    assert {key: metrics[key] for key in again} == again
    shown = {name: value for name, value, _ in recipe.rows(metrics)}
    assert all(shown.values())
    signatures = tf.saved_model.load(str(run.saved_model / "1")).signatures
    assert {*recipe.signatures.split(", "), "serving_default"} == set(signatures)
    tags = {
        value.tag
        for path in run.tensorboard.rglob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert "epoch_loss" in tags
    assert tags & set(recipe.pictures)


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_with_the_same_bits(run, tmp_path, monkeypatch):
    settings, fit = run.read_recipe().to_json(), keras.Model.fit

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def cut(self, *args, callbacks, **kwargs):
        return fit(self, *args, callbacks=[*callbacks, Stop()], **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(keras.Model, "fit", cut)
        with pytest.raises(runs.Interrupted):
            runs.train(settings, tmp_path / "cut")
    resumed = runs.train(None, tmp_path / "cut", resume=True)
    for ours, theirs in zip(resumed.load_model().weights, run.load_model().weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_finished_run_gets_another_prior(tmp_path):
    run = runs.train({"epochs": 1, **SMALL["discrete_vae"], "prior_epochs": 0}, tmp_path / "run")
    before, posterior = run.read_metrics(), run.load_model()
    runs.train({"prior_epochs": 3}, run.path, resume=True)
    after, model = run.read_metrics(), run.load_model()
    assert after["distortion"] == pytest.approx(before["distortion"], rel=1e-3)
    assert after["rate"] < before["rate"]
    assert after["train_seconds"] == before["train_seconds"]
    assert type(model.prior).__name__ == "Autoregressive"
    np.testing.assert_array_equal(model.encoder.get_weights()[0], posterior.encoder.get_weights()[0])


@pytest.mark.slow
def test_a_run_is_sampled_and_exported(run, tmp_path):
    assert runs.sample(run.path, num=4, out=tmp_path / "four.png").is_file()
    assert runs.export(run.path, tmp_path / "models").path.is_dir()


def test_the_estimator_of_a_mixed_family_is_that_of_its_discrete_part():
    settings = {"family": "mixed", "family_options": "discrete=truncated_counts,num_discrete=3", "num_latents": 5}
    assert runs.DiscreteVAERecipe(**settings).estimator_name == "generalized_gumbel_softmax"


@pytest.mark.slow
def test_codes_without_a_prior_are_not_to_be_sampled(tmp_path):
    settings = {"model": "vector_quantized_vae", "epochs": 1, **SMALL["vector_quantized_vae"], "prior_epochs": 0}
    run = runs.train(settings, tmp_path / "run")
    assert not run.picture("samples").exists()
    shown = runs.next_steps(run)
    assert "sample" not in shown.replace(str(tmp_path), "")
    with pytest.raises(InputError, match="keeps its settings, but for epochs. Received: prior_epochs=1"):
        runs.train({"prior_epochs": 1}, run.path, resume=True)


def test_a_run_keeps_its_model(finished):
    with pytest.raises(InputError, match="holds a run of discrete_vae. Received: model='vector_quantized_vae'"):
        runs.train({"model": "vector_quantized_vae"}, finished.path, resume=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "vq_vae"}, "unknown model 'vq_vae'"),
        ({"model": "deep_discrete_vae", "layers": "4,x"}, 'such as "40,20". Received: layers='),
        ({"model": "deep_discrete_vae", "layers": "4,0"}, 'such as "40,20". Received: layers='),
        ({"model": "deep_discrete_vae", "family": "gaussian"}, "must be of variables with categories"),
        ({"model": "vector_quantized_vae", "prior_epochs": -1}, "prior_epochs must be an integer of at least 0"),
        ({"model": "vector_quantized_vae", "quantizer": "vectors"}, "Did you mean 'vector'"),
        (
            {"model": "vector_quantized_vae", "estimator": "rebar"},
            r"unknown settings \['estimator'\] in a config",
        ),
        ({"prior_epochs": 2, "family": "gaussian"}, "an autoregressive prior is one of categorical variables"),
        ({"prior_epochs": 2, "objective": "free_bits"}, "Autoregressive has no closed-form KL"),
        ({"model": "semi_supervised_vae", "target": "attributes", "dataset": "fashion_mnist"}, "those of digits"),
        ({"model": "semi_supervised_vae", "batch_size": 5000}, "batch_size must be an integer .* at most 1297"),
        ({"model": "semi_supervised_vae", "num_labelled": 0}, "num_labelled must be"),
        ({"model": "semi_supervised_vae", "num_labelled": 10_000}, "num_labelled must be at most"),
        ({"model": "semi_supervised_vae", "estimator_options": "epsilon=1"}, "unknown option of enumeration"),
        ({"model": "semi_supervised_vae", "target": "class"}, "Did you mean 'classes'"),
    ],
)
def test_a_bad_setting_of_a_model_is_refused_before_anything_is_written(settings, message, tmp_path):
    with pytest.raises(InputError, match=message):
        runs.train(settings, tmp_path / "run")
    assert not (tmp_path / "run").exists()
