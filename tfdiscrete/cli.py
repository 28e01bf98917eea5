"""The command line: a thin skin over `tfdiscrete.runs`, `tfdiscrete.serving` and `tfdiscrete.experiments`.

Errors that the user can mend are printed on one line, with exit code 2. Everything heavy is imported by the command
that needs it, so that `--help` answers at once.
"""

import argparse
import dataclasses
import importlib
import os
import re
import sys
from pathlib import Path

from tfdiscrete.errors import InputError, check_name, unknown_name
from tfdiscrete.version import __version__

_EPILOG = """\
A first run, a look at it, and a server for it:

  tfdiscrete train                                   # digits, about half a minute
  tfdiscrete sample runs/digits-0001
  tfdiscrete serve runs/digits-0001 --port 8080

Every command is one Python call; see `tfdiscrete.runs` and `tfdiscrete.serving`."""

_TRAIN_EPILOG = """\
The run's folder gets config.json, metrics.json, pictures, TensorBoard logs, model.keras and saved_model/1/. Ctrl-C is
safe: the same command with --resume goes on after the last whole epoch.

  tfdiscrete train --dataset binarized_mnist --epochs 300 --out runs/mnist
  tfdiscrete train --out runs/mnist --resume
  tfdiscrete train --estimator score_function --num-latents 8 --num-categories 4
  tfdiscrete train --model semi_supervised_vae --num-labelled 50
  tfdiscrete train --model vector_quantized_vae --help

Data other than `digits` is looked for in the folder that TFDISCRETE_DATA names, then in ~/.keras/datasets, then
downloaded."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 2 for input that the user can mend, 130 after Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        parsed = _parse(arguments)
        _import_tensorflow_quietly()
        parsed.command(parsed)
    except (InputError, OSError) as error:
        print(f"tfdiscrete: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        print(f"tfdiscrete: {interruption or 'interrupted'}", file=sys.stderr)
        return 130
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str):
        self.exit(2, f"tfdiscrete: error: {message}. See '{self.prog} --help'.\n")


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parses, and names the nearest command or option for one that does not exist."""
    parser = _parser(arguments)
    if arguments and not arguments[0].startswith("-"):
        check_name("command", arguments[0], _COMMANDS)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown and unknown[0].startswith("-"):
        raise unknown_name("option", unknown[0], parsed.options)
    if unknown:
        parser.error(f"unexpected arguments: {' '.join(unknown)}")
    return parsed


def _import_tensorflow_quietly():
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


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tfdiscrete",
        description="Train, look at, export and serve models with discrete latent variables.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"tfdiscrete {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, add in _COMMANDS.items():
        command = add(commands)
        if name == "train" and arguments[:1] == ["train"]:
            _add_settings(command, arguments[1:])
        command.set_defaults(options=list(command._option_string_actions))
    return parser


def _add(commands, name: str, command, summary: str, epilog: str = "") -> argparse.ArgumentParser:
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


def _add_train(commands) -> argparse.ArgumentParser:
    parser = _add(commands, "train", _train, "Train a model and write its run folder.", _TRAIN_EPILOG)
    run = parser.add_argument_group("run")
    run.add_argument("--out", help="the run's folder (default runs/DATASET-NNNN, the first free number)")
    run.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out; without a decaying learning rate, --epochs may grow",
    )
    run.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    return parser


