"""Bounds of a trained autoencoder on held-out data, as figures and as rows for a person."""

import numpy as np
import tensorflow as tf

from tfdiscrete.families import InvertibleGaussian
from tfdiscrete.models import DeepDiscreteVAE, DiscreteVAE
from tfdiscrete.objectives import counted_rate, counted_table
from tfdiscrete.objectives.relaxed_rate import has_relaxed_density
from tfdiscrete.ops import fold_in, seed_of, split_seed
from tfdiscrete.priors.base import IndependentPrior
from tfdiscrete.runs.recipes.base import Row, nats

IMPORTANCE_SAMPLES = 100
RELAXED_SAMPLES = 10
COUNTED_SAMPLES = 1000
# So many, of each category of each sample, are held at a time when samples are counted.
_NUMBERS = 2**24


def held_out_bounds(
    model: DiscreteVAE | DeepDiscreteVAE,
    x: np.ndarray,
    *,
    temperature=None,
    seed: int = 0,
    batch_size: int = 50,
) -> dict:
    """Bounds in nats per example.

    Args:
        model: trained.
        x: `[n, *data]`.
        temperature: of the relaxed samples, of a `DiscreteVAE` that has such; by default they are left out.
        seed: of the samples.
        batch_size: examples at a time, each with 100 samples.

    Returns:
        A dictionary of plain numbers. `discrete_elbo` = -(rate + distortion), from 100 hard samples an example, and
        `iwae_100`, with its standard error over examples, are bounds on log p(x). `relaxed_elbo`, the mean of relaxed
        samples beside the categorical KL, or the Gaussians', is not; it is None without a temperature.
    """
    bounds = tf.function(
        lambda batch, seed: _bounds(model, batch, seed, temperature), jit_compile=True, autograph=False
    )
    base = seed_of(seed, "report")
    columns: dict[str, list[np.ndarray]] = {}
    for number, start in enumerate(range(0, len(x), batch_size)):
        batch = tf.constant(x[start : start + batch_size])
        for name, values in bounds(batch, fold_in(base, number)).items():
            columns.setdefault(name, []).append(values.numpy())
    means = {name: float(np.concatenate(values).mean()) for name, values in columns.items()}
    importance = np.concatenate(columns["iwae_100"])
    return {
        "discrete_elbo": means["discrete_elbo"],
        "relaxed_elbo": means.get("relaxed_elbo"),
        "iwae_100": means["iwae_100"],
        "iwae_100_stderr": float(importance.std(ddof=1) / np.sqrt(len(importance))) if len(importance) > 1 else None,
        "rate": means["rate"],
        "distortion": means["distortion"],
    }


def counted_bound(model: DiscreteVAE, x: np.ndarray, distortion: float, *, seed: int = 0, batch_size: int = 50) -> dict:
    """The bound of hard samples behind a flow, whose rate in `held_out_bounds` is the Gaussians', which is more.

    The counted prior stands in the prior's place, see `counted_table`.

    Args:
        model: trained.
        x: `[n, *data]`.
        distortion: that of `held_out_bounds`.
        seed: of the counted samples.
        batch_size: examples at a time, each with 1,000 samples; fewer of many or large variables.

    Returns:
        `counted_rate` and `counted_elbo` in nats per example; empty without a flow, and for dependent variables.
    """
    family = model.family
    flows = isinstance(family, InvertibleGaussian) and family.flow != "none"
    if not flows or not isinstance(model.prior, IndependentPrior):
        return {}
    base = seed_of(seed, "counted")
    table = counted_table(model.prior.distribution(), seed=seed_of(seed, "counted prior"))
    batch_size = max(1, min(batch_size, _NUMBERS // (COUNTED_SAMPLES * table.size)))
    rates = tf.function(
        lambda batch, seed: counted_rate(model.posterior(batch), table, seed=seed, num_samples=COUNTED_SAMPLES),
        jit_compile=True,
        autograph=False,
    )
    parts = [
        rates(tf.constant(x[start : start + batch_size]), fold_in(base, number)).numpy()
        for number, start in enumerate(range(0, len(x), batch_size))
    ]
    rate = float(np.concatenate(parts).mean())
    return {"counted_rate": rate, "counted_elbo": -(distortion + rate)}


def relaxed_temperature(model: DiscreteVAE):
    """The annealed temperature, None where no relaxed samples are drawn, or the prior has no density to compare."""
    if model.estimator.annealed != "temperature":
        return None
    if isinstance(model.family, InvertibleGaussian) and not has_relaxed_density(model.prior):
        return None
    return model.estimator.annealed_value()


def _bounds(model, x: tf.Tensor, seed: tf.Tensor, temperature) -> dict[str, tf.Tensor]:
    hard_seed, relaxed_seed = split_seed(seed, 2)
    bounds = model.bounds(x, seed=hard_seed, num_samples=IMPORTANCE_SAMPLES)
    figures = {
        "discrete_elbo": bounds.elbo,
        "iwae_100": bounds.importance_weighted,
        "rate": bounds.rate,
        "distortion": bounds.distortion,
    }
    if temperature is not None:
        figures["relaxed_elbo"] = model.relaxed_elbo(
            x, seed=relaxed_seed, num_samples=RELAXED_SAMPLES, temperature=temperature
        )
    return figures


def rows_of_bounds(metrics: dict) -> list[Row]:
    """What `held_out_bounds` and `counted_bound` give, for a person."""
    relaxed, stderr = metrics["relaxed_elbo"], metrics["iwae_100_stderr"]
    counted = []
    if "counted_elbo" in metrics:
        counted = [
            ("counted ELBO", nats(metrics["counted_elbo"]), "the same, with the counted rate"),
            ("counted rate", nats(metrics["counted_rate"]), "that of counted hard samples, not of the Gaussians"),
        ]
    return [
        ("discrete ELBO", nats(metrics["discrete_elbo"]), "hard samples: a bound on log p(x)"),
        *counted,
        ("relaxed ELBO", "-" if relaxed is None else nats(relaxed), "relaxed samples: not a bound"),
        (
            "IWAE-100",
            nats(metrics["iwae_100"]) + ("" if stderr is None else f" ± {stderr:.2f}"),
            "of 100 weighted samples, tighter than the discrete ELBO, ± its standard error",
        ),
        ("rate", nats(metrics["rate"]), "KL(q(z|x) || p(z))"),
        ("distortion", nats(metrics["distortion"]), "-E log p(x|z)"),
    ]
