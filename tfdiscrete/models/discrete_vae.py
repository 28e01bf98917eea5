"""A variational autoencoder with categorical latent variables.

    max E_q[log p(x|z)] - KL(q(z|x) || p(z)),    z: N one-hot variables of K categories

Diederik P. Kingma, Max Welling (2014), "Auto-Encoding Variational Bayes", arXiv 1312.6114.
Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete import estimators, priors
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.errors import InputError, check_name, check_seed
from tfdiscrete.estimators.neighbours import join_own
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
from tfdiscrete.ops import fold_in, gumbel_max, step_seed
from tfdiscrete.ops.counter import add_counter
from tfdiscrete.ops.precision import widen
from tfdiscrete.ops.random import random_base

_LONGEST_EXECUTION = 32


@keras.saving.register_keras_serializable(package="tfdiscrete.models")
class DiscreteVAE(keras.Model):
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
        super().__init__(**kwargs)
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
        self.seed = random_base() if seed is None else check_seed(seed)
        self.counter = add_counter(self, "counter")
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.rate_tracker = keras.metrics.Mean(name="rate")
        self.distortion_tracker = keras.metrics.Mean(name="distortion")
        if getattr(encoder, "inputs", None):
            self.build(encoder.input_shape)

    def build(self, input_shape) -> None:
        if self.built:  # type: ignore[has-type]
            return
        logits_shape = _output_shape(self.encoder, input_shape)
        if len(logits_shape) != 3 or None in logits_shape[1:]:
            raise InputError(
                "the encoder must output logits [B, N, K], with N and K static (end it with a Reshape((N, K))). "
                f"Received: an output of shape {logits_shape}."
            )
        if not self.decoder.built:
            _output_shape(self.decoder, logits_shape)
        # Those of a loaded model were built with their configs.
        if not self.estimator.built:
            self.estimator.build(logits_shape, tuple(input_shape))
        if not self.prior.built:
            self.prior.build(logits_shape[1:])
        self.logits_shape = logits_shape
        self.data_shape = tuple(input_shape[1:])
        self.built = True

    def compile(self, optimizer="adam", *, jit_compile="auto", steps_per_execution="auto", **kwargs):
        """As `keras.Model.compile`, without `loss`.

        Args:
            optimizer: as in Keras; it trains the estimator's own variables too.
            jit_compile: "auto" is XLA, and off under a `tf.distribute` strategy or `run_eagerly`.
            steps_per_execution: "auto" is 32, which halves the time that `fit` spends between steps (callbacks hear of
                every 32nd batch); a divisor of `steps_per_epoch` where that is given; and 1 under a strategy or
                `run_eagerly`.
            **kwargs: passed on.
        """
        for name in ("loss", "metrics", "weighted_metrics"):
            if kwargs.get(name) is not None:
                raise InputError(f"DiscreteVAE brings its own loss and metrics: compile it without `{name}`.")
        self._compile_choices = {"jit_compile": jit_compile, "steps_per_execution": steps_per_execution}
        plain = tf.distribute.has_strategy() or kwargs.get("run_eagerly", False)
        self._suits_steps = steps_per_execution == "auto" and not plain
        super().compile(
            optimizer=optimizer,
            jit_compile=not plain if jit_compile == "auto" else jit_compile,
            steps_per_execution=(1 if plain else _LONGEST_EXECUTION)
            if steps_per_execution == "auto"
            else steps_per_execution,
            **kwargs,
        )

    def get_compile_config(self):
        # As they were given: what "auto" stands for depends on where the model is loaded.
        return {"optimizer": keras.saving.serialize_keras_object(self.optimizer), **self._compile_choices}

    def compile_from_config(self, config):
        self.compile(**{**config, "optimizer": keras.saving.deserialize_keras_object(config["optimizer"])})
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, steps_per_epoch=None, validation_data=None, validation_steps=None, **kwargs):
        """As `keras.Model.fit`; arrays are checked against the likelihood first."""
        self._check_arrays(x, validation_data)
        self._suit_steps(steps_per_epoch, validation_steps)
        return super().fit(
            x,
            *args,
            steps_per_epoch=steps_per_epoch,
            validation_data=validation_data,
            validation_steps=validation_steps,
            **kwargs,
        )

    def evaluate(self, x=None, *args, steps=None, **kwargs):
        """As `keras.Model.evaluate`; arrays are checked against the likelihood first."""
        if "_use_cached_eval_dataset" not in kwargs:  # that is `fit`, which has checked and suited them
            self._check_arrays(x)
            self._suit_steps(steps)
        return super().evaluate(x, *args, steps=steps, **kwargs)

    def _check_arrays(self, *data):
        for x in data:
            x = x[0] if isinstance(x, tuple) and x else x
            if isinstance(x, (np.ndarray, tf.Tensor)):
                self.likelihood.check(np.asarray(x))

    def _suit_steps(self, *counts: int | None):
        """Keras runs whole executions: their length must divide the steps that are asked for."""
        if not self._suits_steps:
            return
        common = math.gcd(*(count or 0 for count in counts))
        length = max(n for n in range(1, _LONGEST_EXECUTION + 1) if common % n == 0)
        if length != self.steps_per_execution:  # type: ignore[has-type]
            self.steps_per_execution = length
            self.train_function = self.test_function = self.predict_function = None

    @property
    def metrics(self):
        return [self.loss_tracker, self.rate_tracker, self.distortion_tracker]

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

    def train_step(self, data):
        x = self._data_alone(data)
        seed = step_seed(self.seed, self.counter.value)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        own = {id(variable) for variable in self.estimator.trainable_variables}
        with tf.GradientTape(persistent=bool(own)) as tape:
            bound = self.negative_elbo(x, seed=seed, training=True)
            loss = sum([tf.reduce_mean(bound.loss), *self.losses]) / replicas
            scaled = self.optimizer.scale_loss(loss)
            auxiliary = self.optimizer.scale_loss(bound.estimate.auxiliary / replicas)
        variables = self.trainable_variables
        shared = [variable for variable in variables if id(variable) not in own]
        gradients = dict(zip(map(id, shared), tape.gradient(scaled, shared), strict=True))
        if own:
            theirs = self.estimator.trainable_variables
            gradients.update(zip(map(id, theirs), tape.gradient(auxiliary, theirs), strict=True))
        self.optimizer.apply_gradients([(gradients[id(variable)], variable) for variable in variables])
        self.counter.assign_add(1)
        self.estimator.update(bound.estimate)
        return self._report(bound)

    def test_step(self, data):
        x = self._data_alone(data)
        # Evaluation has its own stream of noise, and leaves the training's where it is. The examples counted so far,
        # which Keras sets back before each evaluation, tell the batches apart.
        seed = fold_in(step_seed(self.seed, self.counter.value, "evaluate"), self.loss_tracker.count.value)
        bound = self.negative_elbo(x, seed=seed, training=False)
        return self._report(bound)

    def _report(self, bound: NegativeElbo):
        # A value for each example: a replica's share of the last batch may be empty.
        self.loss_tracker.update_state(bound.loss)
        self.rate_tracker.update_state(bound.rate)
        self.distortion_tracker.update_state(bound.distortion)
        return {metric.name: metric.result() for metric in self.metrics}

    def _data_alone(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if y is not None or weight is not None:
            raise InputError(
                "DiscreteVAE learns from x alone. Received: labels or sample weights; call fit(x), or map the "
                "data set to its images."
            )
        self._build_for(x)
        return x

    def _build_for(self, x):
        # Networks without static input shapes are built by the first data, which Keras leaves to the traced step.
        if not self.built:
            self.build((None, *x.shape[1:]))

    def _check_parameters(self, x, parameters):
        expected = self.likelihood.parameter_shape(tuple(x.shape[1:]))
        if tuple(parameters.shape[2:]) != expected:
            raise InputError(
                f"with data of shape {tuple(x.shape[1:])} the {type(self.likelihood).__name__} likelihood needs a "
                f"decoder that outputs {expected}. Received: {tuple(parameters.shape[2:])}."
            )

    # Saving.

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "encoder": serialize(self.encoder),
            "decoder": serialize(self.decoder),
            "estimator": serialize(self.estimator),
            "prior": serialize(self.prior),
            "likelihood": serialize(self.likelihood),
            "kl": self.kl,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for part in ("encoder", "decoder", "estimator", "prior", "likelihood"):
            config[part] = keras.saving.deserialize_keras_object(config[part], custom_objects=custom_objects)
        return cls(**config)


def _output_shape(network: keras.Model, input_shape) -> tuple[int | None, ...]:
    """The shape of the network's output; a symbolic call finds that of a subclassed network, and builds it."""
    if getattr(network, "inputs", None):
        return tuple(network.compute_output_shape(input_shape))
    return tuple(network(keras.KerasTensor((None, *input_shape[1:]))).shape)
