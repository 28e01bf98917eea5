"""The pictures of `gradients`: bias against variance, curves of optimization, and what is annealed against both."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfdiscrete import estimators as registry
from tfdiscrete.estimators import Estimator
from tfdiscrete.estimators.compare import (
    Measurement,
)
from tfdiscrete.estimators.problems import Problem
from tfdiscrete.experiments.gradient_curves import DRAWS, GENERALIZED, PATHS, Curves

_LOWEST = 1e-6
"""Of the largest, what curves still show."""


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
    reference = next((one for one in curves if one.estimator == GENERALIZED), None)
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
    for row in panels:
        highest = max(axes.dataLim.ymax for axes in row)
        # An exact estimator's variance is that of rounding, far below all others.
        if row[0].get_ylim()[0] < _LOWEST * highest:
            row[0].set_ylim(_LOWEST * highest, 2.0 * highest)
    for axes, label in zip(
        panels[:, 0],
        ("loss above its minimum", "variance of the gradient", "bias, or its noise if larger"),
        strict=True,
    ):
        axes.set_ylabel(label)
    title = (
        f"{problem.description}; Adam, learning rate {learning_rate:g}; cumulative averages of {PATHS} paths; what is "
        f"below {_LOWEST:g} of the largest is left out"
    )
    figure.suptitle(textwrap.fill(title, width=58 * len(columns)), fontsize=10)
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


def trade_off_figure(problem: Problem, annealed_values: Sequence[float], swept: dict[str, list[Measurement]]) -> Figure:
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
    noise = [max(rows[i].bias_error for rows in swept.values()) / norm for i in range(len(annealed_values))]
    left.fill_between(annealed_values, 0.0, noise, color="0.9", label="noise of the measurement, at most")
    left.set(ylabel="bias / norm")
    right.set(ylabel="standard deviation / norm")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="epsilon, or temperature")
        axes.grid(color="0.93")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    figure.suptitle(problem.description, fontsize=10)
    return figure