def _add_settings(parser: argparse.ArgumentParser, arguments: list[str]):
    """Describes a model's settings; only for a command line that is about them, since it imports TensorFlow."""
    _import_tensorflow_quietly()
    from tfdiscrete.runs import RunFolder
    from tfdiscrete.runs.recipes import REGISTRY

    chooser = _Parser(prog=parser.prog, add_help=False, allow_abbrev=False)
    chooser.add_argument("--model")
    chooser.add_argument("--out")
    chooser.add_argument("--resume", action="store_true")
    chosen = chooser.parse_known_args(arguments)[0]
    if chosen.model is None and chosen.resume and chosen.out and RunFolder(chosen.out).is_run:
        chosen.model = RunFolder(chosen.out).read_recipe().model
    model = check_name("model", chosen.model or "discrete_vae", REGISTRY)
    models = "; ".join(f"{name}, {recipe.summary}" for name, recipe in REGISTRY.items())
    parser.add_argument(
        "--model",
        default=argparse.SUPPRESS,
        metavar="NAME",
        help=f"which model, whose settings are shown below: {models} (default discrete_vae)",
    )
    settings = parser.add_argument_group(f"settings of {model}")
    for option in dataclasses.fields(REGISTRY[model]):
        choices = option.metadata["choices"]
        settings.add_argument(
            "--" + option.name.replace("_", "-"),
            type=type(option.default),
            default=argparse.SUPPRESS,
            metavar="NAME" if choices else "TEXT" if isinstance(option.default, str) else "NUMBER",
            help=f"{option.metadata['help']}{': ' + ', '.join(choices) if choices else ''} "
            f"(default {'none' if option.default == '' else option.default})",
        )


def _train(parsed):
    from tfdiscrete import runs

    own = ("command", "options", "out", "resume", "overwrite")
    settings = {name: value for name, value in vars(parsed).items() if name not in own}
    if parsed.resume and parsed.overwrite:
        raise InputError("--resume continues a run and --overwrite replaces it: give one of them.")
    folder = runs.train(settings, parsed.out, resume=parsed.resume, overwrite=parsed.overwrite)
    recipe = folder.read_recipe()
    _print_figures(recipe, folder.read_metrics(), f"{recipe.dataset}, test split")
    print(runs.next_steps(folder))


def _add_evaluate(commands) -> argparse.ArgumentParser:
    parser = _add(
        commands,
        "evaluate",
        _evaluate,
        "Compute a finished run's bounds and latent usage again, on any split.",
        "  tfdiscrete evaluate runs/digits-0001 --split valid",
    )
    parser.add_argument("run", metavar="RUN", help="the folder that 'tfdiscrete train' wrote")
    parser.add_argument("--split", default="test", help="train, valid or test (default test)")
    return parser


def _evaluate(parsed):
    from tfdiscrete import runs

    metrics = runs.evaluate(parsed.run, split=parsed.split)
    _print_figures(runs.RunFolder(parsed.run).read_recipe(), metrics, f"{parsed.run}, {parsed.split} split")


def _print_figures(recipe, metrics: dict, title: str):
    from rich.console import Console

    from tfdiscrete.runs import metrics_table

    Console().print(metrics_table(recipe, metrics, title))


def _add_sample(commands) -> argparse.ArgumentParser:
    parser = _add(
        commands,
        "sample",
        _sample,
        "Draw images from a finished run's model, as one picture.",
        "  tfdiscrete sample runs/digits-0001 --num 100 --seed 1",
    )
    parser.add_argument("run", metavar="RUN", help="the folder that 'tfdiscrete train' wrote")
    parser.add_argument("--num", type=int, default=64, help="how many (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same images (default 0)")
    parser.add_argument("--out", help="the PNG (default RUN/samples-SEED.png)")
    return parser


def _sample(parsed):
    from tfdiscrete import runs

    print(f"wrote {runs.sample(parsed.run, num=parsed.num, seed=parsed.seed, out=parsed.out)}")


def _add_export(commands) -> argparse.ArgumentParser:
    parser = _add(
        commands,
        "export",
        _export,
        "Write a finished run's model as the next version of a TF Serving folder.",
        "  tfdiscrete export runs/digits-0001 models/digits      # models/digits/1, then 2, ...\n"
        "  saved_model_cli show --dir models/digits/1 --all",
    )
    parser.add_argument("run", metavar="RUN", help="the folder that 'tfdiscrete train' wrote")
    parser.add_argument("directory", metavar="DIR", help="the folder of all versions; made if it is not there")
    return parser


def _export(parsed):
    from tfdiscrete import runs

    path = runs.export(parsed.run, parsed.directory)
    print(
        f"wrote {path}\nlook at it: saved_model_cli show --dir {path} --all\nserve it:   tfdiscrete serve {path.parent}"
    )


