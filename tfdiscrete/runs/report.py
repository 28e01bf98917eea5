"""What a person reads at the end of a run."""

import shlex
import shutil
import sys
from pathlib import Path

from rich.table import Table

from tfdiscrete.runs.folder import RunFolder
from tfdiscrete.runs.recipes import Recipe


def metrics_table(recipe: Recipe, metrics: dict, title: str) -> Table:
    """The figures of `Recipe.evaluate` as a table; nats are per example."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("what it is")
    for row in recipe.rows(metrics):
        table.add_row(*row)
    return table


def next_steps(folder: RunFolder) -> str:
    """What was written where, and what to run next."""
    path = shlex.quote(str(folder.path))
    # Commands to paste: without an activated environment they need their path.
    here = "" if shutil.which("tfdiscrete") else f"{Path(sys.executable).parent}/"
    recipe = folder.read_recipe()
    return "\n".join(
        [
            f"Written to {path}/",
            *(
                f"  {name + '.png':<34} {what}"
                for name, what in recipe.pictures.items()
                if folder.picture(name).is_file()
            ),
            "  metrics.json  config.json          the figures, and what made them",
            "  model.keras                        keras.saving.load_model, after import tfdiscrete",
            f"  saved_model/1/                     signatures {recipe.signatures}; needs TensorFlow alone",
            "  tensorboard/                       curves, pictures and latent usage",
            "Next:",
            f"  {here}tensorboard --logdir {path}/tensorboard",
            *([f"  {here}tfdiscrete sample {path} --num 100"] if "sample" in recipe.signatures else []),
            f"  {here}tfdiscrete serve {path}        (needs the extra: pip install 'tfdiscrete[serve]')",
        ]
    )
