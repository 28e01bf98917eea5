"""How a run is done, one file for each model of `tfdiscrete train --model`."""

import dataclasses
from collections.abc import Mapping

from tfdiscrete.errors import InputError, check_name
from tfdiscrete.runs.recipes.base import Recipe
from tfdiscrete.runs.recipes.deep_discrete_vae import DeepDiscreteVAERecipe
from tfdiscrete.runs.recipes.discrete_vae import DiscreteVAERecipe
from tfdiscrete.runs.recipes.semi_supervised_vae import SemiSupervisedVAERecipe
from tfdiscrete.runs.recipes.vector_quantized_vae import VectorQuantizedVAERecipe

REGISTRY: dict[str, type[Recipe]] = {
    recipe.model: recipe
    for recipe in (DiscreteVAERecipe, DeepDiscreteVAERecipe, SemiSupervisedVAERecipe, VectorQuantizedVAERecipe)
}


def from_json(entries: Mapping) -> Recipe:
    """The inverse of `Recipe.to_json`; what is not said has its default, of "model", too: "discrete_vae".

    Raises:
        InputError: for a model that does not exist, an entry that is not one of its settings, or a bad value.
    """
    settings = dict(entries)
    recipe = REGISTRY[check_name("model", settings.pop("model", DiscreteVAERecipe.model), REGISTRY)]
    known = [field.name for field in dataclasses.fields(recipe)]
    if unknown := set(settings) - set(known):
        raise InputError(
            f"unknown settings {sorted(unknown)} in a config of {recipe.model}. Known: {', '.join(sorted(known))}."
        )
    return recipe(**settings)
