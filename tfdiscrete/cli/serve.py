"""`tfdiscrete serve`."""

import argparse
import re
from pathlib import Path

from tfdiscrete.cli.parser import add_command


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(
        commands,
        "serve",
        run,
        "Serve a run or a SavedModel over HTTP, with TF Serving's REST requests (needs the 'serve' extra).",
        "  tfdiscrete serve runs/digits-0001 --port 8080\n"
        "  curl localhost:8080/v1/models/digits-0001            # is it ready?",
    )
    parser.add_argument("model", metavar="RUN_OR_SAVED_MODEL", help="a run, or a folder BASE with BASE/VERSION/")
    parser.add_argument("--name", help="the model's name in the address (default: the folder's name)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default 8080)")
    return parser


def run(parsed) -> None:
    """Runs it."""
    from tfdiscrete.serving import serve

    path = Path(parsed.model)
    serve(
        {parsed.name or re.sub(r"[^\w.-]", "-", path.resolve().name, flags=re.ASCII): path},
        host=parsed.host,
        port=parsed.port,
    )
