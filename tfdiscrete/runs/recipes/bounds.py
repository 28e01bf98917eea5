"""Bounds of a trained `DiscreteVAE` on held-out data, and how its latent variables are used."""

import numpy as np
import tensorflow as tf

from tfdiscrete.metrics import posterior_usage
from tfdiscrete.models import DiscreteVAE
from tfdiscrete.ops import fold_in, seed_of, split_seed

IMPORTANCE_SAMPLES = 100
RELAXED_SAMPLES = 10


def evaluate_model(model: DiscreteVAE, x: np.ndarray, *, seed: int = 0, batch_size: int = 50) -> dict:
    """Bounds in nats per example, and how the latent variables are used.

    Args:
        model: trained.
        x: `[n, *data]`.
        seed: of the samples.
        batch_size: examples at a time, each with 100 samples.

    Returns:
        A dictionary of plain numbers. `discrete_elbo` = -(rate + distortion), from 100 hard samples an example, and
        `iwae_100`, with its standard error over examples, are bounds on log p(x). `codes_used` counts the categories
        of active variables that are some example's likeliest. `relaxed_elbo`, the mean of relaxed
        samples at the present temperature beside the categorical KL, is not; it is None without a temperature.
    """
    bounds = tf.function(lambda batch, seed: _bounds(model, batch, seed), jit_compile=True, autograph=False)
    base = seed_of(seed, "report")
    columns: dict[str, list[np.ndarray]] = {}
    for number, start in enumerate(range(0, len(x), batch_size)):
        batch = tf.constant(x[start : start + batch_size])
        for name, values in bounds(batch, fold_in(base, number)).items():
            columns.setdefault(name, []).append(values.numpy())
    means = {name: float(np.concatenate(values).mean()) for name, values in columns.items()}
    importance = np.concatenate(columns["iwae_100"])
    outputs = model.predict(x, batch_size=500, verbose=0)
    return {
        "discrete_elbo": means["discrete_elbo"],
        "relaxed_elbo": means.get("relaxed_elbo"),
        "iwae_100": means["iwae_100"],
        "iwae_100_stderr": float(importance.std(ddof=1) / np.sqrt(len(importance))) if len(importance) > 1 else None,
        "rate": means["rate"],
        "distortion": means["distortion"],
        **posterior_usage(outputs)._asdict(),
        "num_examples": len(x),
    }


def _bounds(model: DiscreteVAE, x: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
    hard_seed, relaxed_seed = split_seed(seed, 2)
    bounds = model.bounds(x, seed=hard_seed, num_samples=IMPORTANCE_SAMPLES)
    figures = {
        "discrete_elbo": bounds.elbo,
        "iwae_100": bounds.importance_weighted,
        "rate": bounds.rate,
        "distortion": bounds.distortion,
    }
    if model.estimator.annealed == "temperature":
        temperature = model.estimator.annealed_value()
        figures["relaxed_elbo"] = model.relaxed_elbo(
            x, seed=relaxed_seed, num_samples=RELAXED_SAMPLES, temperature=temperature
        )
    return figures
