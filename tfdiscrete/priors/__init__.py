"""Priors p(z), from fixed to conditional, each a Keras layer that a model owns."""

import inspect

from tfdiscrete.errors import InputError, unknown_name
from tfdiscrete.priors.autoregressive import Autoregressive
from tfdiscrete.priors.base import Prior
from tfdiscrete.priors.compartmentalised import Compartmentalised
from tfdiscrete.priors.conditional import Conditional
from tfdiscrete.priors.fixed import Fixed
from tfdiscrete.priors.hierarchical import Hierarchical
from tfdiscrete.priors.learned import Learned
from tfdiscrete.priors.mixture import Mixture
from tfdiscrete.priors.vamp import VampPrior

REGISTRY: dict[str, type[Prior]] = {
    "compartmentalised": Compartmentalised,
    "conditional": Conditional,
    "fixed": Fixed,
    "hierarchical": Hierarchical,
    "learned": Learned,
    "mixture": Mixture,
    "vamp": VampPrior,
}
"""By name; not `Autoregressive`, which is trained on the codes of a finished model."""


def _needed(cls: type[Prior]) -> list[str]:
    """The settings without a default."""
    settings = inspect.signature(cls).parameters.values()
    return [each.name for each in settings if each.default is each.empty and each.kind is each.POSITIONAL_OR_KEYWORD]


BY_NAME_ALONE = tuple(name for name, cls in REGISTRY.items() if not _needed(cls))
"""The names that need no settings."""


def get(identifier: "str | Prior", **options) -> Prior:
    """Returns the prior of that name, with the given settings; a `Prior` is returned as it is.

    Raises:
        InputError: for a class or an unknown name, or where a setting is needed and not given.
    """
    if isinstance(identifier, Prior):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Prior):
        raise InputError(f"pass a prior, {identifier.__name__}(...), or its name. Received: the class itself.")
    if identifier not in REGISTRY:
        raise unknown_name("prior", identifier, REGISTRY)
    cls = REGISTRY[identifier]
    missing = [name for name in _needed(cls) if name not in options]
    if missing:
        raise InputError(
            f"the prior {identifier!r} needs {' and '.join(missing)}: give a model priors.{cls.__name__}"
            f"({', '.join(f'{name}=...' for name in missing)}) itself. Received: the name alone."
        )
    return cls(**options)


__all__ = [
    "BY_NAME_ALONE",
    "REGISTRY",
    "Autoregressive",
    "Compartmentalised",
    "Conditional",
    "Fixed",
    "Hierarchical",
    "Learned",
    "Mixture",
    "Prior",
    "VampPrior",
    "get",
]
