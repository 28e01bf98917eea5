"""A variational autoencoder with categorical latent variables.

    max E_q[log p(x|z)] - KL(q(z|x) || p(z)),    z: N one-hot variables of K categories

Diederik P. Kingma, Max Welling (2014), "Auto-Encoding Variational Bayes", arXiv 1312.6114.
Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
"""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete import estimators, priors
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.errors import InputError, check_name
from tfdiscrete.estimators.neighbours import join_own
from tfdiscrete.models.base import Endpoint, LatentVariableModel, Terms, output_shape
from tfdiscrete.models.neighbours import decode_neighbours, starts_dense
from tfdiscrete.objectives import (
    KL_CHOICES,
    Bounds,
    NegativeElbo,
    discrete_bounds,
    likelihoods,
    negative_elbo,
    relaxed_elbo,
)
from tfdiscrete.ops import gumbel_max
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.models")
class DiscreteVAE(LatentVariableModel):
    """Any encoder, decoder, likelihood, prior and gradient estimator, trained with `compile` and `fit`.

    `fit` takes data `x` alone and reports `loss` (the estimator's, nats per example), `rate` and `distortion`;
    `evaluate` reports the discrete bound: `loss` is then an upper bound on -log p(x). `predict`, and a call, give
    `probabilities`, `code` (the most likely one, one-hot), `index` and `reconstruction` (the likelihood's mean).

    Example:

        encoder, decoder = make_networks(
            "mlp", data_shape=(28, 28), parameter_shape=(28, 28), num_latents=20, num_categories=10
        )
        vae = DiscreteVAE(encoder, decoder, estimator="straight_through_gumbel_softmax")
        vae.compile("adam")
        vae.fit(images, epochs=10, batch_size=100)
        vae.predict(images)["index"]        # [B, 20]

    Args:
        encoder: a Keras model, data `[B, *data]` to logits `[B, N, K]`.
        decoder: a Keras model, codes `[B, N, K]` to the likelihood's parameters.
        estimator: an `Estimator`, or its name with default settings.
        prior: a `Prior`, or its name.
        likelihood: a `Likelihood`, or "bernoulli", "gaussian" or "categorical".
        kl: "analytic", "sampled" (part of the estimator's cost), or "auto": analytic where the prior has a closed form.
        seed: of all noise; a non-negative integer, by default drawn from the system and kept in the config.

    Raises:
        InputError: for unknown names, an encoder whose output is not `[B, N, K]`, or labels given to `fit`.
    """

    reported = ("rate", "distortion")
    parts = ("encoder", "decoder", "estimator", "prior", "likelihood")

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        *,
        estimator: str | estimators.Estimator = "straight_through_gumbel_softmax",
        prior: str | priors.Prior = "fixed",
        likelihood: str | likelihoods.Likelihood = "bernoulli",
        kl: str = "auto",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.estimator = estimators.get(estimator)
        self.prior = priors.get(prior)
        self.likelihood = likelihoods.get(likelihood)
        check_name("kl", kl, ("auto", *KL_CHOICES))
        analytic = self.prior.has_analytic_kl
        if kl == "analytic" and not analytic:
            raise InputError(f"{type(self.prior).__name__} has no closed-form KL: use kl='sampled' or 'auto'.")
        self.kl = ("analytic" if analytic else "sampled") if kl == "auto" else kl
        if getattr(encoder, "inputs", None):
            self.build(encoder.input_shape)

    def build(self, input_shape) -> None:
        if self.built:  # type: ignore[has-type]
            return
        logits_shape = output_shape(self.encoder, input_shape)
        if len(logits_shape) != 3 or None in logits_shape[1:]:
            raise InputError(
                "the encoder must output logits [B, N, K], with N and K static (end it with a Reshape((N, K))). "
                f"Received: an output of shape {logits_shape}."
            )
        if not self.decoder.built:
            output_shape(self.decoder, logits_shape)
        # Those of a loaded model were built with their configs.
        if not self.estimator.built:
            self.estimator.build(logits_shape, tuple(input_shape))
        if not self.prior.built:
            self.prior.build(logits_shape[1:])
        self.logits_shape = logits_shape
        self.data_shape = tuple(input_shape[1:])
        self.built = True

    # Inference.

    def posterior(self, x, *, training=False) -> ProductCategorical:
        """q(z|x), with batch `[B]` and event `[N, K]`, in float32 at least."""
        self._build_for(x)
        logits = self.encoder(x, training=training)
        return ProductCategorical(widen(logits))

    def log_likelihood(self, x, z, *, training=False) -> tf.Tensor:
        """log p(x|z) in nats, data `[B, *data]` and codes `[S, B, N, K]` to `[S, B]`."""
        shape = tf.shape(z)
        parameters = self.decoder(tf.reshape(z, [-1, *z.shape[2:]]), training=training)
        parameters = tf.reshape(parameters, tf.concat([shape[:2], tf.shape(parameters)[1:]], axis=0))
        parameters = tf.ensure_shape(parameters, [z.shape[0], z.shape[1], *parameters.shape[2:]])
        self._check_parameters(x, parameters)
        log_prob = self.likelihood.log_prob(tf.cast(x, parameters.dtype), parameters)
        return tf.reduce_sum(log_prob, axis=list(range(2, log_prob.shape.rank)))

    def _log_likelihood_of(self, x, training):
        """`log_likelihood` as a function of z, with `neighbours` where the decoder allows the shortcut."""

        def log_likelihood(z):
            return self.log_likelihood(x, z, training=training)

        def neighbours(z):
            parameters = decode_neighbours(self.decoder, z)
            log_prob = self.likelihood.log_prob(tf.cast(x, parameters.dtype), parameters)
            log_prob = tf.reduce_sum(log_prob, axis=list(range(3, log_prob.shape.rank)))
            others = tf.reshape(log_prob[:-1], tf.concat([[-1], tf.shape(log_prob)[2:]], axis=0))
            return join_own(others, log_prob[-1], z)

        if starts_dense(self.decoder):
            log_likelihood.neighbours = neighbours  # type: ignore[attr-defined]
        return log_likelihood

    def call(self, inputs, training=False):
        probabilities = tf.nn.softmax(self.posterior(inputs, training=training).logits, axis=-1)
        code = gumbel_max(probabilities)
        index = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        return {
            "probabilities": probabilities,
            "code": code,
            "index": index,
            "reconstruction": self.decode(code, training=training),
        }

    def decode(self, code, *, training=False) -> tf.Tensor:
        """E[x|z], codes `[B, N, K]` to data `[B, *data]`."""
        return self.likelihood.mean(self.decoder(code, training=training))

    def sample(self, num_samples, seed) -> tf.Tensor:
        """E[x|z] at `num_samples` codes from the prior, `[num_samples, *data]`; `seed` is int32 `[2]`."""
        return self.decode(self.prior.sample(num_samples, seed))

    def negative_elbo(self, x, *, seed, training=False) -> NegativeElbo:
        """The training loss, or with `training=False` the discrete bound, for data `[B, *data]`."""
        return negative_elbo(
            self.posterior(x, training=training),
            self.prior,
            self._log_likelihood_of(x, training),
            self.estimator,
            seed=seed,
            kl=self.kl,
            context=x,
            training=training,
        )

    def bounds(self, x, *, seed, num_samples: int) -> Bounds:
        """The discrete ELBO and the importance-weighted bound on log p(x), for data `[B, *data]`; hard samples."""
        return discrete_bounds(
            self.posterior(x),
            self.prior,
            lambda z: self.log_likelihood(x, z),
            seed=seed,
            num_samples=num_samples,
            kl=self.kl,
        )

    def relaxed_elbo(self, x, *, seed, num_samples: int, temperature) -> tf.Tensor:
        """The ELBO at relaxed samples, `[B]`, for data `[B, *data]`: not a bound."""
        return relaxed_elbo(
            self.posterior(x),
            self.prior,
            lambda z: self.log_likelihood(x, z),
            seed=seed,
            num_samples=num_samples,
            temperature=temperature,
            kl=self.kl,
        )

    # Training.

    def terms(self, x, *, seed, training):
        bound = self.negative_elbo(x, seed=seed, training=training)
        reports = {"rate": bound.rate, "distortion": bound.distortion}
        return Terms(bound.loss, reports, [(self.estimator, bound.estimate)])

    def _unpack(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if y is not None or weight is not None:
            raise InputError(
                "DiscreteVAE learns from x alone. Received: labels or sample weights; call fit(x), or map the "
                "data set to its images."
            )
        self._build_for(x)
        return x

    def _check_arrays(self, x, y=None):
        if isinstance(x, np.ndarray | tf.Tensor):
            self.likelihood.check(np.asarray(x))

    def _check_parameters(self, x, parameters):
        expected = self.likelihood.parameter_shape(tuple(x.shape[1:]))
        if tuple(parameters.shape[2:]) != expected:
            raise InputError(
                f"with data of shape {tuple(x.shape[1:])} the {type(self.likelihood).__name__} likelihood needs a "
                f"decoder that outputs {expected}. Received: {tuple(parameters.shape[2:])}."
            )

    # Saving.

    def endpoints(self):
        _, latents, categories = self.logits_shape

        def encode(x):
            outputs = self(x, training=False)
            return {name: outputs[name] for name in ("probabilities", "code", "index")}

        def decode(code):
            return {"reconstruction": self.decode(code)}

        def sample(seed, n):
            return {"samples": self.sample(n, seed)}

        return {
            "encode": Endpoint(encode, [tf.TensorSpec([None, *self.data_shape], tf.float32, "x")]),
            "decode": Endpoint(decode, [tf.TensorSpec([None, latents, categories], tf.float32, "code")]),
            "sample": Endpoint(sample, [tf.TensorSpec([2], tf.int32, "seed"), tf.TensorSpec([], tf.int32, "n")]),
        }

    def get_config(self):
        return {**super().get_config(), "kl": self.kl}
