"""An autoencoder whose latent space is a grid of codes from a learned or given finite set.

    min -log p(x|c_k) / P + L,    k = argmin_j |e(x) - c_j|,    P: the number of values in x, L: the quantizer's loss

The gradient of the codes is that of the encoder's output in their place. Once that is trained, a prior p(k) is, on the
codes of the data:

    -log p(x) <= -log p(x|c_k) - log p(k)

Aaron van den Oord, Oriol Vinyals, Koray Kavukcuoglu (2017), "Neural Discrete Representation Learning",
arXiv 1711.00937.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, unknown_name
from tfdiscrete.layers import (
    FiniteScalarQuantizer,
    LookupFreeQuantizer,
    ResidualVectorQuantizer,
    VectorQuantizer,
)
from tfdiscrete.layers.quantizer import Quantizer
from tfdiscrete.metrics import CodebookPerplexity, CodebookUsage
from tfdiscrete.models.base import Endpoint, LatentVariableModel, Terms, output_shape
from tfdiscrete.models.checked_data import checking
from tfdiscrete.models.code_prior import CodePrior
from tfdiscrete.objectives import likelihoods
from tfdiscrete.ops.precision import widen
from tfdiscrete.priors.autoregressive import Autoregressive

QUANTIZERS: dict[str, Callable[[int], Quantizer]] = {
    "vector": lambda seed: VectorQuantizer(256, seed=seed),
    "plain": lambda seed: VectorQuantizer(256, update="loss", kmeans_iterations=0, seed=seed),
    "product": lambda seed: VectorQuantizer(64, heads=2, seed=seed),
    "residual": lambda seed: ResidualVectorQuantizer(2, 64, seed=seed),
    "rotation": lambda seed: VectorQuantizer(256, gradient="rotation", seed=seed),
    "finite_scalar": lambda seed: FiniteScalarQuantizer([8, 6, 5]),
    "lookup_free": lambda seed: LookupFreeQuantizer(8),
}


class CodeBound(NamedTuple):
    """What `VectorQuantizedVAE.bound` returns; each `[B]`, in nats."""

    elbo: tf.Tensor
    """-(distortion + rate), at most log p(x)."""
    rate: tf.Tensor
    """-log p(z) of the code of x."""
    distortion: tf.Tensor
    """-log p(x|z)."""


@keras.saving.register_keras_serializable(package="tfdiscrete.models")
class VectorQuantizedVAE(LatentVariableModel):
    """Any encoder to a grid, quantizer of `layers`, decoder and likelihood, trained with `compile` and `fit`.

    `fit` takes data `x` alone. It and `evaluate` report `loss`, what is minimised, in nats per value of x;
    `distortion`, -log p(x|z) in nats per example; `reconstruction_error`, the squared error of the likelihood's mean,
    averaged over the values of x; `quantizer_loss`; and over the epoch the `codebook_perplexity` and the
    `codebook_usage`, the fraction of codes that were used, averaged over the codebooks where there are several.

    `fit` leaves the prior alone: `fit_prior` trains it, on the codes of the data under the encoder as it then is.
    `predict`, and a call, give `index`, the codes, and `reconstruction`.

    Example:

        encoder, decoder = make_grid_networks(data_shape=(28, 28), parameter_shape=(28, 28), dimension=16)
        vae = VectorQuantizedVAE(encoder, "vector", decoder)
        vae.compile("adam")
        vae.fit(images, epochs=10, batch_size=100)
        vae.fit_prior(images, epochs=10)
        vae.encode(images)                  # int32 [B, 7, 7]
        vae.sample(64, [0, 1])              # [64, 28, 28]

    Args:
        encoder: a Keras model, data `[B, *data]` to vectors `[B, *grid, D]`, of static size.
        quantizer: one of `layers`, or its name: "vector", "rotation" or "plain" (256 codes, 8 bits; plain is
            trained by its loss alone), "product" or "residual"
            (two of 64, 12 bits), "finite_scalar" (240 codes, for D = 3) or "lookup_free" (256, for D = 8).
        decoder: a Keras model, codes `[B, *grid, D]` to the likelihood's parameters.
        likelihood: a `Likelihood`, or its name. The scale of a "fixed_gaussian" weighs the squared error against the
            quantizer's loss: 1 / (2 scale^2) of it per value.
        prior: "autoregressive", an `Autoregressive`, or None for none. It reads the codes row by row, those of one
            place one after another.
        seed: of all noise; a non-negative integer, by default drawn from the system and kept in the config.

    Raises:
        InputError: for unknown names, networks that do not fit each other or the likelihood, a prior built for other
            codes, or labels given to `fit`.
    """

    reported = ("distortion", "reconstruction_error", "quantizer_loss")
    parts = ("encoder", "quantizer", "decoder", "likelihood", "prior")

    def __init__(
        self,
        encoder: keras.Model,
        quantizer: str | Quantizer,
        decoder: keras.Model,
        *,
        likelihood: str | likelihoods.Likelihood = "fixed_gaussian",
        prior: str | Autoregressive | None = "autoregressive",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.encoder = encoder
        self.quantizer = _quantizer(quantizer, self.seed)
        self.decoder = decoder
        self.likelihood = likelihoods.get(likelihood)
        self.prior = _prior(prior)
        counted = self.quantizer.perplexity
        self.perplexity = CodebookPerplexity(counted.num_codes, counted.groups)
        self.usage = CodebookUsage(counted.num_codes, counted.groups)
        if getattr(encoder, "inputs", None):
            self.build(encoder.input_shape)

    def build(self, input_shape) -> None:
        if self.built:  # type: ignore[has-type]
            return
        features_shape = output_shape(self.encoder, input_shape)
        if len(features_shape) < 2 or None in features_shape[1:]:
            raise InputError(
                "the encoder must output vectors [B, *grid, D] of static size. "
                f"Received: an output of shape {features_shape}."
            )
        if not self.quantizer.built:
            self.quantizer.build(features_shape)
        self.data_shape = tuple(input_shape[1:])
        self.index_shape = tuple(self.quantizer.compute_output_shape(features_shape).index[1:])
        self._check_decoder(features_shape)
        event_shape = (math.prod(self.index_shape), self.quantizer.num_codes)
        if self.prior is not None and not self.prior.built:
            self.prior.build(event_shape)
        if self.prior is not None and self.prior.event_shape != event_shape:
            raise InputError(
                f"the prior must be one of {event_shape[0]} codes of {event_shape[1]} categories, those of this "
                f"encoder and quantizer. Received: a prior built for (N, K) = {self.prior.event_shape}."
            )
        self.built = True

    def _check_decoder(self, features_shape):
        if getattr(self.decoder, "inputs", None) and tuple(self.decoder.input_shape[1:]) != features_shape[1:]:
            raise InputError(
                f"the decoder must take what the encoder outputs, {features_shape[1:]}. "
                f"Received: a decoder of {tuple(self.decoder.input_shape[1:])}."
            )
        expected, received = (
            self.likelihood.parameter_shape(self.data_shape),
            output_shape(self.decoder, features_shape),
        )
        if received[1:] != expected:
            raise InputError(
                f"with data of shape {self.data_shape} the {type(self.likelihood).__name__} likelihood needs a "
                f"decoder that outputs {expected}. Received: {received[1:]}."
            )

    # Inference.

    def encode(self, x) -> tf.Tensor:
        """The codes of data `[B, *data]`: int32 `[B, *grid]`, or `[B, *grid, H]` where several make up one vector."""
        self._build_for(x)
        return self.quantizer.encode(self.encoder(x, training=False))

    def decode(self, index) -> tf.Tensor:
        """E[x|z] of codes, as `encode` gives them: `[B, *data]`.

        Raises:
            InputError: for codes of another shape, and eagerly for one out of range, which is NaN in a graph.
        """
        index = tf.convert_to_tensor(index)
        if tuple(index.shape[1:]) != self.index_shape:
            raise InputError(f"codes must have shape [B, *{list(self.index_shape)}]. Received: shape {index.shape}.")
        code = self.quantizer.decode(index)
        mean = self.likelihood.mean(self.decoder(code, training=False))
        # A ReLU may make 0 of a code that is NaN.
        known = tf.reduce_all(tf.math.is_finite(code), axis=list(range(1, code.shape.rank)))
        known = tf.reshape(known, [-1] + [1] * len(self.data_shape))
        return tf.where(known, mean, tf.constant(float("nan"), mean.dtype))

    def call(self, inputs, training=False):
        index = self.encode(inputs)
        return {"index": index, "reconstruction": self.decode(index)}

    def sample(self, num_samples, seed, *, temperature=1.0) -> tf.Tensor:
        """E[x|z] at codes from the prior, `[num_samples, *data]`; arguments as for `Autoregressive.sample_index`.

        Raises:
            InputError: where there is no prior, or one that was never trained.
        """
        prior = self._require_prior()
        if tf.executing_eagerly() and not prior.is_trained:
            raise InputError("the prior is not trained: call fit_prior(x), or decode codes of your own.")
        index = prior.sample_index(num_samples, seed, temperature=temperature)
        return self.decode(tf.reshape(index, [num_samples, *self.index_shape]))

    def interpolate(self, x0, x1, num: int) -> tf.Tensor:
        """From one example to another: E[x|z] at the codes on the line between the encoder's outputs.

        Args:
            x0: `[B, *data]`, where it begins.
            x1: `[B, *data]`, where it ends.
            num: of the points, at least 2, both ends included.

        Returns:
            `[num, B, *data]`.
        """
        check_count("num", num, 2)
        start, end = (self.encoder(x, training=False) for x in (x0, x1))
        weight = tf.reshape(tf.linspace(tf.zeros([], start.dtype), tf.ones([], start.dtype), num), [num, 1])
        line = (1.0 - weight) * tf.reshape(start, [1, -1]) + weight * tf.reshape(end, [1, -1])
        index = self.quantizer.encode(tf.reshape(line, [-1, *start.shape[1:]]))
        return tf.reshape(self.decode(index), [num, -1, *self.data_shape])

    def rate(self, index) -> tf.Tensor:
        """-log p of codes `[B, *index_shape]`, in nats, `[B]`: N log K under no prior, and an untrained one."""
        index = tf.reshape(index, [-1, math.prod(self.index_shape)])
        if self.prior is None:
            return tf.fill([tf.shape(index)[0]], math.prod(self.index_shape) * math.log(self.quantizer.num_codes))
        return -self.prior.log_prob_index(index)

    def bound(self, x) -> CodeBound:
        """The bound on log p(x), for data `[B, *data]`: exact, as all of q(z|x) is on one code.

        It is one of density for a Gaussian likelihood, with that likelihood's scale.
        """
        index = self.encode(x)
        rate, distortion = self.rate(index), self._distortion(x, self.quantizer.decode(index), False)[0]
        return CodeBound(-(distortion + rate), rate, distortion)

    # Training.

    def compile(self, optimizer="adam", *, jit_compile=False, **kwargs):
        """As that of all models, but without XLA, under which convolutions are no faster on a CPU."""
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)

    def terms(self, x, *, seed, training):
        code, index, loss = self.quantizer(self.encoder(x, training=training), training=training)
        for metric in (self.perplexity, self.usage):
            metric.update_state(self.quantizer._counted(index))
        distortion, error = self._distortion(x, code, training)
        # The quantizer has added its loss to the model's: here it is only shown.
        shown = tf.cast(tf.stop_gradient(loss), distortion.dtype)
        reports = {
            "distortion": distortion,
            "reconstruction_error": error,
            "quantizer_loss": tf.fill(tf.shape(distortion), shown),
        }
        return Terms(distortion / math.prod(self.data_shape) + shown, reports)

    def _distortion(self, x, code, training) -> tuple[tf.Tensor, tf.Tensor]:
        """-log p(x|z) and the mean squared error of the mean, `[B]` each."""
        parameters = self.decoder(code, training=training)
        x = tf.cast(x, parameters.dtype)
        axes = list(range(1, x.shape.rank))
        log_prob = self.likelihood.log_prob(x, parameters)
        error = tf.reduce_mean(tf.square(x - self.likelihood.mean(parameters)), axis=axes)
        return widen(-tf.reduce_sum(log_prob, axis=axes)), widen(error)

    def fit_prior(
        self,
        x,
        *,
        epochs: int = 1,
        batch_size: int = 64,
        validation_data=None,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        **kwargs,
    ) -> keras.callbacks.History:
        """Trains the prior on the codes of data, which the encoder makes once.

        The optimizer starts anew with each call. For more say, fit a `CodePrior(vae.prior)` to `vae.codes(x)`.

        Args:
            x: `[n, *data]`, or a `tf.data.Dataset` of batches.
            epochs: passes over the codes.
            batch_size: examples a step.
            validation_data: as `x`.
            optimizer: as in Keras.
            **kwargs: passed on to `keras.Model.fit`.

        Returns:
            The history: `loss`, and `val_loss`, is the rate, -log p(z) in nats per example.

        Raises:
            InputError: where there is no prior, for data of another shape than the model's, and for those that `fit`
                refuses.
        """
        prior = self._require_prior()
        with self.distribute_strategy.scope():
            model = CodePrior(prior, seed=self.seed)
            model.compile(optimizer)
        with checking(self._check_arrays) as checked:
            x, validation_data = checked(x), checked(validation_data)
            validation = None if validation_data is None else (self.codes(validation_data),)
            codes = self.codes(x)
        return model.fit(codes, epochs=epochs, batch_size=batch_size, validation_data=validation, **kwargs)

    def codes(self, x, *, batch_size: int = 500) -> np.ndarray:
        """The codes of a data set, as a prior reads them.

        Args:
            x: `[n, *data]`, or a `tf.data.Dataset` of batches.
            batch_size: examples encoded at a time.

        Returns:
            int32 `[n, N]`.
        """
        encode = tf.function(lambda batch: self.encode(self._unpack(batch)), reduce_retracing=True, autograph=False)
        batches = x if isinstance(x, tf.data.Dataset) else tf.data.Dataset.from_tensor_slices(x).batch(batch_size)
        index = [np.zeros((0, *self.index_shape), np.int32), *(encode(batch).numpy() for batch in batches)]
        return np.concatenate(index).reshape(-1, math.prod(self.index_shape))

    def _require_prior(self) -> Autoregressive:
        if self.prior is None:
            raise InputError("this model has no prior: make it with prior='autoregressive' and call fit_prior(x).")
        return self.prior

    @property
    def metrics(self):
        return [*super().metrics, self.perplexity, self.usage]

    @property
    def trainable_variables(self):
        # Those that `fit` trains.
        apart = set() if self.prior is None else {id(variable) for variable in self.prior.variables}
        return [variable for variable in super().trainable_variables if id(variable) not in apart]

    @property
    def trainable_weights(self):
        return self.trainable_variables

    def _unpack(self, data):
        x = self._x_alone(data)
        self._build_for(x)
        if tuple(x.shape[1:]) != self.data_shape:
            raise InputError(f"data must have shape [B, *{list(self.data_shape)}]. Received: shape {x.shape}.")
        return x

    def _check_arrays(self, x, y=None):
        self.likelihood.check(x)

    # Saving.

    def endpoints(self):
        """As of all models; `sample` is there once the prior is trained."""

        def encode(x):
            return {"index": self.encode(x)}

        def decode(index):
            return {"reconstruction": self.decode(index)}

        def sample(seed, n):
            return {"samples": self.sample(n, seed)}

        endpoints = {
            "encode": Endpoint(encode, [tf.TensorSpec([None, *self.data_shape], tf.float32, "x")]),
            "decode": Endpoint(decode, [tf.TensorSpec([None, *self.index_shape], tf.int32, "index")]),
            "sample": Endpoint(sample, [tf.TensorSpec([2], tf.int32, "seed"), tf.TensorSpec([], tf.int32, "n")]),
        }
        if self.prior is None or not self.prior.is_trained:
            del endpoints["sample"]
        return endpoints


def _quantizer(identifier: str | Quantizer, seed: int) -> Quantizer:
    if isinstance(identifier, Quantizer):
        return identifier
    if identifier not in QUANTIZERS:
        raise unknown_name("quantizer", identifier, QUANTIZERS)
    return QUANTIZERS[identifier](seed)


def _prior(identifier: str | Autoregressive | None) -> Autoregressive | None:
    if identifier is None or isinstance(identifier, Autoregressive):
        return identifier
    if identifier != "autoregressive":
        raise InputError(
            f"prior must be 'autoregressive', a priors.Autoregressive, or None. Received: prior={identifier!r}."
        )
    return Autoregressive()
