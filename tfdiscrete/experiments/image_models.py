"""Every model on images, beside the figures of the papers.

    counts      a VAE of truncated counts by generalized Gumbel-Softmax (Joo and others, 2020)
    gaussian    the invertible Gaussian family and Gumbel-Softmax, with linear networks (Potapczynski and others, 2020)
    categories  the best bound of 20x10 categories: uniform prior, deeper networks, a learned prior of the codes
    layers      two layers of categories, 40x10 below 20x10
    labels      a classifier from 100 or 50 labels (Lorberbom and others, 2019), three seeds
    attributes  three binary labels, known for 200 images: even, at least five, inverted
    codes       a VQ-VAE on Fashion-MNIST, and the same network with a plain codebook

Rows are `GROUP-NAME`. Joo and others name no networks: here one hidden layer of 300 units each way, 50 variables. Nor
do they name the last temperature, on which their figure, of relaxed samples, depends: here 0.29, and 0.7 for explicit
laws, whose relaxed figure rises as it falls.
Those of the invertible Gaussian are straight-through, since what is compared is the bound of hard samples, whose KL is
counted behind a flow.

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847.
Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization",
arXiv 1912.09588.
Guy Lorberbom, Andreea Gane, Tommi Jaakkola, Tamir Hazan (2019), "Direct Optimization through arg max for Discrete
Variational Auto-Encoder", arXiv 1806.02867.
"""

import functools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from tfdiscrete.experiments.rows import finished_rows
from tfdiscrete.runs import Recipe, evaluate, recipes
from tfdiscrete.runs.folder import write_json
from tfdiscrete.training import ATTRIBUTES

SEEDS = (0, 1, 2)
LABELS = (100, 50)
LABEL_ESTIMATORS = ("direct_arg_max", "enumeration", "gumbel_softmax")
PRIOR_OF = {"categories-autoregressive": "categories-uniform", "categories-deep_autoregressive": "categories-deep"}
"""Rows that are another row's run with a prior trained after it."""

_COUNTS = {
    "dataset": "mnist",
    "family": "truncated_counts",
    "num_latents": 50,
    "epochs": 50,
    "learning_rate_decay": "cosine",
    "anneal_rate": 5e-5,
}
_LINEAR = {
    "dataset": "mnist",
    "encoder": "linear",
    "epochs": 100,
    "learning_rate_decay": "cosine",
    "anneal_rate": 5e-5,
    "temperature_min": 0.25,
}
_HARD_GAUSSIAN = {**_LINEAR, "family": "invertible_gaussian", "estimator_options": "straight_through=true"}
_CATEGORIES = {
    "dataset": "binarized_mnist",
    "estimator": "straight_through_gumbel_softmax",
    # Several samples, for whose mean a lower temperature is reached soon.
    "estimator_options": "num_samples=4",
    "anneal_rate": 3e-5,
    "learning_rate_decay": "cosine",
}
_ONE_HIDDEN_LAYER = {
    **_CATEGORIES,
    "temperature_min": 0.2,
    "epochs": 300,
    "learning_rate": 3e-3,
    "weight_decay": 0.01,
}
_DEEP = {**_CATEGORIES, "encoder": "mlp2", "epochs": 150, "learning_rate": 2e-3, "weight_decay": 0.05}
_LAYERS = {
    **_CATEGORIES,
    "model": "deep_discrete_vae",
    "estimator_options": "",
    "networks": "mlp",
    "temperature_min": 0.2,
    "epochs": 60,
}
_CODES = {"model": "vector_quantized_vae", "dataset": "fashion_mnist", "epochs": 20, "prior_epochs": 6}
_LABELS = {"model": "semi_supervised_vae", "dataset": "mnist", "networks": "conv", "epochs": 12, "learning_rate": 2e-3}
# The task's loss enters the perturbation.
_TASK_LOSS = {"supervision": "task_loss", "supervision_weight": 1000.0}

SETTINGS: dict[str, dict] = {
    **{
        f"counts-{law}-{kind}": {**_COUNTS, "family_options": f"law={law},prior={prior},explicit={explicit}", **options}
        for law, prior in (("poisson", 2.0), ("geometric", 0.25))
        for kind, explicit, options in (("implicit", "false", {}), ("explicit", "true", {"temperature_min": 0.7}))
    },
    "gaussian-none": {**_HARD_GAUSSIAN, "family_options": "flow=none"},
    "gaussian-planar": {**_HARD_GAUSSIAN, "family_options": "flow=planar", "learning_rate": 3e-3, "epochs": 200},
    # The logits behind stick breaking are below 1 / temperature.
    "gaussian-stick_breaking": {
        **_HARD_GAUSSIAN,
        "family_options": "flow=stick_breaking",
        "learning_rate": 3e-3,
        "temperature": 0.3,
        "temperature_min": 0.05,
    },
    "gaussian-gumbel_softmax": {**_LINEAR, "estimator": "gumbel_softmax"},
    "categories-uniform": _ONE_HIDDEN_LAYER,
    "categories-deep": _DEEP,
    "categories-autoregressive": {**_ONE_HIDDEN_LAYER, "prior_epochs": 15},
    "categories-deep_autoregressive": {**_DEEP, "prior_epochs": 15},
    "layers-two": _LAYERS,
    **{
        f"labels-{estimator}-{count}-seed{seed}": {
            **_LABELS,
            **(_TASK_LOSS if estimator == "direct_arg_max" else {}),
            "estimator": estimator,
            "num_labelled": count,
            "seed": seed,
        }
        for estimator in LABEL_ESTIMATORS
        for count in LABELS
        for seed in SEEDS
    },
    "attributes-enumeration": {**_LABELS, "target": "attributes", "num_labelled": 200},
    "codes-moving_averages": _CODES,
    "codes-plain": {**_CODES, "quantizer": "plain", "prior_epochs": 0},
}
"""The settings of each row, beside the defaults."""

