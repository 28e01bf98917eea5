"""How good gradient estimators are: their bias, variance and cost on problems whose exact gradient is known.

Three kinds of pictures and two tables. `PROBLEM.png` shows bias, variance and evaluations at the problem's starting
point. `PROBLEM-curves.png` follows the optimization of a count law's parameter, as figure 3 of the first paper does;
`trade-off.png` shows bias and spread against epsilon and the temperature, as figure 1 of the second does.

The curves are of Adam on the law's parameter, at a constant rate, on `PATHS` independent paths. At each step `DRAWS`
gradients are drawn at each path's parameter: the first one moves it, and all of them measure the variance, and the
error against the exact gradient. Curves are cumulative averages over the steps, as in the paper; that of the bias is
the norm of the average error, so that the noise of unbiased estimators averages out.

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847.
Guy Lorberbom, Andreea Gane, Tommi Jaakkola, Tamir Hazan (2019), "Direct Optimization through arg max for Discrete
Variational Auto-Encoder", arXiv 1806.02867.
"""

import csv
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import scipy.optimize
import tensorflow as tf
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from tfdiscrete import estimators as registry
from tfdiscrete.errors import InputError, check_count, check_positive, check_seed
from tfdiscrete.estimators import Estimator, problems
from tfdiscrete.estimators.compare import (
    Measurement,
    compare,
    exact_gradients,
    named,
    prepare,
    replicate,
    train_step,
)
from tfdiscrete.estimators.problems import Problem
from tfdiscrete.ops import fold_in, seed_of
from tfdiscrete.runs import RunConfig
from tfdiscrete.runs.folder import versions, write_json
from tfdiscrete.training.pictures import save_figure

PROBLEMS = ("bit", "poisson", "binomial", "multinomial", "negative_binomial", "vae_layer")
"""What is measured by default."""

SYNTHETIC = ("poisson", "binomial", "multinomial", "negative_binomial")
"""Those of the generalized Gumbel-Softmax paper, which are optimized too."""

PATHS, DRAWS = 16, 4

