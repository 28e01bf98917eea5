"""A run of a `DiscreteVAE`."""

from dataclasses import dataclass

from tfdiscrete import families, objectives, priors
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.metrics import posterior_usage
from tfdiscrete.models import NETWORKS, DiscreteVAE, make_networks
from tfdiscrete.objectives import likelihoods
from tfdiscrete.runs.recipes.base import parse_options, setting
from tfdiscrete.runs.recipes.bounds import counted_bound, held_out_bounds, relaxed_temperature, rows_of_bounds
from tfdiscrete.runs.recipes.latents import LatentsRecipe
from tfdiscrete.training import LatentSummaries


@dataclass(frozen=True)
class DiscreteVAERecipe(LatentsRecipe):
    """A variational autoencoder of any family, estimator, prior and objective."""

    model = "discrete_vae"
    summary = "an autoencoder with discrete latent variables, trained on a bound on log p(x)"
    pictures = {
        "reconstructions": "test images and their reconstructions",
        "samples": "images drawn from the prior",
    }
    may_change = ("epochs", "prior_epochs")

    encoder: str = setting("mlp", "the networks; mlp has 300 hidden units each way, mlp2 512 and 256", NETWORKS)
    prior: str = setting("fixed", "p(z); fixed is uniform, or the family's own", priors.BY_NAME_ALONE)
    objective: str = setting("elbo", "what is minimised", objectives.REGISTRY)
    objective_options: str = setting(
        "", "of the objective, such as beta=0.5, or beta=8:1:20000: from 8 to 1 in 20,000 steps", parsed=True
    )
    kl: str = setting(
        "auto",
        "in closed form or in the estimator's cost; auto is the first that suits",
        ("auto", *objectives.KL_CHOICES),
    )
    num_latents: int = setting(20, "latent variables, N")

    prior_epochs: int = setting(
        0,
        "passes over codes of the posterior, of an autoregressive prior that takes the other's place at last; 0: none",
        check=lambda name, value: check_count(name, value, 0),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.prior_epochs and not issubclass(families.REGISTRY[self.family], families.DiscreteLatents):
            raise InputError(
                f"an autoregressive prior is one of categorical variables. Received: prior_epochs={self.prior_epochs} "
                f"with the family {self.family!r}; use 'categorical', 'bernoulli' or 'truncated_counts'."
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
            # Refuses what could not take it at last.
            objective.choose_kl("auto", priors.Autoregressive(), estimator, training=False)
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

    def evaluate(self, model, held_out):
        bounds = held_out_bounds(model, held_out.x, temperature=relaxed_temperature(model))
        return {
            **bounds,
            **counted_bound(model, held_out.x, bounds["distortion"]),
            **posterior_usage(model.predict(held_out.x, batch_size=500, verbose=0))._asdict(),
            "num_examples": len(held_out.x),
        }

    def rows(self, metrics):
        rows = [
            *rows_of_bounds(metrics),
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