def _add_serve(commands) -> argparse.ArgumentParser:
    parser = _add(
        commands,
        "serve",
        _serve,
        "Serve a run or a SavedModel over HTTP, with TF Serving's REST requests (needs the 'serve' extra).",
        "  tfdiscrete serve runs/digits-0001 --port 8080\n"
        "  curl localhost:8080/v1/models/digits-0001            # is it ready?",
    )
    parser.add_argument("model", metavar="RUN_OR_SAVED_MODEL", help="a run, or a folder BASE with BASE/VERSION/")
    parser.add_argument("--name", help="the model's name in the address (default: the folder's name)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default 8080)")
    return parser


def _serve(parsed):
    from tfdiscrete.serving import serve

    path = Path(parsed.model)
    serve(
        {parsed.name or re.sub(r"[^\w.-]", "-", path.resolve().name, flags=re.ASCII): path},
        host=parsed.host,
        port=parsed.port,
    )


def _add_experiment(commands) -> argparse.ArgumentParser:
    parser = _add(
        commands,
        "experiment",
        _experiment,
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


def _experiment(parsed):
    from tfdiscrete import experiments

    for path in experiments.get(parsed.name)(out=parsed.out, runs_folder=parsed.runs, only=parsed.only):
        print(f"wrote {path}")


def _add_fit_pmf(commands) -> argparse.ArgumentParser:
    parser = _add(
        commands,
        "fit-pmf",
        _fit_pmf,
        "Fit relaxed families to a discrete law; draw the fits and print their total variation.",
        "  tfdiscrete fit-pmf                                  # three laws, into fit-pmf/\n"
        "  tfdiscrete fit-pmf binomial --temperature 0.5\n"
        "  tfdiscrete fit-pmf 10,1,5,1 --families gumbel_softmax invertible_gaussian",
    )
    parser.add_argument(
        "laws",
        metavar="LAW",
        nargs="*",
        help="binomial, eleven_points or negative_binomial, or weights such as 10,1,5,1 (default: the three)",
    )
    parser.add_argument(
        "--families",
        metavar="NAME",
        nargs="+",
        help="gumbel_softmax, invertible_gaussian, stick_breaking (default: all)",
    )
    parser.add_argument("--temperature", type=float, default=0.1, help="of the relaxed samples (default 0.1)")
    parser.add_argument("--num-samples", type=int, default=1000, help="samples drawn in each panel (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the fit and the samples (default 0)")
    parser.add_argument("--out", default="fit-pmf", help="the pictures' folder (default fit-pmf)")
    return parser


def _fit_pmf(parsed):
    from rich.console import Console
    from rich.table import Table

    from tfdiscrete.experiments import fit_pmf

    results = fit_pmf.run(
        parsed.laws or fit_pmf.LAWS,
        families=parsed.families or fit_pmf.FAMILIES,
        out=parsed.out,
        temperature=parsed.temperature,
        num_samples=parsed.num_samples,
        seed=parsed.seed,
    )
    table = Table("law", "family", "total variation", title="fits to a discrete law")
    for path, fits in results:
        for fit in fits:
            table.add_row(path.stem, fit.family, f"{fit.total_variation:.1e}")
    Console().print(table)
    for path, _ in results:
        print(f"wrote {path}")


def _add_gradients(commands) -> argparse.ArgumentParser:
    parser = _add(
        commands,
        "gradients",
        _gradients,
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
    parser.add_argument("--draws", type=int, default=10_000, help="gradients drawn for a measurement (default 10000)")
    parser.add_argument("--steps", type=int, default=300, help="of the optimization; 0: leave it out (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="of all noise (default 0)")
    parser.add_argument("--out", default="gradients", help="the folder of tables and pictures (default gradients)")
    return parser


def _gradients(parsed):
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


# In the order of --help.
_COMMANDS = {
    "train": _add_train,
    "evaluate": _add_evaluate,
    "sample": _add_sample,
    "export": _add_export,
    "serve": _add_serve,
    "experiment": _add_experiment,
    "fit-pmf": _add_fit_pmf,
    "gradients": _add_gradients,
}
