"""What the card of an exported run says of it: its data, its settings, its figures, and the commands that made it."""

import dataclasses
import shlex
from collections.abc import Sequence

from tfdiscrete.runs.folder import RunFolder
from tfdiscrete.runs.recipes import Recipe
from tfdiscrete.serving.card import table


def about_run(folder: RunFolder, metrics: dict, command: Sequence[str] = ()) -> str:
    """Sections of Markdown, for `serving.export_model`.

    Args:
        folder: of a run.
        metrics: its figures.
        command: the words of the one that exports it, where there is one besides the training.
    """
    recipe = folder.read_recipe()
    settings = [(name, value) for name, value in recipe.to_json().items() if value != ""]
    commands = [train_command(recipe, folder), *([command] if command else [])]
    return "\n".join(
        [
            "\n## Figures\n",
            f"Of the {metrics['split']} split of {recipe.dataset}, after {metrics['epochs']} epochs; nats are per "
            "example. The last column says what each is, and which are bounds. Nothing was measured on other data.\n",
            table(("figure", "value", "what it is"), recipe.rows(metrics)),
            "## Data and settings\n",
            f"Trained on the train split of {recipe.dataset}; pixels to bits: {recipe.binarization}.\n",
            table(("setting", "value"), settings),
            *_replicas(metrics),
            "## Made by\n",
            "```bash\n" + "".join(f"{shlex.join(each)}\n" for each in commands) + "```\n",
            "Versions of the training:\n",
            table(("package", "version"), folder.read_record()["versions"].items()),
        ]
    )


def _replicas(metrics: dict) -> list[str]:
    count = metrics.get("replicas", 1)
    return (
        [f"By {count} replicas, whose noise is not that of one; the command below trains one.\n"] if count > 1 else []
    )


def train_command(recipe: Recipe, folder: RunFolder) -> list[str]:
    """The words of the command line that repeats the run; settings that are the defaults are left out."""
    words = ["tfdiscrete", "train", "--model", recipe.model]
    for setting in dataclasses.fields(recipe):
        value = getattr(recipe, setting.name)
        if value != setting.default:
            words += [f"--{setting.name.replace('_', '-')}", str(value)]
    return [*words, "--out", str(folder.path)]
