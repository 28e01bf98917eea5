"""`tfdiscrete export`."""

import argparse

from tfdiscrete.cli.parser import add_command


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(
        commands,
        "export",
        run,
        "Write a finished run's model as the next version of a TF Serving folder.",
        "  tfdiscrete export runs/digits-0001 models/digits      # models/digits/1, then 2, ...\n"
        "  saved_model_cli show --dir models/digits/1 --all",
    )
    parser.add_argument("run", metavar="RUN", help="the folder that 'tfdiscrete train' wrote")
    parser.add_argument("directory", metavar="DIR", help="the folder of all versions; made if it is not there")
    return parser


def run(parsed) -> None:
    """Runs it."""
    from tfdiscrete import runs

    path = runs.export(parsed.run, parsed.directory).path
    print(
        f"wrote {path}\nlook at it: saved_model_cli show --dir {path} --all\nserve it:   tfdiscrete serve {path.parent}"
    )
