"""`tfdiscrete gradients`."""

import argparse

from tfdiscrete.cli.parser import add_command


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(
        commands,
        "gradients",
        run,
        "Measure bias, variance and cost of gradient estimators on problems with a known gradient; draw them.",
        "  tfdiscrete gradients                                # all estimators, six problems: some minutes\n"
        "  tfdiscrete gradients vae_layer --estimators rebar relax gumbel_softmax:temperature=0.5\n"
        "  tfdiscrete gradients poisson --steps 1000           # optimize the rate for longer\n"
        "\n"
        "A bias is told from noise: 'no' says that it is within the noise of the draws, and more draws may find it.\n"
        "Problems of counts are optimized too, with each estimator, as in the generalized Gumbel-Softmax paper.\n"
        "The tables are gradients.csv and optimization.csv. For a problem of your own see\n"
        "help(tfdiscrete.estimators.compare).",
    )
    parser.add_argument(
        "problems",
        metavar="PROBLEM",
        nargs="*",
        help="bit, poisson, binomial, multinomial, negative_binomial, vae_layer (default: these), or "
        "invertible_gaussian_layer",
    )
    parser.add_argument(
        "--estimators",
        metavar="NAME",
        nargs="+",
        help="such as rebar, or with options score_function:baseline=none,num_samples=4 (default: all)",
    )
    parser.add_argument(
        "--draws",
        type=int,
        default=10_000,
        help="gradients drawn for a measurement, and 40 times as many for the trade-off (default 10000)",
    )
    parser.add_argument("--steps", type=int, default=300, help="of the optimization; 0: leave it out (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="of all noise (default 0)")
    parser.add_argument("--out", default="gradients", help="the folder of tables and pictures (default gradients)")
    return parser


def run(parsed) -> None:
    """Runs it."""
    from rich.console import Console

    from tfdiscrete.experiments import gradient_tables, gradients

    result = gradients.run(
        parsed.problems or gradients.PROBLEMS,
        estimators=parsed.estimators,
        out=parsed.out,
        draws=parsed.draws,
        steps=parsed.steps,
        seed=parsed.seed,
    )
    console = Console()
    if not console.is_terminal:
        console = Console(width=130)  # the longest names in one line, in a file too
    for table in gradient_tables.tables(result.measurements, result.curves):
        console.print(table)
    for path in result.paths:
        print(f"wrote {path}")
    print(f"look at the pictures in {parsed.out}; more draws resolve a smaller bias: --draws {10 * parsed.draws}")
