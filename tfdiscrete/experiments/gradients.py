"""How good gradient estimators are: their bias, variance and cost on problems whose exact gradient is known.

Three kinds of pictures and two tables. `PROBLEM.png` shows bias, variance and evaluations at the problem's starting
point. `PROBLEM-curves.png` follows the optimization of a count law's parameter, as figure 3 of the first paper does;
`trade-off.png` shows bias and spread against epsilon and the temperature, as figure 1 of the second does.

Curves are cumulative averages over the steps, as in the paper; that of the bias is the norm of the average error, so
that the noise of unbiased estimators averages out.

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847.
Guy Lorberbom, Andreea Gane, Tommi Jaakkola, Tamir Hazan (2019), "Direct Optimization through arg max for Discrete
Variational Auto-Encoder", arXiv 1806.02867.
"""

import csv
import os
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from tfdiscrete import estimators as registry
from tfdiscrete.errors import InputError, check_count, check_positive, check_seed
from tfdiscrete.estimators import Estimator, problems
from tfdiscrete.estimators.compare import (
    Measurement,
    compare,
    named,
)
from tfdiscrete.estimators.problems import Problem
from tfdiscrete.experiments.gradient_curves import GENERALIZED, Curves, optimize
from tfdiscrete.experiments.gradient_figures import curves_figure, measurements_figure, trade_off_figure
from tfdiscrete.runs import DiscreteVAERecipe
from tfdiscrete.runs.folder import versions, write_json
from tfdiscrete.training.pictures import save_figure

PROBLEMS = ("bit", "poisson", "binomial", "multinomial", "negative_binomial", "vae_layer")
"""What is measured by default."""

SYNTHETIC = ("poisson", "binomial", "multinomial", "negative_binomial")
"""Those of the generalized Gumbel-Softmax paper, which are optimized too."""

_ANNEALED = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SWEEP_DRAWS = 40
"""So many times the draws of the other measurements: what is swept has a small bias beside a large variance."""


class Result(NamedTuple):
    """What `run` found and wrote."""

    measurements: list[Measurement]
    curves: list[Curves]
    paths: list[Path]