ASKED = {
    "counts-poisson-implicit": ("relaxed", 96.04),
    "counts-poisson-explicit": ("relaxed", 103.18),
    "counts-geometric-implicit": ("relaxed", 92.52),
    "counts-geometric-explicit": ("relaxed", 98.43),
    "gaussian-none": ("train bound", 131.86),
    "gaussian-planar": ("train bound", 126.44),
    "gaussian-stick_breaking": ("train bound", 130.99),
    "gaussian-gumbel_softmax": ("train bound", 147.82),
}
"""The published figure of a row, nats, and which one of ours it is to be compared with."""
PICTURES = {
    "counts": ("samples",),
    "gaussian": ("samples",),
    "categories": ("samples",),
    "layers": ("samples",),
    "labels": ("rows",),
    "attributes": ("rows",),
    "codes": ("reconstructions", "codes", "interpolation", "samples"),
}
"""Which pictures of a group's runs stand beside the table, as far as a run has them: `ROW-PICTURE.png`."""
ASKED_ACCURACY = {100: 95.71, 50: 95.51}
"""The published accuracy of direct arg max, in per cent, by the number of labels."""


def recipe_of(row: str) -> Recipe:
    """The settings of one row."""
    return recipes.from_json(SETTINGS[row])


def run(
    *, out: str | os.PathLike = "results", runs_folder: str | os.PathLike = "runs", only: str | None = None
) -> list[Path]:
    """Trains what is not yet trained, and writes `image_models.json`, `image_models.md` and pictures, `image_models/`.

    Args:
        out: the folder of these files.
        runs_folder: the folder of the runs, `image_models-ROW`. Finished ones are taken as they are, unfinished ones
            are continued.
        only: a pattern of the rows to train, such as "labels-*"; by default all, which takes many hours. The table
            holds all that are finished, and of the others those that it had before, with
            the same settings.

    Returns:
        The paths of the two files.
    """
    out, runs_folder = Path(out), Path(runs_folder)
    configs: dict[str, Callable[[], Recipe]] = {row: functools.partial(recipe_of, row) for row in SETTINGS}
    rows = finished_rows(configs, runs_folder, out / "image_models.json", only, continues=PRIOR_OF)
    for row in rows:
        if row["row"].startswith("gaussian-") and "train_bound" not in row:
            row["train_bound"] = _train_bound(runs_folder / f"image_models-{row['row']}")
    pictures = out / "image_models"
    pictures.mkdir(parents=True, exist_ok=True)
    for row in (each["row"] for each in rows):
        if row.startswith("labels-") and not row.endswith(f"-seed{SEEDS[0]}"):
            continue
        for name in PICTURES[row.partition("-")[0]]:
            picture = runs_folder / f"image_models-{row}" / f"{name}.png"
            if picture.is_file():
                shutil.copyfile(picture, _picture(pictures, row, name))
    for each in rows:
        names = PICTURES[each["row"].partition("-")[0]]
        each["pictures"] = [name for name in names if _picture(pictures, each["row"], name).is_file()]
    published = {"nats": {row: value for row, (_, value) in ASKED.items()}, "accuracy": ASKED_ACCURACY}
    write_json(out / "image_models.json", {"published": published, "rows": rows})
    (out / "image_models.md").write_text(table(rows))
    return [out / "image_models.json", out / "image_models.md"]


def _picture(folder: Path, row: str, name: str) -> Path:
    return folder / f"{row}-{name}.png"


def _train_bound(folder: Path) -> float:
    """The discrete bound on the training data, -log p(x), which takes minutes and is therefore kept."""
    kept = folder / "metrics-train.json"
    if not kept.is_file():
        write_json(kept, evaluate(folder, split="train"))
    return -json.loads(kept.read_text())[_bound_of(folder.name)]


def _bound_of(row: str) -> str:
    """The name of the figure that is a row's discrete bound: behind a flow the counted one."""
    return "counted_elbo" if row.endswith(("planar", "stick_breaking")) else "discrete_elbo"


