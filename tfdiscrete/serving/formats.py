"""What a format of exported models is, and how one is measured: a base class and the SavedModel itself.

A format is converted from a SavedModel, so that all of them hold the same numbers, and answers by the names of its
signatures and of their inputs.
"""

import abc
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.serving.saved_model import SignatureSpecs

Answer = Callable[[str, Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""Of a signature's name and its inputs, by name, its outputs, by name."""


_ROUNDING = 1e-3


class FormatReport(NamedTuple):
    """One format of an export."""

    name: str
    """Of the format: "saved_model", "onnx" or "litert"."""
    path: Path
    """The folder that holds it."""
    signatures: tuple[str, ...]
    """What it answers."""
    num_bytes: int
    """On disk."""
    load_seconds: float
    """To open it and get the first answer of each signature, in a process that has imported what it needs."""
    difference: float | None
    """The largest absolute difference of any output from the SavedModel's, on random inputs; None for that itself.

    At most 1e-3 of that output's largest value: a format that differs by more is refused."""


class Format(abc.ABC):
    """A format of exported models: a subclass states `name`, `title`, `packages` and `extra`."""

    name: str
    """In `formats=` and the name of its folder."""
    title: str
    """As it is written."""
    packages: tuple[str, ...] = ()
    """The modules that it needs besides TensorFlow."""
    extra: str = "export"
    """The extra of this package that installs them."""
    draws: bool = False
    """Whether it has the signatures that take a seed, too."""

    def require(self) -> None:
        """Imports what it needs; raises `InputError` where a package is missing."""
        try:
            for name in self.packages:
                importlib.import_module(name)
        except ImportError as error:
            raise InputError(f'{self.title} needs more ({error}): pip install "tfdiscrete[{self.extra}]".') from error

    def folder(self, version: Path) -> Path:
        """Where its files lie in a version's folder."""
        return version / self.name

    def choose(self, signatures: Mapping[str, SignatureSpecs], asked: Sequence[str] | None) -> list[str]:
        """The signatures to convert: those asked for, by default all that this format can have.

        Raises:
            InputError: for one asked for that draws.
        """
        names = [name for name, signature in signatures.items() if not signature.draws]
        for name in asked or ():
            if signatures[name].draws:
                raise InputError(
                    f"{name!r} draws at random, with TensorFlow's counter-based generator, which {self.title} has no "
                    f"operator for. Leave it out: the SavedModel has it, and {self.title} can have "
                    f"{', '.join(names) or 'no signature'} of this model."
                )
        return names if asked is None else [name for name in names if name in asked]

    @abc.abstractmethod
    def write(self, saved_model: Path, folder: Path, names: Sequence[str]) -> None:
        """Converts these signatures of a SavedModel into a new folder.

        Raises:
            InputError: for one with an operator that the format lacks.
        """

    @abc.abstractmethod
    def open(self, folder: Path) -> Answer:
        """What answers by the files of `write`."""


class SavedModel(Format):
    """What all others are converted from."""

    name = "saved_model"
    title = "SavedModel"
    draws = True

    def folder(self, version):
        return version

    def choose(self, signatures, asked):
        return list(signatures)

    def write(self, saved_model, folder, names):
        """It is there."""

    def open(self, folder):
        loaded = tf.saved_model.load(str(folder))

        def answer(name, inputs):
            outputs = loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})
            return {key: value.numpy() for key, value in outputs.items()}

        return answer


def refuse_operators(title: str, lacking: Mapping[str, Sequence[str]], names: Sequence[str]) -> None:
    """Raises `InputError` for signatures with operators, by name, that the format lacks; none is fine."""
    if not lacking:
        return
    found = "; ".join(f"{name!r} needs {', '.join(operators)}" for name, operators in lacking.items())
    rest = [name for name in names if name not in lacking]
    instead = f"signatures={rest} can be {title}" if rest else "no signature of this model can"
    raise InputError(
        f"{title} has no such operators (or not for these types): {found}. {instead}; all are SavedModels."
    )


def measure(
    each: Format, folder: Path, probes: Mapping[str, Mapping[str, np.ndarray]], expected: Mapping[str, Mapping] | None
) -> tuple[FormatReport, dict[str, dict[str, np.ndarray]]]:
    """Opens a format and asks it.

    Args:
        each: the format.
        folder: of its files alone.
        probes: the inputs of each of its signatures.
        expected: what the SavedModel answered; None for that itself.

    Returns:
        The report, and the answers.

    Raises:
        InputError: for an answer that is not the expected one, up to rounding.
    """
    num_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    start = time.perf_counter()
    answer = each.open(folder)
    answers = {name: answer(name, inputs) for name, inputs in probes.items()}
    seconds = time.perf_counter() - start
    difference = None
    if expected is not None:
        gaps = [_checked_gap(each.title, name, answers[name], expected[name]) for name in probes]
        difference = max(gaps, default=0.0)
    return FormatReport(each.name, folder, tuple(probes), num_bytes, seconds, difference), answers


def _checked_gap(title, name, answer, expected) -> float:
    """The largest absolute difference of a signature's outputs; raises `InputError` where it is more than rounding."""
    kinds, due = ({key: (value.dtype.name, value.shape) for key, value in each.items()} for each in (answer, expected))
    if kinds != due:
        raise InputError(
            f"the conversion of {name!r} to {title} went wrong: it returns {kinds}, the SavedModel {due}. Leave "
            f"{title} or this signature out."
        )
    gaps = {key: _gap(answer[key], value) for key, value in expected.items()}
    for key, gap in gaps.items():
        if gap > _ROUNDING * (_scale(expected[key]) + _ROUNDING):
            raise InputError(
                f"the conversion of {name!r} to {title} went wrong: on random inputs its {key!r} differs from the "
                f"SavedModel's by {gap:.3g}, of values up to {_scale(expected[key]):.3g}. Equal codes, of a quantizer "
                f"before training, may do that; else leave {title} or this signature out."
            )
    return max(gaps.values(), default=0.0)


def _gap(ours, theirs) -> float:
    """Infinite where one is NaN or infinite and the other is not the same."""
    ours, theirs = ours.astype(np.float64), theirs.astype(np.float64)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        gap = np.where(same, 0.0, np.abs(ours - theirs))
    return float(np.nan_to_num(gap, nan=np.inf, posinf=np.inf).max(initial=0.0))


def _scale(values) -> float:
    values = values.astype(np.float64)
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
