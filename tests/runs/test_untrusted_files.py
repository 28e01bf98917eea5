"""Files of strangers: no code in them is run, and whatever they hold is refused in one line."""

import contextlib
import dataclasses
import json
import zipfile

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfdiscrete import runs
from tfdiscrete.errors import InputError
from tfdiscrete.runs import recipes

FIELDS = sorted({field.name for recipe in recipes.REGISTRY.values() for field in dataclasses.fields(recipe)})
MODELS = st.sampled_from(sorted(recipes.REGISTRY))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(list(recipes.REGISTRY)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def run_with(path, content):
    """A run's folder whose model is another file."""
    folder = runs.RunFolder(path)
    path.mkdir()
    folder.write_recipe(runs.DiscreteVAERecipe())
    folder.write_metrics({})
    content(folder.model)
    return folder


def test_a_model_with_code_in_it_is_refused(tmp_path):
    layer = keras.layers.Lambda(lambda x: x + 1.0)
    folder = run_with(tmp_path / "run", keras.Sequential([keras.Input((2,)), layer]).save)
    with pytest.raises(InputError, match=r"model.keras cannot be read .*[Ll]ambda"):
        folder.load_model()


@pytest.mark.parametrize(
    "config",
    [
        {"module": "os", "class_name": "system", "config": "touch MARK"},
        {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "MARK"]}},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": ["4wEA", None, None]}},
    ],
)
def test_a_model_that_names_other_code_is_refused_and_nothing_is_run(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = tmp_path / "good.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(good)

    def write(path):
        with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                data = json.dumps(config) if name == "config.json" else source.read(name)
                target.writestr(name, data)

    folder = run_with(tmp_path / "run", write)
    with pytest.raises(InputError, match=r"model.keras cannot be read"):
        folder.load_model()
    assert not (tmp_path / "MARK").exists()


def test_a_model_whose_archive_leaves_its_folder_writes_nothing_outside(tmp_path):
    good = tmp_path / "good.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(good)

    def write(path):
        path.write_bytes(good.read_bytes())
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("../../escaped", "x")

    folder = run_with(tmp_path / "run", write)
    with pytest.warns(UserWarning, match="Skipping invalid path"):
        folder.load_model()
    assert not list(tmp_path.parent.rglob("escaped"))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(["model", "summary", *FIELDS]) | st.text(max_size=10), VALUES, max_size=4))
def test_any_config_is_a_recipe_or_refused(entries):
    with contextlib.suppress(InputError):
        recipe = recipes.from_json(entries)
        assert recipes.from_json(recipe.to_json()) == recipe


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_any_config_file_is_read_or_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("run")
    (path / "config.json").write_bytes(data)
    folder = runs.RunFolder(path)
    assert folder.is_run in (True, False)
    with pytest.raises(InputError):
        folder.require_finished()
