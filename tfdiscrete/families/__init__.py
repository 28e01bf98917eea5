"""What the latent variables of a model are: each a layer between an encoder and a decoder."""

from tfdiscrete.errors import unknown_name
from tfdiscrete.families.base import AlikeLatents, DiscreteLatents, Latents
from tfdiscrete.families.bernoulli import Bernoulli
from tfdiscrete.families.categorical import Categorical
from tfdiscrete.families.gaussian import Gaussian
from tfdiscrete.families.invertible_gaussian import InvertibleGaussian
from tfdiscrete.families.mixed import Mixed
from tfdiscrete.families.truncated_counts import TruncatedCounts

REGISTRY: dict[str, type[Latents]] = {
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "gaussian": Gaussian,
    "invertible_gaussian": InvertibleGaussian,
    "mixed": Mixed,
    "truncated_counts": TruncatedCounts,
}


def get(identifier: "str | Latents", **options) -> Latents:
    """Returns the family of that name, with the given settings; a `Latents` is returned as it is.

    Raises:
        InputError: for an unknown name.
    """
    if isinstance(identifier, Latents):
        return identifier
    if identifier not in REGISTRY:
        raise unknown_name("family", identifier, REGISTRY)
    return REGISTRY[identifier](**options)


def options_of(name: str) -> list[str]:
    """The names of what the family of that name can be given, such as `num_categories`."""
    return [key for key in REGISTRY[name]().get_config() if key not in ("name", "trainable", "dtype")]


__all__ = [
    "REGISTRY",
    "AlikeLatents",
    "Bernoulli",
    "Categorical",
    "DiscreteLatents",
    "Gaussian",
    "InvertibleGaussian",
    "Latents",
    "Mixed",
    "TruncatedCounts",
    "get",
    "options_of",
]
