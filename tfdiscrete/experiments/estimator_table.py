"""Discrete test bounds of a categorical VAE on binarized MNIST for all gradient estimators, at equal steps.

Networks 784-300-(N x K) and back, batch 100, Adam at 1e-3, analytic KL; relaxations and direct arg max have the
published schedule, max(0.1, exp(-1e-5 step)), of their temperature or epsilon. What differs is the estimator alone.
Rows are `NxK-ESTIMATOR`, of `EPOCHS` epochs, `NxK-ESTIMATOR-LONG_EPOCHS`, and `NxK-ESTIMATOR-mnist`, of `EPOCHS`
epochs on MNIST thresholded at 0.5: the public code behind the published figures of direct arg max has that data, whose
bits are easier to predict.

Costs are tens of nats apart, so that with epsilon near 1 direct arg max takes the best of all codes whatever the noise;
`direct_arg_max-8` has epsilon 0.1 from the start, and takes the mean of both signs and of eight perturbations for each
table of scores. It alone stands for direct arg max in the long rows, in which the published schedule is still at 0.6.

One variable of many categories is a mixture of as many images. A code of little probability for every image has hardly
any gradient, so that most stay unused, even with the exact one; rows `NxK-ESTIMATOR-annealed-LONG_EPOCHS` start with a
weight of 8 on the rate, under which all codes share the data, and have the bound itself after `ANNEALED_EPOCHS`. From
5 direct arg max leaves a third of the codes unused, and from 30 a decoder that has lost its code does not find back.

Guy Lorberbom, Andreea Gane, Tommi Jaakkola, Tamir Hazan (2019), "Direct Optimization through arg max for Discrete
Variational Auto-Encoder", arXiv 1806.02867.
"""

import functools
import os
from pathlib import Path

from tfdiscrete.experiments.rows import finished_rows
from tfdiscrete.runs import DiscreteVAERecipe
from tfdiscrete.runs.folder import write_json

EPOCHS, LONG_EPOCHS = 20, 100

ESTIMATORS = {
    "score_function-none": ("score_function", "baseline=none"),
    "score_function-running_mean": ("score_function", "baseline=running_mean"),
    "score_function-leave_one_out-2": ("score_function", "num_samples=2"),
    "score_function-leave_one_out-4": ("score_function", "num_samples=4"),
    "nvil": ("nvil", ""),
    "mu_prop": ("mu_prop", ""),
    "vimco-5": ("vimco", "num_samples=5"),
    "rebar": ("rebar", ""),
    "relax": ("relax", ""),
    "arm": ("arm", ""),
    "disarm": ("disarm", ""),
    "disarm-2": ("disarm", "num_samples=2"),
    "rao_blackwell-3+1": ("rao_blackwell", "num_exact=3"),
    "stochastic_rao_blackwell-4": ("stochastic_rao_blackwell", "num_samples=4"),
    "unordered_set-4": ("unordered_set", "num_samples=4"),
    "straight_through": ("straight_through", ""),
    "reinmax": ("reinmax", ""),
    "gumbel_softmax": ("gumbel_softmax", ""),
    "straight_through_gumbel_softmax": ("straight_through_gumbel_softmax", ""),
    "generalized_gumbel_softmax-rao_blackwell": ("generalized_gumbel_softmax", "rao_blackwell=true"),
    "local_expectation": ("local_expectation", ""),
    "direct_arg_max": ("direct_arg_max", ""),
    "direct_arg_max-8": ("direct_arg_max", "epsilon=0.1,sign=both,num_noises=8"),
    "enumeration": ("enumeration", ""),
}
"""Row name to the estimator and its options."""

PUBLISHED = {
    "20x10": {"direct_arg_max": 103.62, "straight_through_gumbel_softmax": 105.36},
    "20x2": {
        "direct_arg_max": 126.37,
        "straight_through_gumbel_softmax": 128.92,
        "rebar": 127.07,
        "relax": 126.66,
    },
    "1x40": {"direct_arg_max": 145.64, "straight_through_gumbel_softmax": 145.67},
    "1x8": {"direct_arg_max": 168.57},
    "3x2": {"direct_arg_max": 177.9},
    "1x64": {"direct_arg_max": 147.59},
    "6x2": {"direct_arg_max": 161.09},
}
"""-log p(x) or its bound, in nats, of each estimator's published figure, after 300 epochs."""

LONG = {
    "20x10": (
        "direct_arg_max-8",
        "local_expectation",
        "straight_through_gumbel_softmax",
        "vimco-5",
        "reinmax",
    ),
    "20x2": (
        "direct_arg_max-8",
        "straight_through_gumbel_softmax",
        "rebar",
        "relax",
        "local_expectation",
        "disarm-2",
        "vimco-5",
        "score_function-leave_one_out-4",
    ),
    "1x40": ("direct_arg_max-8", "straight_through_gumbel_softmax", "enumeration"),
    "1x8": ("direct_arg_max-8", "enumeration"),
    "3x2": ("direct_arg_max-8", "enumeration"),
    "1x64": ("direct_arg_max-8", "enumeration"),
    "6x2": ("direct_arg_max-8", "enumeration"),
}
"""The long rows: those with a published figure, the best of the short ones, and of small spaces the exact gradient."""

ANNEALED_EPOCHS = 40
ANNEALED = {
    "1x40": ("direct_arg_max-8", "straight_through_gumbel_softmax", "enumeration"),
    "1x8": ("direct_arg_max-8", "enumeration"),
    "1x64": ("direct_arg_max-8", "enumeration"),
}
"""The long rows that are there with an annealed weight of the rate, too."""

