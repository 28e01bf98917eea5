import hashlib
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfdiscrete.errors import InputError
from tfdiscrete.training import data

SIZES = {
    "digits": (1297, 250, 250),
    "mnist": (50_000, 10_000, 10_000),
    "binarized_mnist": (50_000, 10_000, 10_000),
    "fashion_mnist": (50_000, 10_000, 10_000),
    "omniglot": (23_000, 1_345, 8_070),
}


def is_here(name):
    return name == "digits" or (Path(os.environ.get(data.ENVIRONMENT_VARIABLE, "/none")) / f"{name}.npz").is_file()


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No data folder, an empty cache, and no network."""
    monkeypatch.delenv(data.ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", refuse)
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", refuse)
    monkeypatch.setattr(keras.utils, "get_file", refuse)
    return tmp_path


@pytest.mark.parametrize("name", data.NAMES)
def test_every_set_has_its_sizes_and_lies_in_the_unit_interval(name):
    if not is_here(name):
        pytest.skip(f"{name}.npz is not in the folder that {data.ENVIRONMENT_VARIABLE} names")
    loaded = data.load(name)
    assert tuple(len(split.x) for split in loaded[1:]) == SIZES[name]
    for split in loaded[1:]:
        assert split.x.dtype == np.float32
        assert split.x.min() == 0.0
        assert split.x.max() == 1.0
        assert len(split.y) == len(split.x)


def test_digits_are_those_of_scikit_learn_each_in_one_part():
    loaded = data.load("digits")
    ours = np.concatenate([split.x for split in loaded[1:]]).reshape(-1, 64)
    theirs = (load_digits().data / 16).astype(np.float32)
    np.testing.assert_array_equal(np.unique(ours, axis=0), np.unique(theirs, axis=0))
    assert len(ours) == len(theirs) == 1797
    assert set(loaded.test.y) == set(range(10))


def test_threshold_is_a_comparison_with_one_half():
    grey, bits = data.load("digits").test.x, data.load("digits", binarize="threshold").test.x
    np.testing.assert_array_equal(bits, (grey > 0.5).astype(np.float32))


def test_sampled_bits_follow_the_grey_values_and_the_seed():
    grey = data.load("digits").train.x
    draws = [data.load("digits", binarize="sample", seed=seed).train.x for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()
    standard_error = np.sqrt((grey * (1 - grey)).sum())
    assert abs(draws[0].sum() - grey.sum()) < 4 * standard_error
    assert set(np.unique(draws[0])) == {0.0, 1.0}


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(InputError, match=r"unknown dataset 'minst'. Did you mean 'mnist'\? Known: .*omniglot"):
        data.load("minst")


@pytest.mark.parametrize("name", [name for name in data.NAMES if name != "digits"])
def test_a_set_that_cannot_be_had_says_where_to_put_it(nowhere, name):
    with pytest.raises(InputError, match=rf"could not be downloaded .* Put {name}.npz .* TFDISCRETE_DATA"):
        data.load(name)


@pytest.mark.parametrize("content", [b"", b"PK not a zip"])
def test_a_damaged_file_is_named_with_its_checksum(nowhere, monkeypatch, content):
    monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(nowhere))
    (nowhere / "mnist.npz").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(
        InputError, match=f"mnist.npz is damaged or is not the known mnist file: its SHA-256 is {digest}"
    ):
        data.load("mnist")


def test_the_data_folder_comes_before_the_cache(nowhere, monkeypatch):
    arrays = {
        "x_train": np.full((60_000, 28, 28), 255, np.uint8),
        "y_train": np.zeros(60_000, np.uint8),
        "x_test": np.zeros((10_000, 28, 28), np.uint8),
        "y_test": np.zeros(10_000, np.uint8),
    }
    np.savez(nowhere / "mnist.npz", **arrays)
    digest = hashlib.sha256((nowhere / "mnist.npz").read_bytes()).hexdigest()
    monkeypatch.setitem(data._SHA256, "mnist", {digest})
    monkeypatch.setenv(data.ENVIRONMENT_VARIABLE, str(nowhere))
    cache = nowhere / "keras" / "datasets"
    cache.mkdir(parents=True)
    (cache / "mnist.npz").write_bytes(b"damaged, and not read")
    assert data.load("mnist").train.x.min() == 1.0


def test_the_original_text_files_of_binarized_mnist_are_read(nowhere, monkeypatch):
    bits = np.random.default_rng(0).integers(0, 2, (3, 784))

    def deliver(name, origin, **options):
        path = nowhere / name
        path.write_text("".join(" ".join(map(str, row)) + " \n" for row in bits))
        return path

    monkeypatch.setattr(keras.utils, "get_file", deliver)
    np.testing.assert_array_equal(data.load("binarized_mnist").valid.x.reshape(3, 784), bits)
