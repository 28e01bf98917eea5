"""Tables and figures of the papers, each by one command: `tfdiscrete experiment NAME`, `fit-pmf`, `gradients`."""

from collections.abc import Callable

from tfdiscrete.errors import unknown_name
from tfdiscrete.experiments import binarized_mnist, estimator_table, fit_pmf, gradients, image_models

REGISTRY: dict[str, Callable] = {
    "binarized_mnist": binarized_mnist.run,
    "estimators": estimator_table.run,
    "image_models": image_models.run,
}


def get(name: str) -> Callable:
    """Returns the experiment of that name: a function of `out`, `runs_folder` and `only` that returns written paths.

    Raises:
        InputError: for an unknown name.
    """
    if name not in REGISTRY:
        raise unknown_name("experiment", name, REGISTRY)
    return REGISTRY[name]


__all__ = ["REGISTRY", "binarized_mnist", "estimator_table", "fit_pmf", "get", "gradients", "image_models"]