THRESHOLDED = ("direct_arg_max-8", "straight_through_gumbel_softmax")
"""Of the short 20x10 rows and the annealed ones those that are there on thresholded MNIST, too."""


def _names() -> dict[str, tuple[str, str, dict]]:
    """Row name to size, name in `ESTIMATORS`, and what is set otherwise than in the short rows."""
    rows: dict[str, tuple[str, str, dict]] = {}
    for size in ("20x10", "20x2"):
        for name in ESTIMATORS:
            if name != "enumeration":
                rows[f"{size}-{name}"] = (size, name, {})
    for size, names in LONG.items():
        for name in names:
            rows[f"{size}-{name}-{LONG_EPOCHS}"] = (size, name, {"epochs": LONG_EPOCHS})
    steps = ANNEALED_EPOCHS * 500  # batches of 100 of 50,000 examples
    for size, names in ANNEALED.items():
        for name in names:
            annealed = {"objective": "beta_elbo", "objective_options": f"beta=8:1:{steps}", "epochs": LONG_EPOCHS}
            rows[f"{size}-{name}-annealed-{LONG_EPOCHS}"] = (size, name, annealed)
            if name in THRESHOLDED:
                rows[f"{size}-{name}-annealed-{LONG_EPOCHS}-mnist"] = (size, name, {**annealed, "dataset": "mnist"})
    for name in THRESHOLDED:
        rows[f"20x10-{name}-mnist"] = ("20x10", name, {"dataset": "mnist"})
    return rows


def config_of(row: str) -> DiscreteVAERecipe:
    """The settings of one row of the table."""
    size, name, changes = _names()[row]
    estimator, options = ESTIMATORS[name]
    latents, categories = map(int, size.split("x"))
    settings = {
        "dataset": "binarized_mnist",
        "encoder": "mlp",
        "estimator": estimator,
        "estimator_options": options,
        "num_latents": latents,
        "num_categories": categories,
        "epochs": EPOCHS,
        "batch_size": 100,
        "learning_rate": 1e-3,
        "temperature": 1.0,
        "temperature_min": 0.1,
        "anneal_rate": 1e-5,
        "anneal_every": 500 if estimator == "direct_arg_max" else 1000,
        "seed": 0,
    }
    return DiscreteVAERecipe(**{**settings, **changes})


def run(
    *, out: str | os.PathLike = "results", runs_folder: str | os.PathLike = "runs", only: str | None = None
) -> list[Path]:
    """Trains what is not yet trained, and writes `estimators.json` and `estimators.md`.

    Args:
        out: the folder of the two files.
        runs_folder: the folder of the runs, `estimators-ROW`. Finished ones are taken as they are, unfinished ones are
            continued.
        only: a pattern of the rows to train, such as "20x2-*"; by default all, which takes many hours. The table holds
            all that are finished, and of the others those that it had before, with
            the same settings.

    Returns:
        The paths of the two files.
    """
    out = Path(out)
    configs = {row: functools.partial(config_of, row) for row in _names()}
    rows = finished_rows(configs, Path(runs_folder), out / "estimators.json", only)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "estimators.json", {"published": PUBLISHED, "rows": rows})
    (out / "estimators.md").write_text(table(rows))
    return [out / "estimators.json", out / "estimators.md"]


def table(rows: list[dict]) -> str:
    """The results as Markdown, one table for each size and number of epochs, the best bound first."""
    lines = [
        "# Gradient estimators on binarized MNIST",
        "",
        "Made by `tfdiscrete experiment estimators`. Networks 784-300-(N x K) and back, batch 100, Adam at 1e-3, equal",
        "steps; test split, nats, lower is better: the discrete bound (100 hard samples) and IWAE-100 bound -log p(x).",
        "Published figures are after 300 epochs, those of direct arg max with one perturbation and their schedule; the",
        "public code behind them has MNIST thresholded at 0.5, whose bounds are in tables of their own.",
        "Rows named annealed have a weight of the rate that falls from 8 to 1 in the first 40 epochs.",
        "Each row's command, seed and versions stand in `estimators.json`.",
    ]
    groups: dict[tuple[str, int, str], list[dict]] = {}
    for row in rows:
        size = f"{row['config']['num_latents']}x{row['config']['num_categories']}"
        groups.setdefault((size, row["config"]["epochs"], row["config"]["dataset"]), []).append(row)
    for (size, epochs, dataset), group in groups.items():
        data = ", thresholded MNIST" if dataset == "mnist" else ""
        lines += ["", f"## {size} latents, {epochs} epochs{data}", ""]
        columns = ("estimator", "discrete bound", "IWAE-100", "rate", "active", "codes used", "steps/s", "published")
        lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        for row in sorted(group, key=lambda row: -row["metrics"]["discrete_elbo"]):
            lines.append(_line(row, size))
    return "\n".join(lines) + "\n"


def _line(row: dict, size: str) -> str:
    m = row["metrics"]
    name = row["row"].removeprefix(f"{size}-").removesuffix("-mnist").removesuffix(f"-{LONG_EPOCHS}")
    published = PUBLISHED[size].get(row["config"]["estimator"], "")
    return (
        f"| {name} | {-m['discrete_elbo']:.2f} | {-m['iwae_100']:.2f} ± {m['iwae_100_stderr']:.2f} | {m['rate']:.2f} | "
        f"{m['active_units']}/{m['num_latents']} | {m['codes_used']}/{m['num_codes']} | {m['steps_per_second']:.0f} | "
        f"{published} |"
    )
