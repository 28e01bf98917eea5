"""A run of a `DiscreteVAE`."""

from dataclasses import dataclass

import numpy as np

from tfdiscrete import estimators, families, objectives, priors
from tfdiscrete.errors import InputError, check_count, check_non_negative
from tfdiscrete.models import NETWORKS, DiscreteVAE, make_networks
from tfdiscrete.objectives import likelihoods
from tfdiscrete.ops import seed_of
from tfdiscrete.runs.recipes.base import Recipe, nats, parse_options, setting
from tfdiscrete.runs.recipes.bounds import evaluate_model
from tfdiscrete.training import ExponentialAnnealing, LatentSummaries, ShuffledBatches
from tfdiscrete.training.pictures import reconstructions_figure, samples_figure


@dataclass(frozen=True)
class DiscreteVAERecipe(Recipe):
    """A variational autoencoder of any family, estimator, prior and objective."""

    model = "discrete_vae"
    summary = "an autoencoder with discrete latent variables, trained on a bound on log p(x)"
    pictures = {
        "reconstructions": "test images and their reconstructions",
        "samples": "images drawn from the prior",
    }
    may_change = ("epochs", "prior_epochs")

    encoder: str = setting("mlp", "the networks; mlp has 300 hidden units each way, mlp2 512 and 256", NETWORKS)
    family: str = setting("categorical", "what the latent variables are", families.REGISTRY)
    family_options: str = setting("", "of the family, such as law=geometric,prior=0.25,explicit=true", parsed=True)
    estimator: str = setting(
        "auto", "how the gradient passes through the samples; auto is the family's", ("auto", *estimators.REGISTRY)
    )
    estimator_options: str = setting("", "of the estimator, such as num_samples=4,baseline=none", parsed=True)
    prior: str = setting("fixed", "p(z); fixed is uniform, or the family's own", priors.REGISTRY)
    objective: str = setting("elbo", "what is minimised", objectives.REGISTRY)
    objective_options: str = setting("", "of the objective, such as beta=0.5", parsed=True)
    kl: str = setting(
        "auto",
        "in closed form or in the estimator's cost; auto is the first that suits",
        ("auto", *objectives.KL_CHOICES),
    )
    num_latents: int = setting(20, "latent variables, N")
    num_categories: int = setting(10, "categories of each, K, of families that leave the choice")
    temperature: float = setting(1.0, "at the first step, of relaxations; epsilon, of direct_arg_max")
    temperature_min: float = setting(0.1, "the annealed temperature's or epsilon's floor")
    anneal_rate: float = setting(1e-5, "either decays by exp(-rate) each step", check=check_non_negative)
    anneal_every: int = setting(1000, "steps between two updates of either")

    prior_epochs: int = setting(
        0,
        "passes over codes of the posterior, of an autoregressive prior that takes the other's place at last; 0: none",
        check=lambda name, value: check_count(name, value, 0),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.temperature_min > self.temperature:
            raise InputError(
                f"temperature_min must be at most temperature={self.temperature}. "
                f"Received: temperature_min={self.temperature_min}."
            )
        if self.prior_epochs and not issubclass(families.REGISTRY[self.family], families.DiscreteLatents):
            raise InputError(
                f"an autoregressive prior is one of categorical variables. Received: prior_epochs={self.prior_epochs} "
                f"with the family {self.family!r}; use 'categorical', 'bernoulli' or 'truncated_counts'."
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

    def parsed_objective_options(self) -> dict:
        """`objective_options` as the arguments of `objectives.get`."""
        return parse_options(
            "objective_options",
            self.objective_options,
            "beta=0.5",
            self.objective,
            lambda: list(objectives.get(self.objective).get_config()),
        )

    def make_batches(self, train):
        return ShuffledBatches(train.x, batch_size=self.batch_size, seed=self.seed)

    def make_model(self, data_shape, steps_per_epoch):
        likelihood = likelihoods.get(self.likelihood)
        family = self._make_family()
        encoder, decoder = make_networks(
            self.encoder,
            data_shape=tuple(data_shape),
            parameter_shape=likelihood.parameter_shape(tuple(data_shape)),
            num_latents=self.num_latents,
            family=family,
            seed=self.seed,
        )
        estimator = self._make_estimator()
        objective = objectives.get(self.objective, **self.parsed_objective_options())
        if self.prior_epochs:
            objective.choose_kl("auto", priors.Autoregressive(), estimator)  # refuses what could not take it at last
        model = DiscreteVAE(
            encoder,
            decoder,
            family=family,
            estimator=estimator,
            prior=self.prior,
            likelihood=likelihood,
            objective=objective,
            kl=self.kl,
            seed=self.seed,
            name=self.model,
        )
        self._compile(model, self.epochs * steps_per_epoch)
        return model

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

    def callbacks(self, folder, held_out):
        return [LatentSummaries(folder, held_out.x, every=self.epochs // 10)]

    def after_fit(self, model, dataset, console):
        if not self.prior_epochs:
            return model
        prior = priors.Autoregressive(seed=self.seed)
        prior.build(model.family)
        train, valid = (model.posterior_logits(part.x) for part in (dataset.train, dataset.valid))
        self._fit_prior(prior, train, valid, self.prior_epochs, console)
        return model.with_prior(prior)

    def draw(self, model, held_out):
        x = held_out.x
        # From the whole split: some test sets are sorted by class.
        shown = x[np.linspace(0, len(x) - 1, 20, dtype=int)]
        reconstruction = model.predict(shown, verbose=0)["reconstruction"]
        return {
            "reconstructions": reconstructions_figure(shown, reconstruction),
            "samples": samples_figure(model.sample(64, seed_of(self.seed, "sample")).numpy()),
        }

    def evaluate(self, model, held_out):
        return evaluate_model(model, held_out.x)

    def rows(self, metrics):
        relaxed = metrics["relaxed_elbo"]
        stderr = metrics["iwae_100_stderr"]
        rows = [
            ("discrete ELBO", nats(metrics["discrete_elbo"]), "hard samples: a bound on log p(x)"),
            ("relaxed ELBO", "-" if relaxed is None else nats(relaxed), "relaxed samples: not a bound"),
            (
                "IWAE-100",
                nats(metrics["iwae_100"]) + ("" if stderr is None else f" ± {stderr:.2f}"),
                "the tightest bound on log p(x) here, ± its standard error",
            ),
            ("rate", nats(metrics["rate"]), "KL(q(z|x) || p(z))"),
            ("distortion", nats(metrics["distortion"]), "-E log p(x|z)"),
            (
                "active units",
                f"{metrics['active_units']} of {metrics['num_latents']}",
                "latent variables that depend on x",
            ),
        ]
        if metrics["num_codes"] is None:
            return rows
        used = f"{metrics['codes_used']} of {metrics['num_codes']}"
        return [
            *rows,
            ("codes used", used, "categories of active variables that are some x's likeliest"),
            (
                "distinct codes",
                f"{metrics['distinct_codes']}",
                f"different codes for {metrics['num_examples']} examples",
            ),
        ]
