"""What to do with a finished run: draw from it, export it."""

import os
from collections.abc import Sequence
from pathlib import Path

from tfdiscrete.errors import InputError, check_count, check_seed
from tfdiscrete.ops import seed_of
from tfdiscrete.runs.about import about_run
from tfdiscrete.runs.folder import RunFolder
from tfdiscrete.serving.export import Export, export_model
from tfdiscrete.training.pictures import samples_figure, save_figure


def sample(run: str | os.PathLike, *, num: int = 64, seed: int = 0, out: str | os.PathLike | None = None) -> Path:
    """Draws images from a finished run's model and writes them as one picture.

    Args:
        run: its folder.
        num: how many images.
        seed: the same seed gives the same images.
        out: the PNG; by default `samples-SEED.png` in the run's folder.

    Returns:
        The picture's path.

    Raises:
        InputError: if there is no finished run, or `num` is below 1.
    """
    check_count("num", num)
    check_seed(seed)
    folder = RunFolder(run).require_finished()
    if out is not None and (Path(out).suffix != ".png" or not Path(out).parent.is_dir()):
        raise InputError(f"the picture must be a .png in a folder that exists. Received: out={str(out)!r}.")
    images = folder.load_model().sample(num, seed_of(seed, "sample")).numpy()
    return save_figure(samples_figure(images), out or folder.path / f"samples-{seed}.png")


def export(
    run: str | os.PathLike,
    directory: str | os.PathLike,
    *,
    formats: Sequence[str] = ("saved_model",),
    signatures: Sequence[str] | None = None,
) -> Export:
    """Writes a finished run's model as the next version of a TF Serving folder, with a card of what the run was.

    Args:
        run: its folder.
        directory: the folder of all versions.
        formats: "saved_model", "onnx" and "litert".
        signatures: what goes into ONNX and LiteRT; by default all that draw nothing. The SavedModel has all.

    Returns:
        `path`, which is `directory/VERSION`, and `formats`: what each weighs, and how long it takes to load.

    Raises:
        InputError: if there is no finished run, and as `serving.export_model` does.
    """
    folder = RunFolder(run).require_finished()
    command = ["tfdiscrete", "export", str(run), str(directory), "--formats", *formats]
    if signatures is not None:
        command += ["--signatures", *signatures]
    about = about_run(folder, folder.read_metrics(), command)
    return export_model(folder.load_model(), directory, formats=formats, signatures=signatures, about=about)
