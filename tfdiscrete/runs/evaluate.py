"""The figures of a finished run's model on held-out data."""

import os

from tfdiscrete.errors import check_name
from tfdiscrete.runs.folder import RunFolder


def evaluate(run: str | os.PathLike, *, split: str = "test") -> dict:
    """Evaluates a finished run's model.

    Args:
        run: its folder.
        split: "train", "valid" or "test".

    Returns:
        What `Recipe.evaluate` of its model returns.

    Raises:
        InputError: if there is no finished run.
    """
    check_name("split", split, ("train", "valid", "test"))
    folder = RunFolder(run).require_finished()
    recipe = folder.read_recipe()
    return recipe.evaluate(folder.load_model(), getattr(recipe.load_data(), split))
