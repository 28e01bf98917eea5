"""Discrete latent variables for TensorFlow and Keras.

`import tfdiscrete` imports every part with a Keras class, so that `keras.saving.load_model` finds them all. Only the
command line, which must answer `--help` at once, imports each part when it is first used.
"""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tfdiscrete.errors import InputError
from tfdiscrete.version import __version__

_PARTS = (
    "bijectors",
    "distributions",
    "estimators",
    "experiments",
    "layers",
    "metrics",
    "models",
    "objectives",
    "ops",
    "priors",
    "runs",
    "serving",
    "training",
)
_ON_THE_COMMAND_LINE = Path(sys.argv[0]).stem in ("tfdiscrete", "-m")

if TYPE_CHECKING or not _ON_THE_COMMAND_LINE:
    from tfdiscrete import (
        bijectors,
        distributions,
        estimators,
        layers,
        metrics,
        models,
        objectives,
        ops,
        priors,
        training,
    )


def __getattr__(name: str):
    if name in _PARTS:
        return importlib.import_module(f"tfdiscrete.{name}")
    raise AttributeError(f"module 'tfdiscrete' has no attribute {name!r}")


__all__ = [
    "InputError",
    "__version__",
    "bijectors",
    "distributions",
    "estimators",
    "layers",
    "metrics",
    "models",
    "objectives",
    "ops",
    "priors",
    "training",
]
