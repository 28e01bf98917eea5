"""The signal-to-noise ratio of an encoder's gradient, while its model trains.

SNR = ||E g||^2 / tr Cov(g),    from R draws g_r of the gradient at the same weights and data:

tr Cov ~ V = sum_r ||g_r - mean||^2 / (R - 1),    ||E g||^2 ~ ||mean||^2 - V / R
"""

import os
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_name, check_seed
from tfdiscrete.estimators.running_moments import check_decay
from tfdiscrete.ops import fold_in, seed_of


class GradientNoiseRecord(NamedTuple):
    """One measurement of `GradientNoise`."""

    step: int
    """Epochs, or batches, since the start of `fit`."""
    signal: float
    """||E g||^2, estimated without bias, so that noise can make it negative."""
    noise: float
    """tr Cov(g)."""
    running_ratio: float
    """The running means' ratio, as it is logged."""

    @property
    def ratio(self) -> float:
        """The signal-to-noise ratio: at least 0, infinite for a gradient that does not vary, NaN for one that is
        always 0 or not finite; the running means leave out the latter."""
        return _ratio(self.signal, self.noise)


class GradientNoise(keras.callbacks.Callback):
    """Logs the signal-to-noise ratio of the gradient with respect to the weights of a `DiscreteVAE`'s encoder.

    On a fixed batch, and with the model's weights of the moment, it draws the gradient of the training loss (the
    estimator's, with an analytic KL, without the networks' own regularization losses) `num_draws` times and logs
    `gradient/signal_to_noise` and `gradient/running_signal_to_noise`, the ratio of exponential running means of the
    signal and of the noise. Only the estimator's noise counts: the batch, and with it the noise of its choice, is
    fixed; a dropout layer's noise counts too.

    Training is as without it, to the bit: the seeds are its own, and no variable is written, those of batch
    normalization, dropout and the estimator included (their updates are computed and thrown away). Its state is
    `history`, the running means, and the compiled gradient, which follows the model's `jit_compile`. It starts anew
    with each `fit`. A measurement costs about `num_draws` training steps on the batch. Where Keras runs several steps
    in one execution it hears of batches at the end of each only, and so measures at the first end after each `every`
    batches.

    Example:

        noise = GradientNoise("logs", images[:100], every=1)
        vae.fit(images, epochs=10, callbacks=[noise])
        [record.ratio for record in noise.history]

    Args:
        folder: TensorBoard's; None keeps `history` alone.
        x: `[B, *data]`, the batch at which the gradient is drawn.
        every: epochs, or batches, between two measurements.
        unit: "epochs" or "batches".
        num_draws: R, at least 2.
        decay: of the running means, in [0, 1): their weight after one more measurement.
        seed: a non-negative integer: the same at each measurement, which are then of the same noise.

    Raises:
        InputError: for numbers out of range, or a model that has no `negative_elbo` and `encoder`.
    """

    def __init__(
        self,
        folder: str | os.PathLike | None,
        x: np.ndarray,
        *,
        every: int = 1,
        unit: str = "epochs",
        num_draws: int = 8,
        decay: float = 0.9,
        seed: int = 0,
    ):
        super().__init__()
        self.folder = None if folder is None else str(folder)
        self.x = x
        self.every = check_count("every", every)
        self.unit = check_name("unit", unit, ("epochs", "batches"))
        self.num_draws = check_count("num_draws", num_draws, 2)
        self.decay = check_decay(decay)
        self.seed = check_seed(seed)
        self.history: list[GradientNoiseRecord] = []

    def on_train_begin(self, logs=None):
        if not hasattr(self.model, "negative_elbo") or not hasattr(self.model, "encoder"):
            raise InputError(
                "GradientNoise measures the gradient of a DiscreteVAE's encoder. "
                f"Received: {type(self.model).__name__}."
            )
        self.history = []
        self._means, self._measured_once = np.zeros(2), False
        self._batches = self._measured = 0
        self._writer = None if self.folder is None else tf.summary.create_file_writer(self.folder)
        jit_compile = bool(self.model.jit_compile) and not self.model.run_eagerly
        self._moments = tf.function(self._draw, jit_compile=jit_compile)

    def on_epoch_end(self, epoch, logs=None):
        if self.unit == "epochs" and (epoch + 1) % self.every == 0:
            self._measure(epoch + 1)

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self._batches_before = self._batches

    def on_train_batch_end(self, batch, logs=None):
        self._batches = self._batches_before + batch + 1
        if self.unit == "batches" and self._batches // self.every > self._measured // self.every:
            self._measure(self._batches)
            self._measured = self._batches

    def _measure(self, step: int):
        signal, noise = (float(part) for part in self._moments(tf.convert_to_tensor(self.x)))
        if np.isfinite([signal, noise]).all():
            self._measured_once = True
            self._means = self.decay * self._means + (1.0 - self.decay) * np.array([signal, noise])
        running = _ratio(*self._means) if self._measured_once else float("nan")
        record = GradientNoiseRecord(step, signal, noise, running)
        self.history.append(record)
        if self._writer is not None:
            with self._writer.as_default(step=step):
                tf.summary.scalar("gradient/signal_to_noise", record.ratio)
                tf.summary.scalar("gradient/running_signal_to_noise", record.running_ratio)
            self._writer.flush()

    def _draw(self, x):
        """The unbiased ||E g||^2 and tr Cov(g), float32 `[]`, by running means (Welford 1962)."""
        variables = self.model.encoder.trainable_variables
        base = seed_of(self.seed, "gradient noise")

        def body(draw, means, scatter):
            gradient = self._gradient(x, variables, fold_in(base, draw))
            shifts = [g - mean for g, mean in zip(gradient, means, strict=True)]
            means = [mean + shift / tf.cast(draw + 1, tf.float32) for mean, shift in zip(means, shifts, strict=True)]
            products = [
                tf.reduce_sum(shift * (g - mean)) for g, mean, shift in zip(gradient, means, shifts, strict=True)
            ]
            return draw + 1, means, scatter + tf.add_n(products)

        zeros = [tf.zeros(variable.shape, tf.float32) for variable in variables]
        _, means, scatter = tf.while_loop(
            lambda draw, *_: draw < self.num_draws, body, (tf.constant(0), zeros, tf.zeros([]))
        )
        noise = scatter / (self.num_draws - 1)
        return tf.add_n([tf.reduce_sum(mean**2) for mean in means]) - noise / self.num_draws, noise

    def _gradient(self, x, variables, seed) -> list[tf.Tensor]:
        # What the layers would write is kept in the scope, and goes with it.
        with keras.StatelessScope(collect_losses=True), tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.model.negative_elbo(x, seed=seed, training=True).loss)
            # Half-precision gradients underflow unscaled; a common factor is none of the ratio's.
            loss = self.model.optimizer.scale_loss(loss)
        gradient = tape.gradient(loss, [variable.value for variable in variables], unconnected_gradients="zero")
        return [tf.cast(tf.convert_to_tensor(part), tf.float32) for part in gradient]

    def on_train_end(self, logs=None):
        if self._writer is not None:
            self._writer.close()


def _ratio(signal: float, noise: float) -> float:
    if not np.isfinite([signal, noise]).all():
        return float("nan")
    if noise > 0:
        return max(float(signal), 0.0) / float(noise)
    return float("inf") if signal > 0 else float("nan")
