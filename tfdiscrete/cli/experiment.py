"""`tfdiscrete experiment`."""

import argparse

from tfdiscrete.cli.parser import add_command


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(
        commands,
        "experiment",
        run,
        "Reproduce a table of a paper, with the published numbers beside ours.",
        "  tfdiscrete experiment binarized_mnist --out results\n"
        "  tfdiscrete experiment estimators --only '20x2-*'     # the table holds what is finished",
    )
    parser.add_argument("name", metavar="NAME", help="which one: binarized_mnist, estimators, image_models")
    parser.add_argument("--out", default="results", help="where the tables go (default results)")
    parser.add_argument(
        "--runs", default="runs", help="where the runs' folders go; unfinished ones go on (default runs)"
    )
    parser.add_argument("--only", metavar="PATTERN", help="which rows to train, such as '20x2-*' (default: all)")
    return parser


def run(parsed) -> None:
    """Runs it."""
    from tfdiscrete import experiments

    for path in experiments.get(parsed.name)(out=parsed.out, runs_folder=parsed.runs, only=parsed.only):
        print(f"wrote {path}")