_GENERALIZED = "generalized_gumbel_softmax"
_ANNEALED = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Curves(NamedTuple):
    """The optimization of one problem with one estimator, over `T` steps; averages over paths and draws."""

    problem: str
    estimator: str
    evaluations: int
    """Of the cost, by one draw."""
    loss: np.ndarray  # [T, PATHS], exact
    minimum: float
    """The least expected cost that any parameter has."""
    variance: np.ndarray  # [T], tr Cov of one draw
    error: np.ndarray  # [T, P], the draws' mean less the exact gradient

    @property
    def final_loss(self) -> float:
        """The expected cost above its minimum, averaged over the last tenth of the steps."""
        return float(self._final.mean()) - self.minimum

    @property
    def final_loss_error(self) -> float:
        """Its standard error, from the spread of the paths."""
        return float(self._final.std(ddof=1) / np.sqrt(len(self._final)))

    @property
    def _final(self) -> np.ndarray:
        return self.loss[-max(len(self.loss) // 10, 1) :].mean(axis=0)

    @property
    def mean_variance(self) -> float:
        """The variance averaged over the steps."""
        return float(self.variance.mean())

    @property
    def bias(self) -> float:
        """The norm of the mean error over the steps."""
        return float(np.linalg.norm(self.error.mean(axis=0)))

    @property
    def bias_error(self) -> float:
        """What noise alone would make of `bias`, about."""
        return float(np.sqrt(self.mean_variance / (PATHS * DRAWS * len(self.loss))))

    @property
    def within_noise(self) -> bool:
        """Whether `bias` is less than three times its noise."""
        return self.bias < 3.0 * self.bias_error

    @property
    def single_error(self) -> float:
        """The root mean square of a single draw's distance to the exact gradient."""
        return float(np.sqrt(np.mean(self.variance + np.sum(self.error**2, axis=-1))))


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
        out: the folder of `gradients.csv`, `optimization.csv`, the pictures and `settings.json`, which has the seed and
            the versions too; made if it is not there.
        draws: gradients drawn for a measurement.
        steps: of the optimization of synthetic problems; 0 leaves it out.
        learning_rate: Adam's, in it.
        seed: of all noise.
        console: where the progress goes; by default standard error.

    Returns:
        A `Result`.
    """
    measured = [problems.get(problem) for problem in chosen]
    contestants = named(default_estimators() if estimators is None else [estimator_of(one) for one in estimators])
    check_count("num_draws", draws, 2)
    check_count("steps", steps, 0)
    check_positive("learning_rate", learning_rate)
    check_seed(seed)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    optimized = [problem for problem in measured if steps and problem.name in SYNTHETIC]
    # The Gumbel-Softmax of counts is GenGS.
    twice = any(type(one) is registry.GeneralizedGumbelSoftmax for one in contestants.values())
    climbing = {k: v for k, v in contestants.items() if not (twice and type(v) is registry.GumbelSoftmax)}
    measurements, curves, paths = [], [], []
    sweeps = _sweeps(contestants.values())
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
            rows = compare(_trade_off_problem(), values, num_draws=draws, seed=seed)
            if not rows[0].reason:
                swept[name] = rows
        if swept:
            paths.append(save_figure(trade_off_figure(swept), out / "trade-off.png"))
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
    write_json(out / "settings.json", {"settings": settings, "versions": versions()})
    return Result(measurements, curves, [*tables, *paths, out / "settings.json"])


def default_estimators() -> list[str | Estimator]:
    """All that are registered, and variants: GenGS cooler and Rao-Blackwellized, direct arg max at a small epsilon."""
    return [
        *sorted(registry.REGISTRY),
        registry.get(_GENERALIZED, temperature=0.25),
        registry.get(_GENERALIZED, rao_blackwell=True),
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
    return registry.get(name, **RunConfig(estimator=name, estimator_options=options).parsed_estimator_options())


def optimize(
    problem: Problem, name: str, estimator: Estimator, *, steps: int, learning_rate: float, seed: int
) -> list[Curves]:
    """Optimizes the problem's parameters with the estimator's gradients; nothing, if the problem does not allow it."""
    try:
        sampler = prepare(problem, estimator, seed=seed)
    except InputError:
        return []
    variables = tf.nest.map_structure(
        lambda p: keras.Variable(np.broadcast_to(p, (PATHS, *np.shape(p))).copy(), dtype="float64"), problem.parameters
    )
    optimizer, own_optimizer = keras.optimizers.Adam(learning_rate), keras.optimizers.Adam(0.01)
    optimizer.build(tf.nest.flatten(variables))
    own_optimizer.build(sampler.estimator.trainable_variables)

    @tf.function
    def follow(seed):
        traces = [tf.TensorArray(tf.float64, steps) for _ in range(3)]
        for step in tf.range(steps):
            values = tf.nest.map_structure(lambda v: v.value, variables)
            repeated = tf.nest.map_structure(lambda v: tf.repeat(v, DRAWS, axis=0), values)
            drawn = train_step(problem, sampler.estimator, own_optimizer, repeated, fold_in(seed, step))
            drawn = tf.reshape(drawn, [PATHS, DRAWS, drawn.shape[-1]])
            loss, exact = exact_gradients(problem, tf.nest.map_structure(tf.identity, values))
            variance = tf.reduce_sum(tf.math.reduce_variance(drawn, axis=1), axis=-1) * DRAWS / (DRAWS - 1)
            error = tf.reduce_mean(drawn - exact[:, tf.newaxis], axis=[0, 1])
            measured = (loss, tf.reduce_mean(variance), error)
            traces = [trace.write(step, value) for trace, value in zip(traces, measured, strict=True)]
            optimizer.apply_gradients(_parts(drawn[:, 0], tf.nest.flatten(variables)))
        return [trace.stack() for trace in traces]

    loss, variance, error = (trace.numpy() for trace in follow(seed_of(seed, "optimize")))
    return [Curves(problem.name, name, sampler.evaluations, loss, minimum(problem), variance, error)]


def _parts(flat, variables):
    """Rows `[R, P]` as pairs of gradient and variable `[R, ...]`."""
    sizes = [int(np.prod(variable.shape[1:])) for variable in variables]
    split = tf.split(flat, sizes, axis=-1)
    return [(tf.reshape(part, variable.shape), variable) for part, variable in zip(split, variables, strict=True)]


def minimum(problem: Problem) -> float:
    """The least expected cost, found from the problem's parameters by BFGS on the exact gradient."""
    start = replicate(problem, 1)

    def value_and_gradient(flat):
        parts = tf.split(tf.constant(flat[None]), [int(np.prod(p.shape)) for p in tf.nest.flatten(start)], axis=-1)
        parts = [tf.reshape(part, p.shape) for part, p in zip(parts, tf.nest.flatten(start), strict=True)]
        value, gradient = exact_gradients(problem, tf.nest.pack_sequence_as(start, parts))
        return float(value[0]), gradient[0].numpy()

    flat = np.concatenate([np.ravel(part) for part in tf.nest.flatten(problem.parameters)])
    return float(scipy.optimize.minimize(value_and_gradient, flat, jac=True, method="BFGS").fun)


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


def measurements_figure(problem: Problem, rows: Sequence[Measurement]) -> Figure:
    """A row for each estimator: relative bias, relative variance, evaluations of the cost."""
    rows = sorted((row for row in rows if not row.reason), key=lambda row: -row.variance)
    figure = Figure(figsize=(10.5, 1.6 + 0.27 * len(rows)), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharey=True, width_ratios=[2, 2, 1])
    norm = rows[0].gradient_norm
    floor = 1e-6
    for y, row in enumerate(rows):
        colour, marker = {True: ("C3", "o"), False: ("C0", "o"), None: ("0.3", "x")}[row.biased]
        bias, error = max(row.bias / norm, floor), max(row.bias_error / norm, floor)
        left.plot([floor / 3, error], [y, y], color="0.8", linewidth=5, solid_capstyle="butt")
        left.plot(bias, y, marker, color=colour, fillstyle="full" if row.biased else "none", markersize=6)
        middle.plot(max(row.variance / norm**2, floor), y, "o", color=colour, markersize=6)
        right.plot(row.evaluations, y, "o", color="0.3", markersize=5)
    left.plot([], [], "o", color="C3", label="biased")
    left.plot([], [], "o", color="C0", fillstyle="none", label="within noise")
    if any(row.biased is None for row in rows):
        left.plot([], [], "x", color="0.3", label="all draws alike: unknown")
    left.plot([], [], color="0.8", linewidth=5, label="noise of the measurement")
    left.set_yticks(range(len(rows)), [row.estimator for row in rows], fontsize=8)
    left.set(xlabel="bias / norm of the gradient (1e-6 or less)", xscale="log", xlim=(floor / 3, None))
    middle.set(xlabel="variance / squared norm (1e-6 or less)", xscale="log")
    right.set(xlabel="evaluations", xscale="log", xlim=(0.7, 1.5 * max(row.evaluations for row in rows)))
    most = max(row.evaluations for row in rows)
    ticks = [1, 2, 5] if most < 10 else [10**power for power in range(9)]
    right.set_xticks([tick for tick in ticks if tick <= most], minor=False)
    right.xaxis.set_major_formatter("{x:g}")
    right.set_xticks([], minor=True)
    for axes in (left, middle, right):
        axes.grid(axis="both", color="0.92")
        axes.set_axisbelow(True)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle(f"{problem.name.replace('_', ' ')}: {problem.description}", fontsize=10)
    return figure


def curves_figure(problem: Problem, curves: Sequence[Curves], contestants: dict, learning_rate: float) -> Figure:
    """Loss, variance and bias, below one another, in a column for each group of estimators; GenGS in all of them."""
    columns = _groups(curves, contestants)
    reference = next((one for one in curves if one.estimator == _GENERALIZED), None)
    figure = Figure(figsize=(4.3 * len(columns), 9.5), layout="constrained")
    panels = figure.subplots(3, len(columns), sharex=True, sharey="row", squeeze=False)
    for column, (title, members) in zip(panels.T, columns.items(), strict=True):
        if reference is not None:
            _draw_curves(column, reference, color="0.1", linewidth=2.2, alpha=0.75)
        for number, one in enumerate(one for one in members if one is not reference):
            style = ["-", "--", ":"][number // 10 % 3]
            _draw_curves(column, one, color=f"C{number % 10}", linewidth=1.1, linestyle=style)
        column[0].set_title(title, fontsize=10)
        column[-1].set_xlabel("step")
        handles = column[0].get_legend_handles_labels()
        column[-1].legend(*handles, fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False)
    for axes, label in zip(
        panels[:, 0],
        ("loss above its minimum", "variance of the gradient", "bias, or its noise if larger"),
        strict=True,
    ):
        axes.set_ylabel(label)
    figure.suptitle(
        f"{problem.description}; Adam, learning rate {learning_rate:g}; cumulative averages of {PATHS} paths",
        fontsize=10,
    )
    return figure


def _draw_curves(column, one: Curves, **style):
    steps = np.arange(1, len(one.loss) + 1)
    variance = np.cumsum(one.variance) / steps
    bias = np.linalg.norm(np.cumsum(one.error, axis=0) / steps[:, None], axis=-1)
    label = f"{one.estimator} [{one.evaluations}]"
    column[0].plot(steps, np.cumsum(one.loss.mean(axis=1) - one.minimum) / steps, label=label, **style)
    column[1].plot(steps, variance, **style)
    column[2].plot(steps, np.maximum(bias, np.sqrt(variance / (PATHS * DRAWS * steps))), **style)
    for axes in column:
        axes.set_yscale("log")
        axes.grid(color="0.93")


def _groups(curves: Sequence[Curves], contestants: dict[str, Estimator]) -> dict[str, list[Curves]]:
    titles = ("biased", "unbiased, from values of the cost", "unbiased, differentiating the cost")
    groups: dict[str, list[Curves]] = {title: [] for title in titles}
    for one in curves:
        estimator = contestants[one.estimator]
        differentiates = bool({"gradient", "relaxed"} & estimator.needs)
        groups[titles[1 + differentiates if estimator.unbiased else 0]].append(one)
    return {f"{title} [evaluations a draw]": members for title, members in groups.items() if members}


def _trade_off_problem() -> Problem:
    return problems.vae_layer(num_latents=1, num_categories=10)


def _sweeps(contestants: Iterable[Estimator]) -> dict[str, dict[str, Estimator]]:
    """For each class that anneals something, the estimator at each value of it."""
    sweeps = {}
    for name, cls in sorted(registry.REGISTRY.items()):
        if cls.annealed is not None and any(type(estimator) is cls for estimator in contestants):
            sweeps[name] = {f"{v:g}": registry.get(name, **{cls.annealed: v}) for v in _ANNEALED}
    return sweeps


def trade_off_figure(swept: dict[str, list[Measurement]]) -> Figure:
    """Bias and standard deviation against epsilon or the temperature."""
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for number, (name, rows) in enumerate(swept.items()):
        values = [float(row.estimator) for row in rows]
        norm = rows[0].gradient_norm
        annealed = registry.REGISTRY[name].annealed
        style = {"color": f"C{number}", "marker": "osD^vP*X"[number % 8], "markersize": 5 + 2.5 * (number % 2 == 0)}
        style |= {"fillstyle": "none" if number % 2 == 0 else "full", "linewidth": 1.1}
        left.plot(values, [row.bias / norm for row in rows], label=f"{name} ({annealed})", **style)
        right.plot(values, [row.variance**0.5 / norm for row in rows], **style)
    noise = [max(rows[i].bias_error for rows in swept.values()) / norm for i in range(len(_ANNEALED))]
    left.fill_between(_ANNEALED, 0.0, noise, color="0.9", label="noise of the measurement, at most")
    left.set(ylabel="bias / norm")
    right.set(ylabel="standard deviation / norm")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="epsilon, or temperature")
        axes.grid(color="0.93")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    figure.suptitle(_trade_off_problem().description, fontsize=10)
    return figure


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


class Ranking(NamedTuple):
    """Who was best at optimizing a problem, and how GenGS did."""

    problem: str
    lowest_loss: str
    lowest_variance: str
    lowest_bias: str
    """All whose bias is within its noise; where there are none, the one of the least bias."""
    lowest_single_error: str
    ranks: tuple[int, ...]
    """Of GenGS with default settings, 1 is best, among `contestants`, in the order of the fields above; empty without
    it."""
    contestants: int


def rank(curves: Sequence[Curves]) -> list[Ranking]:
    """A `Ranking` for each problem."""
    rankings = []
    for problem in dict.fromkeys(one.problem for one in curves):
        members = [one for one in curves if one.problem == problem]
        scores = [
            {one.estimator: one.final_loss for one in members},
            {one.estimator: one.mean_variance for one in members},
            {one.estimator: 0.0 if one.within_noise else one.bias for one in members},
            {one.estimator: one.single_error for one in members},
        ]
        best = ["; ".join(name for name, value in score.items() if value == min(score.values())) for score in scores]
        ranks: tuple[int, ...] = ()
        if _GENERALIZED in scores[0]:
            ranks = tuple(1 + sum(value < score[_GENERALIZED] for value in score.values()) for score in scores)
        rankings.append(Ranking(problem, best[0], best[1], best[2], best[3], ranks, len(members)))
    return rankings


def tables(result: Result) -> list[Table]:
    """What the command line prints: the measurements of each problem, the optimizations, and their ranking."""
    printed = [
        _measurements_table(name, [row for row in result.measurements if row.problem == name])
        for name in dict.fromkeys(row.problem for row in result.measurements)
    ]
    if not result.curves:
        return printed
    best = Table(
        "problem",
        "lowest",
        Column("whose", overflow="fold"),
        Column("GenGS is", justify="right"),
        title="the best in optimization",
        caption="a bias within its noise counts as none; single error: a draw's root mean square distance to the exact",
    )
    for ranking in rank(result.curves):
        printed.append(_optimization_table([one for one in result.curves if one.problem == ranking.problem]))
        criteria = ("final loss", "mean variance", "bias", "single error")
        ranks = ranking.ranks or (0,) * len(criteria)
        for criterion, winners, place in zip(criteria, ranking[1:5], ranks, strict=True):
            names = winners.split("; ")
            whose = winners if len(names) == 1 else f"{len(names)} alike"
            best.add_row(ranking.problem, criterion, whose, f"{place} of {ranking.contestants}" if place else "-")
    return [*printed, best]


def _optimization_table(curves: Sequence[Curves]) -> Table:
    table = Table(
        Column("estimator", overflow="fold"),
        *(
            Column(name, justify="right", no_wrap=True)
            for name in ("f", "final loss", "variance", "bias", "single error")
        ),
        title=f"optimization of {curves[0].problem}: loss above its minimum in the end, and means over the steps",
    )
    for one in curves:
        bias = f"{one.bias:.2g} ± {one.bias_error:.1g}"
        loss = f"{one.final_loss:.3g} ± {one.final_loss_error:.1g}"
        table.add_row(
            one.estimator, str(one.evaluations), loss, f"{one.mean_variance:.3g}", bias, f"{one.single_error:.3g}"
        )
    return table


def _measurements_table(problem: str, rows: Sequence[Measurement]) -> Table:
    columns = ("f", "of them f'", "bias", "noise", "variance", "SNR", "ms")
    refused = [row.estimator for row in rows if row.reason]
    table = Table(
        Column("estimator", overflow="fold"),
        "biased",
        *(Column(name, justify="right", no_wrap=True) for name in columns),
        title=f"{problem}: bias and variance relative to the gradient's norm and its square",
        caption="f: evaluations of the cost; f': those differentiated; ms: of a call for 1,000 replicas"
        + (f"; not allowed here, for the reasons in gradients.csv: {', '.join(refused)}" if refused else ""),
    )
    for row in (row for row in rows if not row.reason):
        norm = row.gradient_norm
        numbers = (row.bias / norm, row.bias_error / norm, row.variance / norm**2, row.signal_to_noise)
        figures = [str(row.evaluations), str(row.with_gradient), *(f"{number:.2g}" for number in numbers)]
        table.add_row(
            row.estimator, {True: "yes", False: "no", None: "?"}[row.biased], *figures, f"{row.milliseconds:.1f}"
        )
    return table
