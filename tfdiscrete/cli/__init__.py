"""The command line: a thin skin over `tfdiscrete.runs`, `tfdiscrete.serving` and `tfdiscrete.experiments`.

A command is a file here, with `add`, which describes its arguments, and `run`. Errors that the user can mend are
printed on one line, with exit code 2. Everything heavy is imported by the command that needs it, so that `--help`
answers at once.
"""

import argparse
import sys

from tfdiscrete.cli import evaluate, experiment, export, fit_pmf, gradients, sample, serve, train
from tfdiscrete.cli.parser import Parser, import_tensorflow_quietly
from tfdiscrete.errors import InputError, check_name, unknown_name
from tfdiscrete.version import __version__

_EPILOG = """\
A first run, a look at it, and a server for it:

  tfdiscrete train                                   # digits, about half a minute
  tfdiscrete sample runs/digits-0001
  tfdiscrete serve runs/digits-0001 --port 8080

Every command is one Python call; see `tfdiscrete.runs` and `tfdiscrete.serving`."""

# In the order of --help.
COMMANDS = {
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
    "export": export,
    "serve": serve,
    "experiment": experiment,
    "fit-pmf": fit_pmf,
    "gradients": gradients,
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 2 for input that the user can mend, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parsed = _parse(arguments)
        import_tensorflow_quietly()
        parsed.command(parsed)
    except (InputError, OSError) as error:
        print(f"tfdiscrete: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(f"tfdiscrete: {interruption or 'interrupted'}", file=sys.stderr)
        return 130
    return 0


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parses, and names the nearest command or option for one that does not exist."""
    parser = make_parser(arguments)
    if arguments and not arguments[0].startswith("-"):
        check_name("command", arguments[0], COMMANDS)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown and unknown[0].startswith("-"):
        raise unknown_name("option", unknown[0], parsed.options)
    if unknown:
        parser.error(f"unexpected arguments: {' '.join(unknown)}")
    return parsed


def make_parser(arguments: list[str]) -> argparse.ArgumentParser:
    """The parser of all commands; the settings of a model are described for a command line that trains one."""
    parser = Parser(
        prog="tfdiscrete",
        description="Train, look at, export and serve models with discrete latent variables.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tfdiscrete {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = module.add(commands)
        if name == "train" and arguments[:1] == ["train"]:
            train.add_settings(command, arguments[1:])
        command.set_defaults(options=list(command._option_string_actions))
    return parser
