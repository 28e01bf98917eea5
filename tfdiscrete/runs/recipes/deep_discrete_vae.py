"""A run of a `DeepDiscreteVAE`."""

from dataclasses import dataclass

from tfdiscrete import priors
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.metrics import posterior_usage
from tfdiscrete.models import DEEP_NETWORKS, DeepDiscreteVAE, make_deep_networks
from tfdiscrete.objectives import likelihoods
from tfdiscrete.objectives.nested_elbo import NESTED_KL_CHOICES
from tfdiscrete.runs.recipes.base import setting
from tfdiscrete.runs.recipes.bounds import held_out_bounds, rows_of_bounds
from tfdiscrete.runs.recipes.latents import LatentsRecipe

_USAGE = ("active_units", "num_latents", "codes_used", "num_codes", "distinct_codes")


@dataclass(frozen=True)
class DeepDiscreteVAERecipe(LatentsRecipe):
    """A variational autoencoder with several stochastic layers, all of one family and with one kind of estimator."""

    model = "deep_discrete_vae"
    summary = "an autoencoder with several layers of discrete latent variables, each given the one below"
    pictures = {
        "reconstructions": "test images and their reconstructions",
        "samples": "images drawn from the top layer down",
    }

    networks: str = setting("linear", "those of each layer; mlp has 300 hidden units, mlp2 512 and 256", DEEP_NETWORKS)
    layers: str = setting("40,20", "latent variables of each layer, from the lowest up", parsed=True)
    prior: str = setting(
        "learned", "p(z) of the top layer; fixed is uniform, or the family's own", priors.BY_NAME_ALONE
    )
    kl: str = setting("analytic", "in closed form where there is one, or of the samples", NESTED_KL_CHOICES)

    def parsed_layers(self) -> tuple[int, ...]:
        """`layers` as numbers."""
        try:
            return tuple(check_count("a layer", int(part)) for part in self.layers.split(","))
        except ValueError as error:
            raise InputError(
                f'layers must be numbers of variables such as "40,20". Received: layers={self.layers!r}.'
            ) from error

    def make_model(self, data_shape, steps_per_epoch):
        likelihood = likelihoods.get(self.likelihood)
        family = self._make_family()
        encoders, decoders = make_deep_networks(
            self.networks,
            data_shape=tuple(data_shape),
            parameter_shape=likelihood.parameter_shape(tuple(data_shape)),
            num_latents=self.parsed_layers(),
            family=family,
            seed=self.seed,
        )
        model = DeepDiscreteVAE(
            encoders,
            decoders,
            families=family,
            estimator=self._make_estimator(),
            prior=self.prior,
            likelihood=likelihood,
            kl=self.kl,
            seed=self.seed,
            name=self.model,
        )
        self._compile(model, self.epochs * steps_per_epoch)
        return model

    def evaluate(self, model, held_out):
        outputs = model.predict(held_out.x, batch_size=500, verbose=0)
        layers = [
            posterior_usage({name: outputs[f"{name}_{number}"] for name in ("probabilities", "index")})
            for number in range(1, model.num_layers + 1)
        ]
        return {
            **held_out_bounds(model, held_out.x),
            **{name: [getattr(usage, name) for usage in layers] for name in _USAGE},
            "num_examples": len(held_out.x),
        }

    def rows(self, metrics):
        layers = zip(metrics["active_units"], metrics["num_latents"], strict=True)
        return [
            *rows_of_bounds(metrics),
            *(
                (f"active units, z{number}", f"{active} of {count}", "latent variables that depend on x")
                for number, (active, count) in enumerate(layers, 1)
            ),
        ]
