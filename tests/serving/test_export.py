"""Exports, loaded as a stranger would: in a fresh process that never imports this package."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.serving import export, export_saved_model

STRANGER = """
import sys
import numpy as np, tensorflow as tf
folder, x, out = sys.argv[1:]
model = tf.saved_model.load(folder)
assert not any(name.split(".")[0] == "tfdiscrete" for name in sys.modules), "the package was imported"
encode = model.signatures["encode"](x=tf.constant(np.load(x)))
decode = model.signatures["decode"](code=encode["code"])
sample = [model.signatures["sample"](seed=tf.constant(s), n=tf.constant(n))["samples"] for s, n in
          (([1, 2], 3), ([1, 2], 3), ([1, 3], 3), ([1, 2], 0))]
np.savez(out, **encode, **decode, **{f"sample{i}": s for i, s in enumerate(sample)})
"""


@pytest.fixture(scope="module")
def model():
    networks = make_networks("mlp", data_shape=(4, 4), parameter_shape=(4, 4), num_latents=3, num_categories=5, seed=1)
    return DiscreteVAE(*networks, seed=0)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return export_saved_model(model, tmp_path_factory.mktemp("models") / "vae")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).random((7, 4, 4)).astype(np.float32)


def test_a_process_without_this_package_gets_the_models_numbers(model, folder, x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    # -P and an empty start folder keep the checkout off the path; an installed package would still be unused.
    command = [sys.executable, "-P", "-c", STRANGER, str(folder), str(tmp_path / "x.npy"), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
    theirs = np.load(tmp_path / "out.npz")
    ours = model.predict(x, verbose=0)
    for name in ("probabilities", "code", "index", "reconstruction"):
        np.testing.assert_allclose(theirs[name], ours[name], rtol=1e-5, atol=1e-6)
    assert theirs["sample0"].shape == (3, 4, 4)
    np.testing.assert_array_equal(theirs["sample0"], theirs["sample1"])
    assert (theirs["sample0"] != theirs["sample2"]).any()
    assert theirs["sample3"].shape == (0, 4, 4)


def test_the_signatures_are_those_of_the_documentation(folder):
    signatures = tf.saved_model.load(str(folder)).signatures
    assert set(signatures) == {"serving_default", "encode", "decode", "sample"}
    for name in ("serving_default", "encode"):
        inputs = signatures[name].structured_input_signature[1]
        assert {key: spec.shape.as_list() for key, spec in inputs.items()} == {"x": [None, 4, 4]}
        outputs = {key: spec.shape.as_list() for key, spec in signatures[name].structured_outputs.items()}
        assert outputs == {"probabilities": [None, 3, 5], "code": [None, 3, 5], "index": [None, 3]}


def test_the_command_line_tool_of_tensorflow_runs_it(model, folder, x, tmp_path):
    np.save(tmp_path / "x.npy", x)
    tool = Path(sys.executable).parent / "saved_model_cli"
    arguments = ["run", "--dir", folder, "--tag_set", "serve", "--signature_def", "serving_default"]
    files = ["--inputs", f"x={tmp_path / 'x.npy'}", "--outdir", tmp_path]
    subprocess.run([tool, *map(str, arguments + files)], check=True, capture_output=True, text=True)
    np.testing.assert_array_equal(np.load(tmp_path / "index.npy"), model.predict(x, verbose=0)["index"])


@pytest.mark.slow
def test_the_command_line_tool_of_tensorflow_shows_it(folder):
    tool = Path(sys.executable).parent / "saved_model_cli"
    ran = subprocess.run([tool, "show", "--dir", folder, "--all"], check=True, capture_output=True, text=True)
    for name in ("serving_default", "encode", "decode", "sample"):
        assert f"signature_def['{name}']" in ran.stdout
    assert ran.stdout.count("Method name is: tensorflow/serving/predict") == 4
    assert re.search(r"inputs\['seed'\] tensor_info:\s+dtype: DT_INT32\s+shape: \(2\)", ran.stdout)


def test_versions_count_up_and_none_is_replaced(model, tmp_path):
    assert export_saved_model(model, tmp_path).name == "1"
    assert export_saved_model(model, tmp_path).name == "2"
    assert export_saved_model(model, tmp_path, version=7).name == "7"
    with pytest.raises(InputError, match="exists. Give another version"):
        export_saved_model(model, tmp_path, version=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "7"]


def test_exports_at_the_same_time_do_not_mix(model, tmp_path, monkeypatch):
    """Another one begins and ends in the middle of each."""
    check = export.check_portable

    def check_after_another(folder):
        with monkeypatch.context() as once:
            once.setattr(export, "check_portable", check)
            export_saved_model(model, tmp_path, version=other)
        check(folder)

    with monkeypatch.context() as patched:
        patched.setattr(export, "check_portable", check_after_another)
        other = None
        assert export_saved_model(model, tmp_path).name == "2"
        other = 9
        with pytest.raises(InputError, match="9 exists. Give another version"):
            export_saved_model(model, tmp_path, version=9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "9"]
    for path in tmp_path.iterdir():
        assert "encode" in tf.saved_model.load(str(path)).signatures


def test_names_of_other_digits_are_no_versions(model, tmp_path):
    (tmp_path / "²").mkdir()
    (tmp_path / "٣").mkdir()
    assert export_saved_model(model, tmp_path).name == "1"


def test_an_export_that_fails_half_way_leaves_no_version(model, tmp_path, monkeypatch):
    class FullDisk:
        def write_out(self, path, verbose):
            assert Path(path).is_dir()
            (Path(path) / "saved_model.pb").write_bytes(b"half")
            raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr("tfdiscrete.serving.export._archive", lambda model: FullDisk())
        with pytest.raises(OSError, match="disk full"):
            export_saved_model(model, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert tf.saved_model.contains_saved_model(str(export_saved_model(model, tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
