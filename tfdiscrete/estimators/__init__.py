"""Gradient estimators of E_{z~q}[f(z)], one a file, behind one contract (see `base`).

A new estimator is one new file and one line in `REGISTRY`; the contract suite then runs on it.
"""

from tfdiscrete.errors import InputError, unknown_name
from tfdiscrete.estimators.base import Estimate, Estimator
from tfdiscrete.estimators.enumeration import Enumeration
from tfdiscrete.estimators.gumbel_softmax import GumbelSoftmax
from tfdiscrete.estimators.score_function import ScoreFunction
from tfdiscrete.estimators.straight_through_gumbel_softmax import StraightThroughGumbelSoftmax

REGISTRY: dict[str, type[Estimator]] = {
    "enumeration": Enumeration,
    "gumbel_softmax": GumbelSoftmax,
    "score_function": ScoreFunction,
    "straight_through_gumbel_softmax": StraightThroughGumbelSoftmax,
}


def get(identifier: "str | Estimator", **options) -> Estimator:
    """Returns the estimator of that name, made with `options`; an `Estimator` is returned as it is.

    Raises:
        InputError: for a class, or for an unknown name or option; it lists the known ones and the nearest.
    """
    if isinstance(identifier, Estimator):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Estimator):
        raise InputError(f"pass an estimator, {identifier.__name__}(...), or its name. Received: the class itself.")
    if identifier not in REGISTRY:
        raise unknown_name("estimator", identifier, REGISTRY)
    known = options_of(identifier)
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {identifier}", option, known)
    return REGISTRY[identifier](**options)


def options_of(name: str) -> list[str]:
    """The names of what the estimator of that name can be given, such as `num_samples`."""
    return [key for key in REGISTRY[name]().get_config() if key not in ("trainable", "dtype")]


__all__ = [
    "REGISTRY",
    "Enumeration",
    "Estimate",
    "Estimator",
    "GumbelSoftmax",
    "ScoreFunction",
    "StraightThroughGumbelSoftmax",
    "get",
    "options_of",
]
