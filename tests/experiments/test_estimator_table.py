import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from tfdiscrete import estimators
from tfdiscrete.errors import InputError
from tfdiscrete.experiments import estimator_table
from tfdiscrete.runs import recipes


def small(row):
    config = FULL(row)
    return recipes.from_json(
        {**config.to_json(), "dataset": "digits", "epochs": 1, "num_latents": 2, "num_categories": 3}
    )


FULL = estimator_table.config_of
RESULTS = Path(__file__).parents[2] / "results"


@pytest.mark.slow
def test_chosen_rows_are_trained_once_and_stand_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(estimator_table, "config_of", small)
    monkeypatch.setitem(estimator_table.PUBLISHED, "2x3", {"gumbel_softmax": 99.5})
    folders = {"out": tmp_path / "results", "runs_folder": tmp_path / "runs"}
    estimator_table.run(only="20x2-gumbel*", **folders)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/metrics.json")}
    assert len(stamps) == 1
    paths = estimator_table.run(only="20x2-score_function-none", **folders)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    rows = json.loads(paths[0].read_text())["rows"]
    assert {row["row"] for row in rows} == {"20x2-gumbel_softmax", "20x2-score_function-none"}
    text = paths[1].read_text()
    assert "## 2x3 latents, 1 epochs" in text
    for row in rows:
        assert f"| {-row['metrics']['discrete_elbo']:.2f} |" in text

    shutil.rmtree(tmp_path / "runs" / "estimators-20x2-gumbel_softmax")
    estimator_table.run(only="20x2-score_function-none", **folders)
    assert json.loads(paths[0].read_text())["rows"] == rows  # a row whose run is gone stays
    monkeypatch.setattr(estimator_table, "config_of", lambda row: dataclasses.replace(small(row), epochs=2))
    shutil.rmtree(tmp_path / "runs")
    estimator_table.run(only="20x2-score_function-none", **folders)
    assert [row["row"] for row in json.loads(paths[0].read_text())["rows"]] == ["20x2-score_function-none"]


def test_a_table_that_cannot_be_read_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "estimators.json").write_text("[1, 2")
    with pytest.raises(InputError, match=r"estimators\.json is not a table of this experiment"):
        estimator_table.run(only="20x2-nvil", out=tmp_path, runs_folder=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_pattern_without_a_row_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no row of estimators is like '30x\*'. Known: 20x10-"):
        estimator_table.run(only="30x*", out=tmp_path, runs_folder=tmp_path)


def test_every_row_has_settings_of_a_registered_estimator_and_its_options():
    for row in estimator_table._names():
        config = FULL(row)
        assert estimators.get(config.estimator, **config.parsed_estimator_options())


def test_the_published_times_of_a_step_are_of_every_estimator_and_at_most_a_quarter_above_those_of_its_parts():
    rows = json.loads((RESULTS / "estimator_speed.json").read_text())["rows"]
    assert {row["estimator"] for row in rows} == set(estimators.REGISTRY)
    assert max(row["ratio"] for row in rows) <= 1.25


def test_annealed_rows_end_with_the_bound_itself():
    rows = [row for row in estimator_table._names() if "annealed" in row]
    for config in map(FULL, rows):
        beta = config.parsed_objective_options()["beta"]
        assert [float(beta(step)) for step in (0, 20_000, 50_000)] == [8.0, 1.0, 1.0]
        assert config.epochs == 100
    assert "1x64-enumeration-annealed-100" in rows


def test_every_published_figure_stands_beside_a_row():
    long = {
        (size, estimator_table.ESTIMATORS[name][0])
        for size, name, changes in estimator_table._names().values()
        if changes.get("epochs") == estimator_table.LONG_EPOCHS
    }
    assert {(size, name) for size, figures in estimator_table.PUBLISHED.items() for name in figures} <= long
