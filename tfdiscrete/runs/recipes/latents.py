"""What recipes of models with discrete latent variables share: the family, its estimator, and their settings."""

import abc
from dataclasses import dataclass

import numpy as np

from tfdiscrete import estimators, families
from tfdiscrete.errors import InputError, check_non_negative
from tfdiscrete.ops import seed_of
from tfdiscrete.runs.recipes.base import Recipe, parse_options, setting
from tfdiscrete.training import ExponentialAnnealing, ShuffledBatches
from tfdiscrete.training.pictures import reconstructions_figure, samples_figure


@dataclass(frozen=True)
class LatentsRecipe(Recipe, abc.ABC):
    """A recipe of a model whose latent variables are of a family, learned by a gradient estimator."""

    family: str = setting("categorical", "what the latent variables are", families.REGISTRY)
    family_options: str = setting("", "of the family, such as law=geometric,prior=0.25,explicit=true", parsed=True)
    estimator: str = setting(
        "auto", "how the gradient passes through the samples; auto is the family's", ("auto", *estimators.REGISTRY)
    )
    estimator_options: str = setting("", "of the estimator, such as num_samples=4,baseline=none", parsed=True)
    num_categories: int = setting(10, "categories of each, K, of families that leave the choice")
    temperature: float = setting(1.0, "at the first step, of relaxations; epsilon, of direct_arg_max")
    temperature_min: float = setting(0.1, "the annealed temperature's or epsilon's floor")
    anneal_rate: float = setting(1e-5, "either decays by exp(-rate) each step", check=check_non_negative)
    anneal_every: int = setting(1000, "steps between two updates of either")

    def __post_init__(self):
        super().__post_init__()
        if self.temperature_min > self.temperature:
            raise InputError(
                f"temperature_min must be at most temperature={self.temperature}. "
                f"Received: temperature_min={self.temperature_min}."
            )

    @property
    def estimator_name(self) -> str:
        """What "auto" stands for: a name of `estimators.REGISTRY`."""
        return self._make_family().estimator if self.estimator == "auto" else self.estimator

    def parsed_estimator_options(self) -> dict:
        """`estimator_options` as the arguments of `estimators.get`."""
        name = self.estimator_name
        return parse_options(
            "estimator_options",
            self.estimator_options,
            "num_samples=4,baseline=none",
            name,
            lambda: estimators.options_of(name),
        )

    def parsed_family_options(self) -> dict:
        """`family_options` as the arguments of `families.get`."""
        return parse_options(
            "family_options",
            self.family_options,
            "law=poisson,prior=2.0",
            self.family,
            lambda: families.options_of(self.family),
        )

    def make_batches(self, train):
        return ShuffledBatches(train.x, batch_size=self.batch_size, seed=self.seed)

    def draw(self, model, held_out):
        x = held_out.x
        # From the whole split: some test sets are sorted by class.
        shown = x[np.linspace(0, len(x) - 1, 20, dtype=int)]
        reconstruction = model.predict(shown, verbose=0)["reconstruction"]
        return {
            "reconstructions": reconstructions_figure(shown, reconstruction),
            "samples": samples_figure(model.sample(64, seed_of(self.seed, "sample")).numpy()),
        }

    def _make_family(self) -> families.Latents:
        options = self.parsed_family_options()
        if "num_categories" in families.options_of(self.family):
            options.setdefault("num_categories", self.num_categories)
        return families.get(self.family, **options)

    def _make_estimator(self) -> estimators.Estimator:
        """One that anneals its temperature or epsilon gets the schedule."""
        options = self.parsed_estimator_options()
        annealed = estimators.REGISTRY[self.estimator_name].annealed
        if annealed is not None and annealed not in options:
            options[annealed] = ExponentialAnnealing(
                self.temperature, rate=self.anneal_rate, minimum=self.temperature_min, every=self.anneal_every
            )
        return estimators.get(self.estimator_name, **options)
