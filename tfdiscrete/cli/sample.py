"""`tfdiscrete sample`."""

import argparse

from tfdiscrete.cli.parser import add_command


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(
        commands,
        "sample",
        run,
        "Draw images from a finished run's model, as one picture.",
        "  tfdiscrete sample runs/digits-0001 --num 100 --seed 1",
    )
    parser.add_argument("run", metavar="RUN", help="the folder that 'tfdiscrete train' wrote")
    parser.add_argument("--num", type=int, default=64, help="how many (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same images (default 0)")
    parser.add_argument("--out", help="the PNG (default RUN/samples-SEED.png)")
    return parser


def run(parsed) -> None:
    """Runs it."""
    from tfdiscrete import runs

    print(f"wrote {runs.sample(parsed.run, num=parsed.num, seed=parsed.seed, out=parsed.out)}")
