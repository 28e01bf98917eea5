"""`tfdiscrete evaluate`."""

import argparse

from tfdiscrete.cli.figures import print_figures
from tfdiscrete.cli.parser import add_command


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(
        commands,
        "evaluate",
        run,
        "Compute a finished run's bounds and latent usage again, on any split.",
        "  tfdiscrete evaluate runs/digits-0001 --split valid",
    )
    parser.add_argument("run", metavar="RUN", help="the folder that 'tfdiscrete train' wrote")
    parser.add_argument("--split", default="test", help="train, valid or test (default test)")
    return parser


def run(parsed) -> None:
    """Runs it."""
    from tfdiscrete import runs

    metrics = runs.evaluate(parsed.run, split=parsed.split)
    print_figures(runs.RunFolder(parsed.run).read_recipe(), metrics, f"{parsed.run}, {parsed.split} split")