def table(rows: list[dict]) -> str:
    """The results as Markdown, one table for each group."""
    lines = [
        "# Models of images",
        "",
        "Made by `tfdiscrete experiment image_models`; test split, nats, lower is better, but for accuracies. The",
        "discrete bound (100 hard samples) and IWAE-100 bound -log p(x); the relaxed figure does not. The rows'",
        "commands and pictures are below, their seeds and versions in `image_models.json`.",
        "",
        "The rate of invertible Gaussians is that of their hard samples in the discrete and the train bound, by",
        "quadrature, or behind a flow (planar, stick breaking) by counting 1,000 hard samples of each example and a",
        "million of the prior, which makes it 0.1 nats or so too large. Their relaxed figure has the KL of the",
        "Gaussians, and so has IWAE-100 behind a flow. Relaxed figures are taken at the run's last temperature, of",
        "counts 0.29, of explicit ones 0.7.",
    ]
    groups = {
        "counts": ("Truncated counts, MNIST thresholded, 784-300-50 networks", _bounds_table),
        "gaussian": ("The invertible Gaussian family, MNIST thresholded, linear networks, 20x10", _bounds_table),
        "categories": ("20x10 categories, statically binarized MNIST", _bounds_table),
        "layers": ("Two layers of categories, 40x10 and 20x10, statically binarized MNIST", _bounds_table),
        "labels": ("Few labels, MNIST thresholded: accuracy in per cent", _labels_table),
        "attributes": ("Three attributes from 200 labels, MNIST thresholded: accuracy in per cent", _attributes_table),
        "codes": ("Codes of Fashion-MNIST", _codes_table),
    }
    for group, (title, render) in groups.items():
        members = [row for row in rows if row["row"].startswith(f"{group}-")]
        if members:
            lines += ["", f"## {title}", "", *render(members)]
    return "\n".join([*lines, "", "## Commands and pictures", "", *map(_made_by, rows)]) + "\n"


def _made_by(row: dict) -> str:
    """A row's command and its pictures, an item of a list."""
    pictures = [f"[{name}]({_picture(Path('image_models'), row['row'], name)})" for name in row.get("pictures", ())]
    return f"- {row['row']}{': ' if pictures else ''}{', '.join(pictures)}\n  `{row['command']}`"


def _bounds_table(rows: list[dict]) -> list[str]:
    lines = [
        "| row | discrete bound | IWAE-100 | relaxed | train bound | rate | epochs | published | of which |",
        "|---" * 9 + "|",
    ]
    for row in rows:
        m = row["metrics"]
        which, published = ASKED.get(row["row"], ("", ""))
        importance = f"{-m['iwae_100']:.2f} ± {m['iwae_100_stderr']:.2f}"
        relaxed = "" if m["relaxed_elbo"] is None else f"{-m['relaxed_elbo']:.2f}"
        bound = -m[_bound_of(row["row"])]
        train = f"{row['train_bound']:.2f}" if "train_bound" in row else ""
        lines.append(
            f"| {row['row'].partition('-')[2]} | {bound:.2f} | {importance} | {relaxed} | {train} | "
            f"{m.get('counted_rate', m['rate']):.2f} | {m['epochs']} | {published} | {which} |"
        )
    return lines


def _labels_table(rows: list[dict]) -> list[str]:
    lines = ["| estimator | labels | mean accuracy | of each seed | bound | epochs | published |", "|---" * 7 + "|"]
    for estimator in LABEL_ESTIMATORS:
        for count in LABELS:
            members = [row["metrics"] for row in rows if row["row"].startswith(f"labels-{estimator}-{count}-")]
            if members:
                accuracies = [100.0 * m["accuracy"] for m in members]
                published = ASKED_ACCURACY[count] if estimator == "direct_arg_max" else ""
                lines.append(
                    f"| {estimator} | {count} | {mean(accuracies):.2f} | "
                    f"{', '.join(f'{accuracy:.2f}' for accuracy in accuracies)} | "
                    f"{mean(-m['elbo'] for m in members):.2f} | {members[0]['epochs']} | {published} |"
                )
    return lines


def _attributes_table(rows: list[dict]) -> list[str]:
    lines = ["| estimator | mean | " + " | ".join(ATTRIBUTES) + " | bound | epochs |", "|---" * 7 + "|"]
    for row in rows:
        m = row["metrics"]
        each = [f"{100.0 * share:.2f}" for share in (m["accuracy"], *m["attribute_accuracies"])]
        name = row["row"].partition("-")[2]
        lines.append(f"| {name} | {' | '.join(each)} | {-m['elbo']:.2f} | {m['epochs']} |")
    return lines


def _codes_table(rows: list[dict]) -> list[str]:
    lines = [
        "| codebook | squared error | usage | perplexity | rate, uniform prior | rate, learned prior | epochs |",
        "|---" * 7 + "|",
    ]
    for row in rows:
        m = row["metrics"]
        usage = f"{100 * m['codebook_usage']:.1f} % of {m['num_codes']}"
        learned = f"{m['rate']:.1f}" if row["config"]["prior_epochs"] else ""
        lines.append(
            f"| {row['row'].partition('-')[2]} | {m['reconstruction_error']:.5f} | {usage} | "
            f"{m['codebook_perplexity']:.1f} | {m['rate_without_prior']:.1f} | {learned} | {m['epochs']} |"
        )
    return lines
