"""`tfdiscrete export`."""

import argparse

from tfdiscrete.cli.parser import add_command


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(
        commands,
        "export",
        run,
        "Write a finished run's model as the next version of a TF Serving folder, with a card that describes it.",
        "  tfdiscrete export runs/digits-0001 models/digits      # models/digits/1, then 2, ...\n"
        "  tfdiscrete export runs/digits-0001 models/digits --formats saved_model onnx litert\n"
        "  saved_model_cli show --dir models/digits/1 --all",
    )
    parser.add_argument("run", metavar="RUN", help="the folder that 'tfdiscrete train' wrote")
    parser.add_argument("directory", metavar="DIR", help="the folder of all versions; made if it is not there")
    parser.add_argument(
        "--formats",
        metavar="FORMAT",
        nargs="+",
        default=["saved_model"],
        help="saved_model, onnx, litert (default saved_model; the others need pip install 'tfdiscrete[export]')",
    )
    parser.add_argument(
        "--signatures",
        metavar="NAME",
        nargs="+",
        help="what goes into ONNX and LiteRT (default: all that draw nothing; the SavedModel has all)",
    )
    return parser


def run(parsed) -> None:
    """Runs it."""
    from rich.console import Console
    from rich.table import Table

    from tfdiscrete import runs

    exported = runs.export(parsed.run, parsed.directory, formats=parsed.formats, signatures=parsed.signatures)
    table = Table("format", "signatures", "bytes", "load and first answers", "difference", title=str(exported.path))
    for each in exported.formats:
        table.add_row(
            each.name,
            ", ".join(each.signatures),
            f"{each.num_bytes:,}",
            f"{1e3 * each.load_seconds:.0f} ms",
            "" if each.difference is None else f"{each.difference:.1e}",
        )
    Console().print(table)
    print(
        f"wrote {exported.path}\n"
        f"read about it: {exported.path / 'MODEL.md'}\n"
        f"look at it:    saved_model_cli show --dir {exported.path} --all\n"
        f"serve it:      tfdiscrete serve {exported.path.parent}"
    )
