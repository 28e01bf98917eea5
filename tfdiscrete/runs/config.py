"""Everything that is needed to repeat a run."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tfdiscrete import estimators, families, objectives, priors
from tfdiscrete.errors import InputError, check_count, check_name, check_positive, check_seed
from tfdiscrete.models import NETWORKS
from tfdiscrete.objectives import likelihoods
from tfdiscrete.training import data


def _option(default, help_text: str, choices=None):
    """A field with what the command line says of it."""
    return field(default=default, metadata={"help": help_text, "choices": None if choices is None else tuple(choices)})


@dataclass(frozen=True)
class RunConfig:
    """The settings of `train`; each is an option of `tfdiscrete train`, with underscores as dashes.

    Raises:
        InputError: for an unknown name or a number outside its range.
    """

    dataset: str = _option("digits", "which data set", data.NAMES)
    binarize: str = _option(
        "auto",
        "how grey pixels become bits; auto is threshold under the Bernoulli likelihood and none otherwise",
        ("auto", *data.BINARIZATIONS),
    )
    likelihood: str = _option("bernoulli", "what the decoder's output means", likelihoods.REGISTRY)
    encoder: str = _option("mlp", "the networks; mlp has 300 hidden units each way, mlp2 512 and 256", NETWORKS)
    family: str = _option("categorical", "what the latent variables are", families.REGISTRY)
    family_options: str = _option("", "of the family, such as law=geometric,prior=0.25,explicit=true")
    estimator: str = _option(
        "auto", "how the gradient passes through the samples; auto is the family's", ("auto", *estimators.REGISTRY)
    )
    estimator_options: str = _option("", "of the estimator, such as num_samples=4,baseline=none")
    prior: str = _option("fixed", "p(z); fixed is uniform, or the family's own", priors.REGISTRY)
    objective: str = _option("elbo", "what is minimised", objectives.REGISTRY)
    objective_options: str = _option("", "of the objective, such as beta=0.5")
    kl: str = _option(
        "auto",
        "in closed form or in the estimator's cost; auto is the first that suits",
        ("auto", *objectives.KL_CHOICES),
    )
    num_latents: int = _option(20, "latent variables, N")
    num_categories: int = _option(10, "categories of each, K, of categorical and invertible_gaussian")
    epochs: int = _option(300, "passes over the training data")
    batch_size: int = _option(100, "examples in a step")
    learning_rate: float = _option(1e-3, "Adam's")
    learning_rate_decay: str = _option("none", "cosine: to a hundredth, over all epochs", ("none", "cosine"))
    temperature: float = _option(1.0, "at the first step, of relaxations; epsilon, of direct_arg_max")
    temperature_min: float = _option(0.1, "the annealed temperature's or epsilon's floor")
    anneal_rate: float = _option(1e-5, "either decays by exp(-rate) each step")
    anneal_every: int = _option(1000, "steps between two updates of either")
    seed: int = _option(0, "of the weights, the order and the noise")

    def __post_init__(self):
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            if option.metadata["choices"] is not None:
                check_name(option.name, value, option.metadata["choices"])
            elif option.name == "seed":
                check_seed(value)
            elif option.name == "estimator_options":
                self.parsed_estimator_options()
            elif option.name == "family_options":
                self.parsed_family_options()
            elif option.name == "objective_options":
                self.parsed_objective_options()
            elif isinstance(option.default, int):
                check_count(option.name, value)
            elif option.name != "anneal_rate":
                check_positive(option.name, value)
        if not isinstance(self.anneal_rate, (int, float)) or not 0.0 <= self.anneal_rate < float("inf"):
            raise InputError(f"anneal_rate must be at least 0. Received: anneal_rate={self.anneal_rate!r}.")
        if self.temperature_min > self.temperature:
            raise InputError(
                f"temperature_min must be at most temperature={self.temperature}. "
                f"Received: temperature_min={self.temperature_min}."
            )
        bits = self.binarization != "none" or self.dataset == "binarized_mnist"
        if bits != (self.likelihood == "bernoulli"):
            raise InputError(
                "the Bernoulli likelihood is for bits and the others for grey values. Received: "
                f"likelihood={self.likelihood!r} with binarize={self.binarize!r} of {self.dataset}; leave binarize out."
            )

    @property
    def binarization(self) -> str:
        """What "auto" stands for: a name of `data.BINARIZATIONS`."""
        if self.binarize != "auto":
            return self.binarize
        return "threshold" if self.likelihood == "bernoulli" else "none"

    @property
    def estimator_name(self) -> str:
        """What "auto" stands for: a name of `estimators.REGISTRY`."""
        return families.REGISTRY[self.family].estimator if self.estimator == "auto" else self.estimator

    def parsed_estimator_options(self) -> dict:
        """`estimator_options` as the arguments of `estimators.get`: numbers, true and false, and names."""
        return _parsed(
            "estimator_options",
            self.estimator_options,
            "num_samples=4,baseline=none",
            self.estimator_name,
            lambda: estimators.options_of(self.estimator_name),
        )

    def parsed_family_options(self) -> dict:
        """`family_options` as the arguments of `families.get`, likewise."""
        return _parsed(
            "family_options",
            self.family_options,
            "law=poisson,prior=2.0",
            self.family,
            lambda: families.options_of(self.family),
        )

    def parsed_objective_options(self) -> dict:
        """`objective_options` as the arguments of `objectives.get`, likewise."""

        def known():
            return list(objectives.get(self.objective).get_config())

        return _parsed("objective_options", self.objective_options, "beta=0.5", self.objective, known)

    def to_json(self) -> dict:
        """A dictionary of plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, entries: dict) -> "RunConfig":
        """The inverse of `to_json`; raises `InputError` for an entry that is not a setting."""
        known = {option.name for option in dataclasses.fields(cls)}
        if unknown := set(entries) - known:
            raise InputError(f"unknown settings {sorted(unknown)} in a config. Known: {', '.join(sorted(known))}.")
        return cls(**entries)

    def __str__(self):
        return json.dumps(self.to_json())


def _parsed(setting: str, text: str, example: str, owner: str, known: Callable[[], list[str]]) -> dict:
    """The options in a text like the example."""
    options = {}
    for entry in filter(None, str(text).split(",")):
        name, equals, value = (part.strip() for part in entry.partition("="))
        if not (name and equals and value):
            raise InputError(f'{setting} must be like "{example}". Received: {setting}={text!r}.')
        check_name(f"option of {owner}", name, known())
        try:
            options[name] = json.loads(value.lower() if value in ("True", "False") else value)
        except json.JSONDecodeError:
            options[name] = value
    return options
