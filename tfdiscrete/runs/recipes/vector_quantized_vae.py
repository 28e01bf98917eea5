"""A run of a `VectorQuantizedVAE` and its prior."""

import math
from dataclasses import dataclass

import numpy as np

from tfdiscrete.errors import check_count
from tfdiscrete.models import GRID_NETWORKS, QUANTIZERS, VectorQuantizedVAE, make_grid_networks
from tfdiscrete.objectives import likelihoods
from tfdiscrete.ops import seed_of
from tfdiscrete.priors import Autoregressive
from tfdiscrete.runs.recipes.base import Recipe, nats, setting
from tfdiscrete.training import ShuffledBatches
from tfdiscrete.training.pictures import code_maps_figure, reconstructions_figure, samples_figure

_DIMENSIONS = {"finite_scalar": 3, "lookup_free": 8}


@dataclass(frozen=True)
class VectorQuantizedVAERecipe(Recipe):
    """An autoencoder whose images become maps of codes, and a Transformer over those codes that draws new ones."""

    model = "vector_quantized_vae"
    summary = "an autoencoder whose images become maps of codes, and a Transformer over the codes that draws new ones"
    pictures = {
        "reconstructions": "test images and their reconstructions",
        "codes": "test images and the maps of their codes",
        "interpolation": "from each test image to the next, a row each",
        "samples": "images drawn from the prior over the codes",
    }

    likelihood: str = setting("fixed_gaussian", "what the decoder's output means", likelihoods.REGISTRY)
    epochs: int = setting(60, "passes over the training data, of the autoencoder")
    batch_size: int = setting(64, "examples in a step")
    networks: str = setting("residual", "the networks", GRID_NETWORKS)
    channels: int = setting(64, "of their hidden layers", check=lambda name, value: check_count(name, value, 2))
    quantizer: str = setting("vector", "the codebook; plain has neither moving averages nor k-means", QUANTIZERS)
    dimension: int = setting(16, "of the vectors that are quantized, where the quantizer leaves the choice")
    prior_epochs: int = setting(
        60, "passes over the codes, of the prior; 0: no prior", check=lambda name, value: check_count(name, value, 0)
    )

    @property
    def signatures(self):
        return "encode, decode, sample" if self.prior_epochs else "encode, decode"

    def make_batches(self, train):
        return ShuffledBatches(train.x, batch_size=self.batch_size, seed=self.seed)

    def make_model(self, data_shape, steps_per_epoch):
        likelihood = likelihoods.get(self.likelihood)
        encoder, decoder = make_grid_networks(
            self.networks,
            data_shape=tuple(data_shape),
            parameter_shape=likelihood.parameter_shape(tuple(data_shape)),
            dimension=_DIMENSIONS.get(self.quantizer, self.dimension),
            channels=self.channels,
            seed=self.seed,
        )
        model = VectorQuantizedVAE(
            encoder,
            self.quantizer,
            decoder,
            likelihood=likelihood,
            prior=Autoregressive(seed=self.seed) if self.prior_epochs else None,
            seed=self.seed,
            name=self.model,
        )
        self._compile(model, self.epochs * steps_per_epoch)
        return model

    def after_fit(self, model, dataset, console):
        if self.prior_epochs:
            train, valid = (model.codes(part.x) for part in (dataset.train, dataset.valid))
            self._fit_prior(model.prior, train, valid, self.prior_epochs, console)
        return model

    def draw(self, model, held_out):
        x = held_out.x
        shown = x[np.linspace(0, len(x) - 1, 20, dtype=int)]
        outputs = model.predict(shown, verbose=0)
        between = model.interpolate(shown[:8], shown[1:9], 8).numpy().swapaxes(0, 1)
        pictures = {
            "reconstructions": reconstructions_figure(shown, outputs["reconstruction"]),
            "codes": code_maps_figure(shown, outputs["index"], outputs["reconstruction"], model.quantizer.num_codes),
            "interpolation": samples_figure(between.reshape(-1, *shown.shape[1:]), "each row: from image to image"),
        }
        if model.prior is not None and model.prior.is_trained:
            pictures["samples"] = samples_figure(model.sample(64, seed_of(self.seed, "sample")).numpy())
        return pictures

    def evaluate(self, model, held_out):
        figures = model.evaluate(held_out.x, batch_size=500, return_dict=True, verbose=0)
        rates = [
            model.rate(index).numpy()
            for index in np.array_split(model.codes(held_out.x), max(1, len(held_out.x) // 500))
        ]
        rate = float(np.concatenate(rates).mean())
        return {
            "reconstruction_error": figures["reconstruction_error"],
            "codebook_usage": figures["codebook_usage"],
            "codebook_perplexity": figures["codebook_perplexity"],
            "rate": rate,
            "rate_without_prior": math.prod(model.index_shape) * math.log(model.quantizer.num_codes),
            "distortion": figures["distortion"],
            "elbo": -(rate + figures["distortion"]),
            "num_codes": model.quantizer.num_codes,
            "num_examples": len(held_out.x),
        }

    def rows(self, metrics):
        used = f"{100 * metrics['codebook_usage']:.1f} % of {metrics['num_codes']}"
        return [
            ("reconstruction error", f"{metrics['reconstruction_error']:.5f}", "squared, mean over pixels"),
            ("codebook usage", used, "codes that some example has"),
            ("codebook perplexity", f"{metrics['codebook_perplexity']:.1f}", "exp of the codes' entropy"),
            ("rate", nats(metrics["rate"]), f"-log p(z) under the prior; {metrics['rate_without_prior']:.1f} without"),
            ("distortion", nats(metrics["distortion"]), "-log p(x|z)"),
            ("ELBO", nats(metrics["elbo"]), "a bound on log p(x), a density for Gaussian likelihoods"),
        ]
