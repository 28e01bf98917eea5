"""The printed tables of `gradients`, and who was best."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.table import Column, Table

from tfdiscrete.estimators.compare import (
    Measurement,
)
from tfdiscrete.experiments.gradient_curves import GENERALIZED, Curves


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
        if GENERALIZED in scores[0]:
            ranks = tuple(1 + sum(value < score[GENERALIZED] for value in score.values()) for score in scores)
        rankings.append(Ranking(problem, best[0], best[1], best[2], best[3], ranks, len(members)))
    return rankings


def tables(measurements: Sequence[Measurement], curves: Sequence[Curves]) -> list[Table]:
    """What the command line prints: the measurements of each problem, the optimizations, and their ranking."""
    printed = [
        _measurements_table(name, [row for row in measurements if row.problem == name])
        for name in dict.fromkeys(row.problem for row in measurements)
    ]
    if not curves:
        return printed
    best = Table(
        "problem",
        "lowest",
        Column("whose", overflow="fold"),
        Column("GenGS is", justify="right"),
        title="the best in optimization",
        caption="a bias within its noise counts as none; single error: a draw's root mean square distance to the exact",
    )
    for ranking in rank(curves):
        printed.append(_optimization_table([one for one in curves if one.problem == ranking.problem]))
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
