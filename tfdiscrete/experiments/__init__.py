"""Tables and figures of the papers, each by one command: `tfdiscrete experiment NAME`, `tfdiscrete fit-pmf`."""

from collections.abc import Callable

from tfdiscrete.errors import unknown_name
from tfdiscrete.experiments import binarized_mnist, fit_pmf

REGISTRY: dict[str, Callable] = {"binarized_mnist": binarized_mnist.run}


def get(name: str) -> Callable:
    """Returns the experiment of that name: a function of `out` and `runs_folder` that returns the written paths.

    Raises:
        InputError: for an unknown name.
    """
    if name not in REGISTRY:
        raise unknown_name("experiment", name, REGISTRY)
    return REGISTRY[name]


__all__ = ["REGISTRY", "binarized_mnist", "fit_pmf", "get"]
