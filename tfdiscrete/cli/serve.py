"""`tfdiscrete serve`."""

import argparse

from tfdiscrete.cli.parser import add_command

_LIMITS = {
    "--max-batch-size": (int, 1024, "rows of waiting requests that are computed together; 1 computes each alone"),
    "--batch-wait": (float, 0.0, "seconds that a batch which is not full waits for more"),
    "--max-rows": (int, 4096, "rows that a request may have, or ask for as n; four times as many are computed at once"),
    "--max-request-mb": (float, 16.0, "the largest request, in MiB"),
    "--request-timeout": (float, 30.0, "seconds that a request's body may take to arrive, and then wait for its turn"),
    "--poll-seconds": (float, 1.0, "time between two looks for new versions"),
}


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(
        commands,
        "serve",
        run,
        "Serve runs or SavedModels over HTTP, with TF Serving's REST requests and the Open Inference Protocol, and a "
        "page to draw on at / (needs the 'serve' extra).",
        "  tfdiscrete serve runs/digits-0001 --port 8080        # then open http://127.0.0.1:8080\n"
        "  tfdiscrete serve digits=runs/digits-0001 fashion=models/fashion --versions 2\n"
        "  curl localhost:8080/v1/models/digits                 # is it ready?",
    )
    parser.add_argument(
        "models",
        metavar="[NAME=]PATH",
        nargs="+",
        help="a run, a folder BASE with BASE/VERSION/, or one version; NAME in the address (default: the folder's)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0 takes a free one (default 8080)")
    parser.add_argument(
        "--versions",
        type=int,
        default=1,
        metavar="NUMBER",
        help="the newest versions of each model that are served side by side (default 1)",
    )
    limits = parser.add_argument_group("limits")
    for option, (kind, default, text) in _LIMITS.items():
        limits.add_argument(option, type=kind, default=default, metavar="NUMBER", help=f"{text} (default {default:g})")
    return parser


def run(parsed) -> None:
    """Runs it."""
    from tfdiscrete.serving import name_models, serve

    names = ("host", "port", "versions", *(option[2:].replace("-", "_") for option in _LIMITS))
    serve(name_models(parsed.models), **{name: getattr(parsed, name) for name in names})
