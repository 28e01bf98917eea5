import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import runs
from tfdiscrete.errors import InputError


def test_the_same_seed_gives_the_same_picture(finished, tmp_path):
    paths = [
        runs.sample(finished.path, num=9, seed=seed, out=tmp_path / f"{i}.png") for i, seed in enumerate((1, 1, 2))
    ]
    pictures = [path.read_bytes() for path in paths]
    assert pictures[0] == pictures[1] != pictures[2]


def test_samples_of_a_run_go_into_its_folder_by_default(finished):
    path = runs.sample(finished.path, num=1, seed=9)
    assert path == finished.path / "samples-9.png"
    path.unlink()


def test_an_export_gives_the_runs_numbers(finished, tmp_path):
    exported = runs.export(finished.path, tmp_path / "models")
    path = exported.path
    assert path == tmp_path / "models" / "1"
    assert [report.name for report in exported.formats] == ["saved_model"]
    card = (path / "MODEL.md").read_text()
    assert f"tfdiscrete export {finished.path} {tmp_path / 'models'} --formats saved_model\n" in card
    assert "a bound on log p(x)" in card
    x = np.random.default_rng(0).integers(0, 2, (4, 8, 8)).astype(np.float32)
    ours = tf.saved_model.load(str(path)).signatures["serving_default"](x=tf.constant(x))["probabilities"]
    theirs = finished.load_model().predict(x, verbose=0)["probabilities"]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("call", [runs.evaluate, runs.sample, lambda run: runs.export(run, "models")])
def test_a_folder_without_a_run_is_refused(tmp_path, call):
    with pytest.raises(InputError, match="holds no run: there is no config.json"):
        call(tmp_path)


def test_a_damaged_model_is_named(finished, tmp_path):
    for name in ("config.json", "metrics.json"):
        (tmp_path / name).write_bytes((finished.path / name).read_bytes())
    whole = finished.model.read_bytes()
    for damaged in (whole[:1000], whole[:-100] + b"x" * 100, b""):
        (tmp_path / "model.keras").write_bytes(damaged)
        with pytest.raises(InputError, match=r"model.keras cannot be read"):
            runs.sample(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_config_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(InputError, match=r"config.json cannot be read"):
        runs.evaluate(tmp_path)


@pytest.mark.parametrize("out", ["thesis.tex", "nowhere/x.png", "."])
def test_a_sample_is_written_to_a_picture_alone(finished, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="must be a .png in a folder that exists"):
        runs.sample(finished.path, out=out)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("num", [0, -1])
def test_a_count_below_one_is_refused(finished, num):
    with pytest.raises(InputError, match="num must be"):
        runs.sample(finished.path, num=num)
