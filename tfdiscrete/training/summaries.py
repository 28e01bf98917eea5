"""TensorBoard pictures of a model with discrete latents, while it trains."""

import os
from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from tfdiscrete.metrics import latent_usage, posterior_usage
from tfdiscrete.ops import fold_in, seed_of
from tfdiscrete.training.pictures import figure_tensor, reconstructions_figure, samples_figure, usage_figure


class PictureSummaries(keras.callbacks.Callback):
    """Writes pictures of the model while it trains.

    Args:
        folder: TensorBoard's.
        draw: the model to its pictures by name.
        every: epochs between two writings; the last epoch is always written.
    """

    def __init__(self, folder: str | os.PathLike, draw: Callable[[keras.Model], Mapping[str, Figure]], *, every: int):
        super().__init__()
        self.folder = str(folder)
        self.draw = draw
        self.every = max(every, 1)

    def on_train_begin(self, logs=None):
        self._writer = tf.summary.create_file_writer(self.folder)

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]:
            with self._writer.as_default(step=epoch + 1):
                self.write(epoch)
            self._writer.flush()

    def write(self, epoch: int) -> None:
        """Writes this epoch's summaries."""
        for name, figure in self.draw(self.model).items():
            tf.summary.image(name, figure_tensor(figure))

    def on_train_end(self, logs=None):
        self._writer.close()


class LatentSummaries(PictureSummaries):
    """Writes reconstructions, samples from the prior and latent usage for a few held-out images.

    Args:
        folder: TensorBoard's.
        x: `[B, H, W]`, images that the model is not trained on; the first 20 are shown.
        every: epochs between two writings; the last epoch is always written.
    """

    def __init__(self, folder: str | os.PathLike, x: np.ndarray, *, every: int):
        super().__init__(folder, lambda model: {}, every=every)
        self.x = x[:1000]

    def write(self, epoch):
        outputs = self.model.predict(self.x, batch_size=500, verbose=0)
        usage = posterior_usage(outputs)
        samples = self.model.sample(36, fold_in(seed_of(0, "sample"), epoch)).numpy()
        pictures = {
            "reconstructions": reconstructions_figure(self.x[:20], outputs["reconstruction"][:20]),
            "samples": samples_figure(samples),
        }
        if usage.num_codes is not None:
            categories = outputs["probabilities"].shape[-1]
            pictures["latent_usage"] = usage_figure(latent_usage(outputs["index"], categories))
        for name, figure in pictures.items():
            tf.summary.image(name, figure_tensor(figure))
        tf.summary.scalar("active_units", usage.active_units)
        if usage.codes_used is not None:
            tf.summary.scalar("codes_used", usage.codes_used)
        if self.model.estimator.annealed is not None:
            tf.summary.scalar(self.model.estimator.annealed, self.model.estimator.annealed_value())
