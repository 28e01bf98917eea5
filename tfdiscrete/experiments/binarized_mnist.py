"""Bounds of a 20x10 categorical VAE on statically binarized MNIST.

The settings are those of the published direct arg max and Gumbel-Softmax figures: batch 100, Adam at 1e-3, 300 epochs,
one sample, a temperature of max(0.1, exp(-1e-5 step)) that changes every 1,000 steps. The paper says that its networks
are linear, its authors' code has one hidden layer of 300 units on each side; both are here.

Guy Lorberbom, Andreea Gane, Tommi Jaakkola, Tamir Hazan (2019), "Direct Optimization through arg max for Discrete
Variational Auto-Encoder", arXiv 1806.02867.
"""

import functools
import os
from pathlib import Path

from tfdiscrete.experiments.rows import finished_rows
from tfdiscrete.runs import DiscreteVAERecipe
from tfdiscrete.runs.folder import write_json

PUBLISHED = {
    "gumbel_softmax": ("Gumbel-Softmax, as published", 105.36),
    "direct": ("direct arg max, as published", 103.62),
}
SETTINGS: dict[str, dict] = {
    "mlp-straight_through": {"encoder": "mlp", "estimator": "straight_through_gumbel_softmax"},
    "linear-straight_through": {"encoder": "linear", "estimator": "straight_through_gumbel_softmax"},
    "linear-relaxed": {"encoder": "linear", "estimator": "gumbel_softmax"},
}


def config_of(row: str) -> DiscreteVAERecipe:
    """The settings of one row of the table."""
    return DiscreteVAERecipe(
        dataset="binarized_mnist",
        num_latents=20,
        num_categories=10,
        epochs=300,
        batch_size=100,
        learning_rate=1e-3,
        temperature=1.0,
        temperature_min=0.1,
        anneal_rate=1e-5,
        anneal_every=1000,
        seed=0,
        **SETTINGS[row],
    )


def run(
    *, out: str | os.PathLike = "results", runs_folder: str | os.PathLike = "runs", only: str | None = None
) -> list[Path]:
    """Trains what is not yet trained, and writes `binarized_mnist.json` and `binarized_mnist.md`.

    Args:
        out: the folder of the two files.
        runs_folder: the folder of the runs, `binarized_mnist-ROW`. Finished ones are taken as they are, unfinished ones
            are continued.
        only: a pattern of the rows to train; by default all. The table holds all that are finished, and of the others
            those that it had before, with
            the same settings.

    Returns:
        The paths of the two files.
    """
    out = Path(out)
    configs = {name: functools.partial(config_of, name) for name in SETTINGS}
    rows = finished_rows(configs, Path(runs_folder), out / "binarized_mnist.json", only)
    out.mkdir(parents=True, exist_ok=True)
    published = {key: {"test_bound": value, "what": what} for key, (what, value) in PUBLISHED.items()}
    write_json(out / "binarized_mnist.json", {"published": published, "rows": rows})
    (out / "binarized_mnist.md").write_text(table(rows))
    return [out / "binarized_mnist.json", out / "binarized_mnist.md"]


def table(rows: list[dict]) -> str:
    """The results as Markdown, in nats; bounds are given as -log p(x), lower is better."""
    lines = [
        "# 20x10 categorical latents on statically binarized MNIST",
        "",
        "Made by `tfdiscrete experiment binarized_mnist`. Test split, nats, lower is better. The discrete bound (hard",
        "samples) and IWAE-100 bound -log p(x); the relaxed figure does not. Each row's command and versions stand in",
        "`binarized_mnist.json`. The published figures are called linear in the paper; its code has 300 hidden units.",
        "",
        "| networks and estimator | discrete bound | relaxed | IWAE-100 | rate | active | train time | steps/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        m = row["metrics"]
        figures = (-m["discrete_elbo"], -m["relaxed_elbo"], -m["iwae_100"])
        discrete, relaxed, importance = (f"{value:.2f}" for value in figures)
        lines.append(
            f"| {row['config']['encoder']}, {row['config']['estimator']} | {discrete} | {relaxed} | {importance} ± "
            f"{m['iwae_100_stderr']:.2f} | {m['rate']:.2f} | {m['active_units']}/{m['num_latents']} | "
            f"{m['train_seconds']:.0f} s | {m['steps_per_second']:.0f} |"
        )
    lines += [f"| {what} | {value} | | | | | | |" for what, value in PUBLISHED.values()]
    return "\n".join(lines) + "\n"
