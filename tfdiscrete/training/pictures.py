"""Pictures of what a model does: reconstructions, samples, latent usage."""

import io
import math
import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfdiscrete.errors import InputError


def reconstructions_figure(x: np.ndarray, reconstruction: np.ndarray) -> Figure:
    """Originals above their reconstructions, in pairs of rows.

    Args:
        x: `[B, H, W]`, in [0, 1].
        reconstruction: `[B, H, W]`.
    """
    columns = min(len(x), 10)
    rows = len(x) // columns
    pairs = np.stack([x[: rows * columns], reconstruction[: rows * columns]])
    images = pairs.reshape(2, rows, columns, *x.shape[1:]).swapaxes(0, 1)
    return _grid_figure(images.reshape(-1, *x.shape[1:]), columns, "each original above its reconstruction")


def samples_figure(images: np.ndarray, title: str = "samples from the prior: the likelihood's mean") -> Figure:
    """A square grid of images `[B, H, W]`."""
    return _grid_figure(images, max(math.isqrt(len(images)), 1), title)


def label_rows_figure(images: np.ndarray) -> Figure:
    """A row for each label, a column for each style: `[R, M, H, W]`, as `SemiSupervisedVAE.rows` gives them."""
    return _grid_figure(images.reshape(-1, *images.shape[2:]), images.shape[1], "rows: labels; columns: styles")


def usage_figure(usage: np.ndarray) -> Figure:
    """How often each category of each latent variable is the most likely one, `[N, K]`."""
    figure = Figure(figsize=(2 + 0.3 * usage.shape[1], 1.2 + 0.25 * usage.shape[0]), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(usage, cmap="viridis", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set(xlabel="category", ylabel="latent variable", title="share of examples")
    figure.colorbar(image)
    return figure


def code_maps_figure(x: np.ndarray, index: np.ndarray, reconstruction: np.ndarray, num_codes: int) -> Figure:
    """Originals, below them the maps of their codes in a color each, and below those the reconstructions.

    Args:
        x: `[B, H, W]`, in [0, 1]; the first ten are shown.
        index: integers `[B, h, w]`, or `[B, h, w, G]`, which gives `G` rows of maps.
        reconstruction: `[B, H, W]`.
        num_codes: of a map, `K`.

    Raises:
        InputError: for codes that are no maps.
    """
    if index.ndim not in (3, 4):
        raise InputError(f"codes must be maps [B, h, w] or [B, h, w, G]. Received: shape {index.shape}.")
    maps = np.moveaxis(index if index.ndim == 4 else index[..., None], -1, 0)
    rows = [1.0 - np.clip(x, 0.0, 1.0), *maps / max(num_codes - 1, 1), 1.0 - np.clip(reconstruction, 0.0, 1.0)]
    colors = ["gray", *["nipy_spectral"] * len(maps), "gray"]
    columns = min(len(x), 10)
    figure = Figure(figsize=(max(columns * 0.7, 3.5), len(rows) * 0.7 + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, images, color in zip(grid, rows, colors, strict=True):
        for axis, image in zip(axes, images, strict=False):
            axis.imshow(image, cmap=color, vmin=0.0, vmax=1.0, interpolation="nearest")
            axis.set_axis_off()
    figure.suptitle("each original, its codes, and its reconstruction from them", fontsize=9)
    return figure


def _grid_figure(images: np.ndarray, columns: int, title: str) -> Figure:
    rows = -(-len(images) // columns)
    height, width = images.shape[1:3]
    canvas = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1))
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        # Ink is dark on paper, as the digits were written; a line of grey separates the images.
        canvas[top : top + height, left : left + width] = 1.0 - np.clip(image, 0.0, 1.0)
    figure = Figure(figsize=(max(columns * 0.7, 3.5), rows * 0.7 * height / width + 0.4), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(canvas, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
    return figure


def save_figure(figure: Figure, path: str | os.PathLike) -> Path:
    """Writes a PNG, beside and then renamed, and returns its path."""
    path = Path(path)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=150)
    os.replace(partial, path)
    return path


def figure_tensor(figure: Figure) -> tf.Tensor:
    """The picture as TensorBoard wants it: uint8 `[1, height, width, 4]`."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return tf.image.decode_png(buffer.getvalue(), channels=4)[None]
