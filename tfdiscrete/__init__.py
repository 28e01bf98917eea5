"""Discrete latent variables for TensorFlow and Keras."""

from tfdiscrete import bijectors, distributions, estimators, layers, metrics, models, objectives, ops, priors
from tfdiscrete.errors import InputError
from tfdiscrete.version import __version__

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
]
