"""What all commands' parsers share."""

import argparse
import importlib
import os
import sys


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str):
        self.exit(2, f"tfdiscrete: error: {message}. See '{self.prog} --help'.\n")


def add_command(commands, name: str, command, summary: str, epilog: str = "") -> argparse.ArgumentParser:
    """Adds a command, `command(parsed)`, with its help: what it does, and examples."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(command=command)
    return parser


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without the lines about CPU features that its C++ part writes to standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        importlib.import_module("tensorflow")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
