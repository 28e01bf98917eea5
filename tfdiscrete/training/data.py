"""Data sets by name.

`load(name)` looks for `NAME.npz` in the folder that the environment variable TFDISCRETE_DATA names, then in the Keras
cache (`~/.keras/datasets`), where its SHA-256 is checked, then downloads it from the places, and with the checks, of
`keras.datasets`.

    digits            1,797 8x8 grey digits that come with scikit-learn: always there. Alpaydin, Kaynak (1998).
    mnist             70,000 28x28 grey digits. LeCun, Cortes, Burges.
    binarized_mnist   its static binarization. Salakhutdinov, Murray (2008), as distributed by Larochelle.
    fashion_mnist     70,000 28x28 grey articles of clothing. Xiao, Rasul, Vollgraf (2017), arXiv 1708.07747.
    omniglot          32,460 28x28 grey characters. Lake, Salakhutdinov, Tenenbaum (2015).
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from tfdiscrete.errors import InputError, check_name, unknown_name

ENVIRONMENT_VARIABLE = "TFDISCRETE_DATA"


class Split(NamedTuple):
    """Images and their classes."""

    x: np.ndarray
    """`[n, H, W]`, float32 in [0, 1], ink = 1."""
    y: np.ndarray | None
    """`[n]`, integers, or None where the set has no classes."""


class Dataset(NamedTuple):
    """A data set in three parts."""

    name: str
    train: Split
    valid: Split
    test: Split


BINARIZATIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "none": lambda x, rng: x,
    "threshold": lambda x, rng: (x > 0.5).astype(np.float32),
    "sample": lambda x, rng: (rng.random(x.shape, np.float32) < x).astype(np.float32),
}


def load(name: str, *, binarize: str = "none", seed: int = 0) -> Dataset:
    """Loads a data set, split into training, validation and test parts.

    Args:
        name: "digits" (1,297 / 250 / 250), "mnist", "binarized_mnist" and "fashion_mnist" (50,000 / 10,000 / 10,000),
            or "omniglot" (23,000 / 1,345 / 8,070).
        binarize: "none"; "threshold", pixels above one half are 1; or "sample", each pixel drawn once with its grey
            value as the probability.
        seed: of "sample".

    Returns:
        A `Dataset`.

    Raises:
        InputError: for an unknown name or binarization, a file that cannot be had, or one that is damaged.
    """
    if name not in _LOADERS:
        raise unknown_name("dataset", name, _LOADERS)
    transform = BINARIZATIONS[check_name("binarization", binarize, BINARIZATIONS)]
    rng = np.random.default_rng(seed)
    parts = (Split(transform(split.x, rng), split.y) for split in _LOADERS[name]())
    return Dataset(name, *parts)


# Where files come from.

_SHA256 = {
    "mnist": {
        "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64",
        "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    },
    "binarized_mnist": {"260a39aab5a3e1b446b42ec50358e0853a1d2d85e490fde66c509aed64937199"},
    "fashion_mnist": {"188c9226d11c4e8197a3b7023823024706d588e520b87c80c2247efcd134b714"},
    "omniglot": {"3e1b5946c1850a8528a08755f0dc86b32c5f71cc94bec15899bf11a47755f857"},
}


def _find(name: str) -> dict[str, np.ndarray] | None:
    """The arrays of `NAME.npz` from the data folder or the Keras cache, or None where there is no such file."""
    folders = [_cache_folder()]
    if os.environ.get(ENVIRONMENT_VARIABLE):
        folders.insert(0, Path(os.environ[ENVIRONMENT_VARIABLE]))
        if not folders[0].is_dir():
            raise InputError(f"{ENVIRONMENT_VARIABLE} names {folders[0]}, which is no folder.")
    for folder in folders:
        path = folder / f"{name}.npz"
        if path.is_file():
            return _read(path, name)
    return None


def _read(path: Path, name: str) -> dict[str, np.ndarray]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest not in _SHA256[name]:
        raise InputError(
            f"{path} is damaged or is not the known {name} file: its SHA-256 is {digest}, expected one of "
            f"{', '.join(sorted(_SHA256[name]))}. Remove or replace it."
        )
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _cannot_be_had(name: str, reason: object) -> InputError:
    text = str(reason).splitlines()[0] if str(reason) else type(reason).__name__
    return InputError(
        f"the dataset {name!r} is not on this machine and could not be downloaded ({text}). Put {name}.npz into a "
        f"folder and set {ENVIRONMENT_VARIABLE} to it, or use the embedded dataset 'digits'."
    )


def _cache_folder() -> Path:
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets"


# One loader a set: train, valid, test.

Splits = tuple[Split, Split, Split]


def _digits() -> Splits:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (digits.images / 16.0).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    parts = np.split(order, [1297, 1547])
    train, valid, test = (Split(x[rows], digits.target[rows]) for rows in parts)
    return train, valid, test


def _grey_digits(name: str, download: Callable) -> Splits:
    arrays = _find(name)
    if arrays is None:
        try:
            (x_train, y_train), (x_test, y_test) = download()
        except Exception as error:
            raise _cannot_be_had(name, error) from error
    else:
        x_train, y_train, x_test, y_test = (arrays[key] for key in ("x_train", "y_train", "x_test", "y_test"))
    x_train, x_test = (x.astype(np.float32) / 255.0 for x in (x_train, x_test))
    return Split(x_train[:50_000], y_train[:50_000]), Split(x_train[50_000:], y_train[50_000:]), Split(x_test, y_test)


def _mnist() -> Splits:
    return _grey_digits("mnist", keras.datasets.mnist.load_data)


def _fashion_mnist() -> Splits:
    return _grey_digits("fashion_mnist", keras.datasets.fashion_mnist.load_data)


_LAROCHELLE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist_{}.amat"
_LAROCHELLE_MD5 = {
    "train": "db28b1a6ae0fe70cbd3da91acf46e477",
    "valid": "bf37822a04e94123630de6a7dfd9c9ef",
    "test": "14e41ae11040adba6ab8cb291eda0dd8",
}


def _binarized_mnist() -> Splits:
    arrays = _find("binarized_mnist")
    if arrays is None:
        splits = [Split(_larochelle(part), None) for part in ("train", "valid", "test")]
    else:
        bits = (np.unpackbits(arrays[f"x_{part}"], axis=1, count=784) for part in ("train", "valid", "test"))
        labels = (arrays[f"y_{part}"] for part in ("train", "valid", "test"))
        splits = [Split(b.reshape(-1, 28, 28).astype(np.float32), y) for b, y in zip(bits, labels, strict=True)]
    train, valid, test = splits
    return train, valid, test


def _larochelle(part: str) -> np.ndarray:
    """Downloads one of the original text files, rows of 784 zeros and ones."""
    try:
        path = keras.utils.get_file(
            f"binarized_mnist_{part}.amat",
            _LAROCHELLE.format(part),
            file_hash=_LAROCHELLE_MD5[part],
            hash_algorithm="md5",
            cache_subdir="datasets",
        )
    except Exception as error:
        raise _cannot_be_had("binarized_mnist", error) from error
    text = np.frombuffer(Path(path).read_bytes(), np.uint8)
    digits = text[(text == ord("0")) | (text == ord("1"))] - ord("0")
    return digits.reshape(-1, 28, 28).astype(np.float32)


def _omniglot() -> Splits:
    arrays = _find("omniglot")
    if arrays is None:
        raise _cannot_be_had("omniglot", "no public copy of the 28x28 set has a stable address")
    x_train, x_test = (arrays[key].astype(np.float32) / 255.0 for key in ("x_train", "x_test"))
    # Rows are ordered by class: shuffle, then take the last 1,345 for validation, as many as the split's source does.
    order = np.random.default_rng(0).permutation(len(x_train))
    train, valid = order[:-1345], order[-1345:]
    y = arrays["y_train"]
    return Split(x_train[train], y[train]), Split(x_train[valid], y[valid]), Split(x_test, arrays["y_test"])


_LOADERS: dict[str, Callable[[], Splits]] = {
    "digits": _digits,
    "mnist": _mnist,
    "binarized_mnist": _binarized_mnist,
    "fashion_mnist": _fashion_mnist,
    "omniglot": _omniglot,
}
NAMES = tuple(_LOADERS)
