"""How well relaxed families fit a given discrete law: the figures of the invertible Gaussian paper's appendix.

For each law one picture, with a panel for each family: the law, the frequencies of hard samples of the fit and the mean
of its relaxed samples, and the total variation between the law and the fit's hard samples,

    TV = 1/2 sum_k |pmf_k - P_k|

Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588 (appendix, section 6).
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.figure import Figure

from tfdiscrete.distributions import GumbelSoftmax, Truncated, match_prior
from tfdiscrete.distributions.match_prior import FAMILIES
from tfdiscrete.errors import InputError, check_count, check_name
from tfdiscrete.ops import seed_of
from tfdiscrete.training.pictures import save_figure

tfd = tfp.distributions

# Draws behind a total variation that has no quadrature: their error is about 0.4 sqrt(K / 10^6).
_COUNTED = 1_000_000


class Law(NamedTuple):
    """A law to fit."""

    title: str
    outcomes: np.ndarray  # [K]
    pmf: np.ndarray  # [K]


class Fit(NamedTuple):
    """A family's fit to a law of K outcomes."""

    family: str
    total_variation: float
    frequencies: np.ndarray  # [K], of hard samples
    relaxed_mean: np.ndarray  # [K], of relaxed samples


def _binomial() -> Law:
    pmf = tfd.Binomial(12, probs=np.float64(0.3)).prob(np.arange(13.0)).numpy()
    return Law("binomial(12, 0.3)", np.arange(13), pmf)


def _eleven_points() -> Law:
    weights = np.array([10.0, 1, 5, 1, 10, 10, 1, 6, 1, 1, 1])
    return Law("a law on 11 points", np.arange(11), weights / weights.sum())


def _negative_binomial() -> Law:
    # TFP counts the successes, of which the law has 0.4 a trial.
    cut = Truncated(tfd.NegativeBinomial(50, probs=np.float64(0.4)), tolerance=1e-4)
    return Law("negative binomial(50, 0.6)", cut.outcomes.numpy().astype(int), tf.exp(cut.log_probabilities).numpy())


LAWS = {"binomial": _binomial, "eleven_points": _eleven_points, "negative_binomial": _negative_binomial}


def law_of(text: str) -> Law:
    """A law by its name, or by its probabilities or weights, such as "1,2,1"; those of K outcomes 0 to K-1.

    Raises:
        InputError: for an unknown name, or numbers that are not weights.
    """
    if "," not in text:
        return LAWS[check_name("law", text, LAWS)]()
    try:
        weights = np.array([float(entry) for entry in text.split(",")])
    except ValueError:
        weights = np.array([])
    if len(weights) < 2 or not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise InputError(
            "a law is one of " + ", ".join(LAWS) + f', or at least two weights, such as "10,1,5". Received: {text!r}.'
        )
    return Law(f"a law on {len(weights)} points", np.arange(len(weights)), weights / weights.sum())


def fit(law: Law, family: str, *, temperature: float = 0.1, num_samples: int = 1000, seed: int = 0) -> Fit:
    """Fits a family to a law and draws from the fit.

    Args:
        law: what to fit.
        family: "gumbel_softmax", "invertible_gaussian" or "stick_breaking".
        temperature: of the relaxed samples.
        num_samples: how many samples to draw.
        seed: of the fit and of the samples.
    """
    check_count("num_samples", num_samples)
    # The sticks alone are ever the largest, so that the simplex needs one corner more.
    corners = np.append(law.pmf, 0.0) if family == "stick_breaking" else law.pmf
    fitted = match_prior(family, corners, temperature=temperature, seed=seed)
    if isinstance(fitted, GumbelSoftmax):
        probabilities = tf.nn.softmax(fitted.logits)
    elif fitted.flow is None:
        probabilities = fitted.discretize().probs_parameter()
    else:
        probabilities = fitted.discretize(_COUNTED, seed_of(seed, "total variation")).probs_parameter()
    relaxed = tf.exp(fitted.sample_log(num_samples, seed_of(seed, "samples"))).numpy()
    frequencies = np.bincount(relaxed.argmax(-1), minlength=len(corners)) / num_samples
    outcomes = len(law.pmf)
    total_variation = 0.5 * float(np.abs(probabilities.numpy() - corners).sum())
    return Fit(family, total_variation, frequencies[:outcomes], relaxed.mean(axis=0)[:outcomes])


def fit_figure(law: Law, fits: Iterable[Fit]) -> Figure:
    """A panel for each fit: the law as bars, samples as points."""
    fits = list(fits)
    figure = Figure(figsize=(4.2 * len(fits), 3.2), layout="constrained")
    for axes, one in zip(np.atleast_1d(figure.subplots(1, len(fits), sharey=True)), fits, strict=True):
        axes.bar(law.outcomes, law.pmf, color="0.8", width=0.9, label="the law")
        axes.plot(law.outcomes, one.frequencies, "o", color="C0", markersize=3.5, label="hard samples")
        axes.plot(law.outcomes, one.relaxed_mean, "_", color="C1", markersize=7, label="mean of relaxed samples")
        axes.set(title=f"{one.family.replace('_', ' ')}: TV {one.total_variation:.1e}", xlabel="outcome")
    figure.axes[0].set_ylabel("probability")
    figure.axes[0].legend(fontsize=7)
    figure.suptitle(law.title, fontsize=10)
    return figure


def run(
    laws: Iterable[str] = tuple(LAWS),
    *,
    families: Iterable[str] = FAMILIES,
    out: str | os.PathLike = "fit-pmf",
    temperature: float = 0.1,
    num_samples: int = 1000,
    seed: int = 0,
) -> list[tuple[Path, list[Fit]]]:
    """Fits each family to each law and draws one picture for each law.

    Args:
        laws: names, or weights as text, as for `law_of`.
        families: names, as for `match_prior`.
        out: the folder of the pictures, `LAW.png`, or for weights `law.png`, `law-2.png` and so on; made if it is
            not there.
        temperature, num_samples, seed: as for `fit`.

    Returns:
        For each law, the picture's path and the fits.
    """
    chosen: dict[str, Law] = {}
    for text in laws:
        name = text if "," not in text else "law"
        again = sum(other.split("-")[0] == name for other in chosen)
        chosen[f"{name}-{again + 1}" if again else name] = law_of(text)
    families = [check_name("family", family, FAMILIES) for family in families]
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    results = []
    for name, law in chosen.items():
        fits = [fit(law, family, temperature=temperature, num_samples=num_samples, seed=seed) for family in families]
        results.append((save_figure(fit_figure(law, fits), out / f"{name}.png"), fits))
    return results
