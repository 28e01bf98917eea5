"""The card of an exported run: its figures, and commands that repeat it."""

import json

from tfdiscrete import cli, runs
from tfdiscrete.runs import recipes
from tfdiscrete.runs.about import about_run, train_command


def test_the_command_of_a_run_gives_its_settings(finished, monkeypatch):
    recipe = finished.read_recipe()
    command = train_command(recipe, finished)
    assert command[:4] == ["tfdiscrete", "train", "--model", "discrete_vae"]
    asked = {}
    monkeypatch.setattr(runs, "train", lambda settings=None, out=None, **rest: asked.update(settings=settings, out=out))
    try:
        cli.main(command[1:])
    except Exception:  # what comes after the training has no folder to read
        assert asked
    assert asked["out"] == str(finished.path)
    settings = asked["settings"]
    repeated = settings if isinstance(settings, recipes.Recipe) else recipes.from_json(dict(settings))
    assert repeated == recipe


def test_figures_are_those_of_the_run_with_what_each_is(finished):
    text = about_run(finished, finished.read_metrics(), ["tfdiscrete", "export", "a folder", "models"])
    bound = finished.read_metrics()["discrete_elbo"]
    assert f"| discrete ELBO | {bound:.2f} nats | hard samples: a bound on log p(x) |" in text
    assert "not a bound" in text
    assert "| num_latents | 3 |" in text
    assert "tfdiscrete export 'a folder' models" in text
    versions = json.loads((finished.path / "config.json").read_text())["versions"]
    assert f"| tensorflow | {versions['tensorflow']} |" in text


def test_the_run_s_own_export_has_the_card(finished):
    text = (finished.saved_model / "1" / "MODEL.md").read_text()
    assert text.startswith(f"# {finished.path.name}\n")
    assert "## Figures" in text
    assert "tfdiscrete train" in text
    assert "tfdiscrete export" not in text
