"""`tfdiscrete train`."""

import argparse
import dataclasses

from tfdiscrete.cli.figures import print_figures
from tfdiscrete.cli.parser import Parser, add_command, import_tensorflow_quietly
from tfdiscrete.errors import InputError, check_name

_EPILOG = """\
The run's folder gets config.json, metrics.json, pictures, TensorBoard logs, model.keras and saved_model/1/. After
Ctrl-C, SIGTERM, a crash or a full disk, the same command with --resume goes on from the last backup to the same bits.

  tfdiscrete train --dataset binarized_mnist --epochs 300 --out runs/mnist
  tfdiscrete train --out runs/mnist --resume
  tfdiscrete train --estimator score_function --num-latents 8 --num-categories 4
  tfdiscrete train --workers 2                        # a trial of a cluster on this machine
  tfdiscrete train --model semi_supervised_vae --num-labelled 50
  tfdiscrete train --model vector_quantized_vae --help

Data other than `digits` is looked for in the folder that TFDISCRETE_DATA names, then in ~/.keras/datasets, then
downloaded."""


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(commands, "train", run, "Train a model and write its run folder.", _EPILOG)
    group = parser.add_argument_group("run")
    group.add_argument("--out", help="the run's folder (default runs/DATASET-NNNN, the first free number)")
    group.add_argument(
        "--resume",
        action="store_true",
        help="continue the run in --out; without a decaying learning rate, --epochs may grow",
    )
    group.add_argument("--overwrite", action="store_true", help="replace the run in --out")
    group.add_argument(
        "--strategy",
        type=lambda name: name.replace("-", "_"),
        default="none",
        metavar="NAME",
        help="over what training is spread: none, mirrored (all GPUs of this machine, or its CPU devices), "
        "multi_worker (the cluster in TF_CONFIG) (default none)",
    )
    group.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes on this machine that train one model (default 1)"
    )
    return parser


def add_settings(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    """Describes a model's settings; only for a command line that is about them, since it imports TensorFlow."""
    import_tensorflow_quietly()
    from tfdiscrete.runs import RunFolder
    from tfdiscrete.runs.recipes import REGISTRY

    chooser = Parser(prog=parser.prog, add_help=False, allow_abbrev=False)
    chooser.add_argument("--model")
    chooser.add_argument("--out")
    chooser.add_argument("--resume", action="store_true")
    chosen = chooser.parse_known_args(arguments)[0]
    if chosen.model is None and chosen.resume and chosen.out and RunFolder(chosen.out).is_run:
        # Not the recipe, which begins TensorFlow: a strategy of several workers must come first.
        chosen.model = RunFolder(chosen.out).read_record()["config"].get("model")
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


def run(parsed) -> None:
    """Runs it."""
    from tfdiscrete import runs
    from tfdiscrete.training import strategies

    own = ("command", "options", "out", "resume", "overwrite", "strategy", "workers")
    settings = {name: value for name, value in vars(parsed).items() if name not in own}
    if parsed.resume and parsed.overwrite:
        raise InputError("--resume continues a run and --overwrite replaces it: give one of them.")
    if parsed.workers != 1 and parsed.strategy != "none":
        raise InputError("--workers brings a strategy of its own: leave --strategy out.")
    how = {"resume": parsed.resume, "overwrite": parsed.overwrite}
    if parsed.workers == 1:
        folder = runs.train(settings, parsed.out, strategy=parsed.strategy, **how)
    else:
        folder = runs.train_on_workers(settings, parsed.out, workers=parsed.workers, **how)
    if parsed.strategy == "multi_worker" and not strategies.is_chief():
        return
    recipe = folder.read_recipe()
    print_figures(recipe, folder.read_metrics(), f"{recipe.dataset}, test split")
    print(runs.next_steps(folder))
