"""Priors p(z), from fixed to learned, each a Keras layer that a model owns."""

from tfdiscrete.errors import unknown_name
from tfdiscrete.priors.base import Prior
from tfdiscrete.priors.fixed import Fixed
from tfdiscrete.priors.learned import Learned

REGISTRY: dict[str, type[Prior]] = {"fixed": Fixed, "learned": Learned}


def get(identifier: "str | Prior") -> Prior:
    """Returns the prior of that name; a `Prior` is returned as it is.

    Raises:
        InputError: for an unknown name.
    """
    if isinstance(identifier, Prior):
        return identifier
    if identifier not in REGISTRY:
        raise unknown_name("prior", identifier, REGISTRY)
    return REGISTRY[identifier]()


__all__ = ["REGISTRY", "Fixed", "Learned", "Prior", "get"]
