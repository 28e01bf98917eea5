import dataclasses
import json

import pytest

from tfdiscrete import cli, experiments
from tfdiscrete.errors import InputError
from tfdiscrete.experiments import binarized_mnist, rows
from tfdiscrete.runs import DiscreteVAERecipe, train


@pytest.mark.slow
def test_the_table_is_made_from_finished_runs_and_continues_others(tmp_path, monkeypatch):
    def small(row):
        return DiscreteVAERecipe(epochs=1, num_latents=2, num_categories=3, **binarized_mnist.SETTINGS[row])

    monkeypatch.setattr(binarized_mnist, "config_of", small)
    paths = binarized_mnist.run(out=tmp_path / "results", runs_folder=tmp_path / "runs")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/metrics.json")}
    assert binarized_mnist.run(out=tmp_path / "results", runs_folder=tmp_path / "runs") == paths
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    made = json.loads(paths[0].read_text())["rows"]
    assert [row["row"] for row in made] == list(binarized_mnist.SETTINGS)
    table = paths[1].read_text()
    for row in made:
        assert f"| {-row['metrics']['discrete_elbo']:.2f} |" in table
    assert "105.36" in table
    assert "103.62" in table


@pytest.mark.slow
def test_a_run_with_other_settings_does_not_get_into_the_table(tmp_path):
    name = next(iter(binarized_mnist.SETTINGS))
    train({"epochs": 1, "num_latents": 2, "num_categories": 2}, tmp_path / f"binarized_mnist-{name}")
    with pytest.raises(InputError, match="other settings than this table's"):
        binarized_mnist.run(out=tmp_path / "results", runs_folder=tmp_path)
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("row", binarized_mnist.SETTINGS)
def test_the_command_beside_a_row_gives_its_config(row):
    config = binarized_mnist.config_of(row)
    command = rows.command(config.to_json())
    parsed = vars(cli.make_parser(["train"]).parse_args(command.split()[1:]))
    given = {field.name: parsed[field.name] for field in dataclasses.fields(DiscreteVAERecipe) if field.name in parsed}
    assert DiscreteVAERecipe(**given) == config


def test_an_unknown_experiment_is_refused():
    with pytest.raises(InputError, match="unknown experiment 'mnist'"):
        experiments.get("mnist")
