import json
import re
from pathlib import Path

import pytest

from tfdiscrete.experiments import image_models
from tfdiscrete.runs import recipes

ROOT = Path(__file__).parents[2]
FULL = image_models.recipe_of
SMALL = {"dataset": "digits", "epochs": 1}
SMALL_OF = {
    "counts": {"num_latents": 2},
    "gaussian": {"num_latents": 2, "num_categories": 3},
    "categories": {"num_latents": 2, "num_categories": 3},
    "layers": {"layers": "2,1", "num_categories": 3, "networks": "linear"},
    "labels": {"num_labelled": 50, "networks": "dense"},
    "attributes": {"num_labelled": 50, "networks": "dense"},
    "codes": {"networks": "conv", "channels": 4, "prior_epochs": 0},
}


def small(row):
    group = row.partition("-")[0]
    return recipes.from_json({**FULL(row).to_json(), **SMALL, **SMALL_OF[group], **_prior(row)})


def _prior(row):
    return {"prior_epochs": 1} if row in image_models.PRIOR_OF else {}


def test_every_row_is_a_recipe_and_every_figure_has_its_row():
    for row in image_models.SETTINGS:
        assert FULL(row).model in recipes.REGISTRY
    assert set(image_models.ASKED) <= set(image_models.SETTINGS)
    for row, first in image_models.PRIOR_OF.items():
        base = {**FULL(row).to_json(), "prior_epochs": FULL(first).prior_epochs}
        assert base == FULL(first).to_json()


def test_the_readme_s_figures_are_those_of_the_table():
    section = (ROOT / "README.md").read_text().partition("## What they reach")[2].partition("\n## ")[0]
    lines = [line.split("|") for line in section.splitlines() if line.startswith("|") and line.count("|") == 6]
    figures = [figure for line in lines for cell in line[3:5] for figure in re.findall(r"\d+\.\d{2,}", cell)]
    table = (ROOT / "results" / "image_models.md").read_text()
    assert len(figures) > 30
    assert [figure for figure in figures if figure not in table] == []


@pytest.mark.slow
def test_a_row_of_each_group_stands_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(image_models, "recipe_of", small)
    folders = {"out": tmp_path / "results", "runs_folder": tmp_path / "runs"}
    rows = [
        "counts-poisson-explicit",
        "gaussian-planar",
        "categories-uniform",
        "categories-autoregressive",
        "layers-two",
        "labels-direct_arg_max-50-seed0",
        "attributes-enumeration",
        "codes-plain",
    ]
    for row in rows:
        paths = image_models.run(only=row, **folders)
    trained = {row["row"]: row for row in json.loads(paths[0].read_text())["rows"]}
    assert set(trained) == set(rows)
    first, second = trained["categories-uniform"]["metrics"], trained["categories-autoregressive"]["metrics"]
    assert first["distortion"] == pytest.approx(second["distortion"], rel=1e-3)
    assert {path.name for path in (tmp_path / "results" / "image_models").iterdir()} == {
        "counts-poisson-explicit-samples.png",
        "gaussian-planar-samples.png",
        "categories-uniform-samples.png",
        "categories-autoregressive-samples.png",
        "layers-two-samples.png",
        "labels-direct_arg_max-50-seed0-rows.png",
        "attributes-enumeration-rows.png",
        "codes-plain-codes.png",
        "codes-plain-interpolation.png",
        "codes-plain-reconstructions.png",
    }
    text = paths[1].read_text()
    assert text.count("\n## ") == 8
    pictures = [
        f"[{name}](image_models/codes-plain-{name}.png)" for name in ("reconstructions", "codes", "interpolation")
    ]
    assert f"- codes-plain: {', '.join(pictures)}\n  `{trained['codes-plain']['command']}`\n" in text
    assert f"{trained['gaussian-planar']['train_bound']:.2f} |" in text
    accuracy = trained["labels-direct_arg_max-50-seed0"]["metrics"]["accuracy"]
    assert f"| direct_arg_max | 50 | {100 * accuracy:.2f} |" in text
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("metrics*.json")}
    image_models.run(only=rows[0], **folders)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