def run(
    chosen: Iterable[str | Problem] = PROBLEMS,
    *,
    estimators: Iterable[str | Estimator] | None = None,
    out: str | os.PathLike = "gradients",
    draws: int = 10_000,
    steps: int = 300,
    learning_rate: float = 0.02,
    seed: int = 0,
    console: Console | None = None,
) -> Result:
    """Measures estimators on problems, and writes tables and pictures.

    Args:
        chosen: names of built-in problems, or problems.
        estimators: instances, or names, with options such as "direct_arg_max:epsilon=0.1,sign=both"; by default
            `default_estimators`.
        out: the folder of `gradients.csv`, `optimization.csv`, the pictures and `settings.json`, which has the seed,
            the versions and the seconds that it took, too; made if it is not there.
        draws: gradients drawn for a measurement; for the trade-off 40 times as many.
        steps: of the optimization of synthetic problems; 0 leaves it out.
        learning_rate: Adam's, in it.
        seed: of all noise.
        console: where the progress goes; by default standard error.

    Returns:
        A `Result`.
    """
    began = time.perf_counter()
    measured = [problems.get(problem) for problem in chosen]
    contestants = named(default_estimators() if estimators is None else [estimator_of(one) for one in estimators])
    check_count("num_draws", draws, 2)
    check_count("steps", steps, 0)
    check_positive("learning_rate", learning_rate)
    check_seed(seed)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    optimized = [problem for problem in measured if steps and problem.name in SYNTHETIC]
    # Without options GenGS is the Gumbel-Softmax estimator.
    twice = any(type(one) is registry.GeneralizedGumbelSoftmax for one in contestants.values())
    climbing = {k: v for k, v in contestants.items() if not (twice and type(v) is registry.GumbelSoftmax)}
    measurements, curves, paths = [], [], []
    sweeps = _sweeps(climbing.values())
    total = len(contestants) * len(measured) + len(climbing) * len(optimized) + len(sweeps)
    with _Steps(total, console) as progress:
        for problem in measured:
            rows = []
            for name, estimator in contestants.items():
                progress.show(f"{problem.name}: {name}")
                rows += compare(problem, {name: estimator}, num_draws=draws, seed=seed)
            measurements += rows
            if any(not row.reason for row in rows):
                paths.append(save_figure(measurements_figure(problem, rows), out / f"{problem.name}.png"))
        for problem in optimized:
            found = []
            for name, estimator in climbing.items():
                progress.show(f"optimizing {problem.name}: {name}")
                found += optimize(problem, name, estimator, steps=steps, learning_rate=learning_rate, seed=seed)
            curves += found
            if found:
                figure = curves_figure(problem, found, contestants, learning_rate)
                paths.append(save_figure(figure, out / f"{problem.name}-curves.png"))
        swept = {}
        for name, values in sweeps.items():
            progress.show(f"trade-off: {name}")
            rows = compare(_trade_off_problem(), values, num_draws=_SWEEP_DRAWS * draws, seed=seed)
            if not rows[0].reason:
                swept[name] = rows
        if swept:
            paths.append(save_figure(trade_off_figure(_trade_off_problem(), _ANNEALED, swept), out / "trade-off.png"))
    tables = [write_rows([row._asdict() for row in measurements], out / "gradients.csv")]
    if curves:
        tables.append(write_rows([summary(one) for one in curves], out / "optimization.csv"))
    settings = {
        "problems": [problem.name for problem in measured],
        "estimators": list(contestants),
        "draws": draws,
        "steps": steps,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    seconds = round(time.perf_counter() - began)
    write_json(out / "settings.json", {"settings": settings, "versions": versions(), "seconds": seconds})
    return Result(measurements, curves, [*tables, *paths, out / "settings.json"])


def default_estimators() -> list[str | Estimator]:
    """All that are registered, and variants: GenGS cooler and Rao-Blackwellized, direct arg max at a small epsilon."""
    return [
        *sorted(registry.REGISTRY),
        registry.get(GENERALIZED, temperature=0.25),
        registry.get(GENERALIZED, rao_blackwell=True),
        registry.get("direct_arg_max", epsilon=0.01),
    ]


def estimator_of(text: str | Estimator) -> Estimator:
    """The estimator of a name, or of a name with options, such as "score_function:baseline=none,num_samples=4".

    Raises:
        InputError: for an unknown name or option, or what is not of this form.
    """
    if isinstance(text, Estimator):
        return text
    name, colon, options = text.partition(":")
    registry.get(name)
    if colon and not options:
        raise InputError(f'options of an estimator are like "{name}:num_samples=4". Received: {text!r}.')
    return registry.get(name, **DiscreteVAERecipe(estimator=name, estimator_options=options).parsed_estimator_options())


def summary(curves: Curves) -> dict:
    """A row of `optimization.csv`."""
    return {
        "problem": curves.problem,
        "estimator": curves.estimator,
        "evaluations": curves.evaluations,
        "final_loss_above_minimum": curves.final_loss,
        "final_loss_error": curves.final_loss_error,
        "minimum": curves.minimum,
        "mean_variance": curves.mean_variance,
        "bias": curves.bias,
        "bias_error": curves.bias_error,
        "single_error": curves.single_error,
    }


def write_rows(rows: Sequence[dict], path: Path) -> Path:
    """Writes a CSV file, beside and then renamed, and returns its path."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
    return path


def _trade_off_problem() -> Problem:
    return problems.vae_layer(num_latents=1, num_categories=10)


def _sweeps(contestants: Iterable[Estimator]) -> dict[str, dict[str, Estimator]]:
    """For each class that anneals something, the estimator at each value of it."""
    sweeps = {}
    for name, cls in sorted(registry.REGISTRY.items()):
        if cls.annealed is not None and any(type(estimator) is cls for estimator in contestants):
            sweeps[name] = {f"{v:g}": registry.get(name, **{cls.annealed: v}) for v in _ANNEALED}
    return sweeps


class _Steps:
    """A progress bar where there is a terminal; a dozen plain lines where there is none."""

    def __init__(self, total: int, console: Console | None):
        self._console = console or Console(file=sys.stderr)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=self._console) if self._console.is_terminal else None
        self._total, self._done = total, -1

    def __enter__(self):
        # Each estimator is compiled anew, of which TensorFlow warns.
        self._level = tf.get_logger().level
        tf.get_logger().setLevel("ERROR")
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total)
        return self

    def show(self, text: str):
        """Begins one more step."""
        self._done += 1
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, description=text)
        elif self._done % max(self._total // 12, 1) == 0:
            self._console.print(f"{self._done + 1}/{self._total}  {text}", highlight=False)

    def __exit__(self, *error):
        tf.get_logger().setLevel(self._level)
        if self._bar is not None:
            if error[0] is None:
                self._bar.update(self._task, completed=self._total, description="done")
            self._bar.stop()
