"""A variational autoencoder with discrete latent variables.

    max E_q[log p(x|z)] - KL(q(z|x) || p(z)),    z: N variables of a family

Diederik P. Kingma, Max Welling (2014), "Auto-Encoding Variational Bayes", arXiv 1312.6114.
Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete import estimators, families, objectives, priors
from tfdiscrete.distributions import Family
from tfdiscrete.errors import InputError
from tfdiscrete.estimators.neighbours import join_own
from tfdiscrete.models.base import Endpoint, LatentVariableModel, Terms, check_parameters_shape, output_shape
from tfdiscrete.models.checked_data import checking
from tfdiscrete.models.code_prior import CodePrior
from tfdiscrete.models.neighbours import decode_neighbours, is_deterministic, starts_dense
from tfdiscrete.objectives import Bounds, NegativeElbo, discrete_bounds, likelihoods, relaxed_elbo


@keras.saving.register_keras_serializable(package="tfdiscrete.models")
class DiscreteVAE(LatentVariableModel):
    """Any encoder, decoder, family, likelihood, prior and gradient estimator, trained with `compile` and `fit`.

    `fit` takes data `x` alone and reports `loss` (the estimator's, nats per example), `rate` and `distortion`;
    `evaluate` reports the discrete bound: `loss` is then an upper bound on -log p(x). `predict`, and a call, give
    `code` (the most likely one, as the decoder reads it), `reconstruction` (the likelihood's mean), and what the family
    says of the posterior: `probabilities` and `index` of discrete variables.

    With a prior that depends on a class, `priors.Conditional`, data may come with integer classes `y`, `[B]`: `fit` and
    `evaluate` are then of bounds on log p(x|y).

    Example:

        encoder, decoder = make_networks(
            "mlp", data_shape=(28, 28), parameter_shape=(28, 28), num_latents=20, num_categories=10
        )
        vae = DiscreteVAE(encoder, decoder, estimator="straight_through_gumbel_softmax")
        vae.compile("adam")
        vae.fit(images, epochs=10, batch_size=100)
        vae.predict(images)["index"]        # [B, 20]

    Args:
        encoder: a Keras model, data `[B, *data]` to the family's parameters: logits `[B, N, K]` of categorical
            variables.
        decoder: a Keras model, the family's codes (one-hot rows `[B, N, K]`) to the likelihood's parameters.
        family: what z is: a `families.Latents`, or its name with default settings.
        estimator: an `Estimator`, or its name with default settings; by default the family's.
        prior: a `Prior`, or its name.
        likelihood: a `Likelihood`, or "bernoulli", "gaussian" or "categorical".
        objective: what is minimised, an `objectives.Objective` or its name; `evaluate` reports the bound.
        kl: "analytic", "sampled" or "relaxed" (part of the estimator's cost), or "auto": the first that suits.
        seed: of all noise; a non-negative integer, by default drawn from the system and kept in the config.

    Raises:
        InputError: for unknown names, an encoder whose output is not the family's, or labels given to `fit` under a
            prior that takes none.
    """

    reported = ("rate", "distortion")
    parts = ("encoder", "decoder", "family", "estimator", "prior", "likelihood", "objective")

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        *,
        family: str | families.Latents = "categorical",
        estimator: str | estimators.Estimator | None = None,
        prior: str | priors.Prior = "fixed",
        likelihood: str | likelihoods.Likelihood = "bernoulli",
        objective: str | objectives.Objective = "elbo",
        kl: str = "auto",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.family = families.get(family)
        self.estimator = estimators.get(self.family.estimator if estimator is None else estimator)
        self.prior = priors.get(prior)
        self.likelihood = likelihoods.get(likelihood)
        self.objective = objectives.get(objective)
        self.kl = kl
        if not self.prior.takes_condition:  # given classes it may be another
            trained = not isinstance(self.prior, priors.Autoregressive)  # that is learned once all else is
            self.objective.bound(self.prior, self.estimator, kl=kl, training=trained)
        if getattr(encoder, "inputs", None):
            self.build(encoder.input_shape)

    def build(self, input_shape) -> None:
        if self.built:  # type: ignore[has-type]
            return
        parameters_shape = output_shape(self.encoder, input_shape)
        # Those of a loaded model were built with their configs.
        if not self.family.built:
            self.family.build(parameters_shape)
        check_parameters_shape(self.family, parameters_shape)
        self.code_shape = self.family.codes_shape(self.family.num_latents)
        if not self.decoder.built:
            output_shape(self.decoder, (None, *self.code_shape))
        if not self.estimator.built:
            self.estimator.build(self.family.logits_shape, tuple(input_shape))
        self.prior.connect(self._encode, tuple(input_shape[1:]))
        self.prior.build_for(self.family)
        q = self.family.distribution(tf.zeros([1, *parameters_shape[1:]]))
        self.estimator.check_distribution(self.family.hard(q) if self._is_estimated_hard else q)
        self.data_shape = tuple(input_shape[1:])
        self.built = True

    # Inference.

    def posterior(self, x, *, training=False):
        """q(z|x), the family's law, with batch `[B]`, in float32 at least."""
        self._build_for(x)
        return self.family.distribution(self.encoder(x, training=training))

    def _encode(self, x) -> tf.Tensor:
        return self.encoder(x, training=False)

    def _prior(self, condition):
        """p(z), or p(z|y) of given classes `[B]`."""
        return self.prior if condition is None else self.prior.given(condition)

    def _prior_and_kl(self, condition) -> tuple[Any, str]:
        """`_prior`, and the KL of bounds by hard samples."""
        prior = self._prior(condition)
        return prior, "analytic" if prior.has_analytic_kl and self.kl != "sampled" else "sampled"

    def log_likelihood(self, x, z, *, training=False) -> tf.Tensor:
        """log p(x|z) in nats, data `[B, *data]` and samples `[S, B, *event]` of the posterior to `[S, B]`."""
        code = self.family.decode(z)
        shape = tf.shape(code)
        parameters = self.decoder(tf.reshape(code, [-1, *code.shape[2:]]), training=training)
        parameters = tf.reshape(parameters, tf.concat([shape[:2], tf.shape(parameters)[1:]], axis=0))
        parameters = tf.ensure_shape(parameters, [code.shape[0], code.shape[1], *parameters.shape[2:]])
        self._check_parameters(x, parameters)
        log_prob = self.likelihood.log_prob(tf.cast(x, parameters.dtype), parameters)
        return tf.reduce_sum(log_prob, axis=list(range(2, log_prob.shape.rank)))

    def _log_likelihood_of(self, x, training):
        """`log_likelihood` as a function of z, with the shortcuts that the decoder allows: `neighbours`, `shared`."""

        def log_likelihood(z):
            return self.log_likelihood(x, z, training=training)

        def neighbours(z):
            parameters = decode_neighbours(self.decoder, z)
            log_prob = self.likelihood.sum_log_prob(tf.cast(x, parameters.dtype), parameters, len(x.shape) - 1)
            others = tf.reshape(log_prob[:-1], tf.concat([[-1], tf.shape(log_prob)[2:]], axis=0))
            return join_own(others, log_prob[-1], z)

        def shared(z):
            parameters = self.decoder(self.family.decode(z)[:, 0], training=training)
            return self.likelihood.log_prob_of_all(tf.cast(x, parameters.dtype), parameters, len(x.shape) - 1)

        # The shortcut takes one-hot codes.
        if len(self.code_shape) == 2 and starts_dense(self.decoder):
            log_likelihood.neighbours = neighbours  # type: ignore[attr-defined]
        if is_deterministic(self.decoder):
            log_likelihood.shared = shared  # type: ignore[attr-defined]
        return log_likelihood

    def call(self, inputs, training=False):
        outputs = self.family.outputs(self.posterior(inputs, training=training))
        return {**outputs, "reconstruction": self.decode(outputs["code"], training=training)}

    def decode(self, code, *, training=False) -> tf.Tensor:
        """E[x|z], codes `[B, N, *code]` (one-hot rows of categorical variables) to data `[B, *data]`."""
        return self.likelihood.mean(self.decoder(code, training=training))

    def sample(self, num_samples, seed, condition=None) -> tf.Tensor:
        """E[x|z] at `num_samples` codes from the prior, `[num_samples, *data]`.

        Args:
            num_samples: an integer or a tensor.
            seed: int32 `[2]`.
            condition: of a conditional prior, a class, or one for each sample; by default drawn.
        """
        prior, _ = self._prior_and_kl(condition)
        z = self.family.harden(prior.sample(num_samples, seed)[tf.newaxis])
        return self.decode(self.family.decode(z)[0])

    def negative_elbo(self, x, *, seed, training=False, condition=None) -> NegativeElbo:
        """The training loss, or with `training=False` the discrete bound, for data `[B, *data]`."""
        q = self.posterior(x, training=training)
        return self.objective(
            self.family.hard(q) if self._is_estimated_hard else q,
            self._prior(condition),
            self._log_likelihood_of(x, training),
            self.estimator,
            seed=seed,
            kl=self.kl,
            context=x,
            training=training,
        )

    def bounds(self, x, *, seed, num_samples: int, condition=None) -> Bounds:
        """The discrete ELBO and the importance-weighted bound on log p(x), for data `[B, *data]`; hard samples."""
        prior, kl = self._prior_and_kl(condition)
        return discrete_bounds(
            self.family.hard(self.posterior(x)),
            prior,
            lambda z: self.log_likelihood(x, self.family.harden(z)),
            seed=seed,
            num_samples=num_samples,
            kl=kl,
        )

    def relaxed_elbo(self, x, *, seed, num_samples: int, temperature) -> tf.Tensor:
        """The ELBO at relaxed samples, `[B]`, for data `[B, *data]`: not a bound."""
        prior, kl = self._prior_and_kl(None)
        return relaxed_elbo(
            self.posterior(x),
            prior,
            lambda z: self.log_likelihood(x, z),
            seed=seed,
            num_samples=num_samples,
            temperature=temperature,
            kl=kl,
        )

    # Training.

    def terms(self, data, *, seed, training):
        x, condition = data
        if training or self._is_estimated_hard:
            bound = self.negative_elbo(x, seed=seed, training=training, condition=condition)
            reports = {"rate": bound.rate, "distortion": bound.distortion}
            return Terms(bound.loss, reports, [(self.estimator, bound.estimate)])
        bounds = self.bounds(x, seed=seed, num_samples=self.estimator.num_samples, condition=condition)
        return Terms(-self.objective.evaluated(bounds), {"rate": bounds.rate, "distortion": bounds.distortion})

    @property
    def _is_estimated_hard(self) -> bool:
        """Whether the estimator takes the law of hard samples, rather than the one that they are relaxed to."""
        return self.estimator.takes is Family

    def _unpack(self, data):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        if weight is not None or not (y is None or self.prior.takes_condition):
            raise InputError(
                "DiscreteVAE learns from x alone. Received: labels or sample weights; call fit(x), or map the "
                "data set to its images. Labels are for a prior that depends on them: prior=Conditional(num_classes)."
            )
        self._build_for(x)
        if y is None:
            return x, None
        if len(y.shape) != 1 and tuple(y.shape[1:]) != (1,):
            raise InputError(
                "classes must have shape [B], integers; one-hot ones become integers by argmax(-1). Received: "
                f"{tuple(y.shape)}."
            )
        return x, tf.reshape(y, [-1])

    def _check_arrays(self, x, y=None):
        self.likelihood.check(x)
        if isinstance(y, np.ndarray | tf.Tensor) and self.prior.takes_condition:
            self.prior.check_condition(y)

    def _check_parameters(self, x, parameters):
        expected = self.likelihood.parameter_shape(tuple(x.shape[1:]))
        if tuple(parameters.shape[2:]) != expected:
            raise InputError(
                f"with data of shape {tuple(x.shape[1:])} the {type(self.likelihood).__name__} likelihood needs a "
                f"decoder that outputs {expected}. Received: {tuple(parameters.shape[2:])}."
            )

    # Another prior, of the same posterior.

    def fit_prior(
        self,
        x,
        prior: priors.Autoregressive,
        *,
        epochs: int = 10,
        batch_size: int = 100,
        validation_data=None,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        **kwargs,
    ) -> keras.callbacks.History:
        """Trains a prior on codes drawn from the posterior, anew in each step; this model stays as it is.

        It lowers the rate by what the latent variables of the posterior, over all data, know of each other:

            prior = priors.Autoregressive()
            vae.fit_prior(images, prior, epochs=10)
            better = vae.with_prior(prior)

        Args:
            x: `[n, *data]`, or a `tf.data.Dataset` of batches.
            prior: an `Autoregressive`.
            epochs: passes over the data.
            batch_size: examples in a step.
            validation_data: as `x`.
            optimizer: as in Keras.
            **kwargs: passed on to `keras.Model.fit`.

        Returns:
            The history: `loss`, and `val_loss`, is the cross-entropy -E_q log p(z), in nats per example.

        Raises:
            InputError: where the latent variables are not categorical, and for data that `fit` refuses.
        """
        if not isinstance(prior, priors.Autoregressive):
            raise InputError(f"fit_prior trains a priors.Autoregressive. Received: {prior!r}.")
        with self.distribute_strategy.scope():
            prior.build_for(self.family)
            model = CodePrior(prior, seed=self.seed)
            model.compile(optimizer)
        with checking(self._check_arrays) as checked:
            x, validation_data = checked(x), checked(validation_data)
            validation = None if validation_data is None else (self.posterior_logits(validation_data),)
            logits = self.posterior_logits(x)
        return model.fit(logits, epochs=epochs, batch_size=batch_size, validation_data=validation, **kwargs)

    def posterior_logits(self, x, *, batch_size: int = 500) -> np.ndarray:
        """Logits of q(z|x), normalized: what a `CodePrior` takes.

        Args:
            x: `[n, *data]`, or a `tf.data.Dataset` of batches.
            batch_size: examples encoded at a time.

        Returns:
            float32 `[n, N, K]`.

        Raises:
            InputError: where the latent variables are not categorical.
        """
        if not isinstance(self.family, families.DiscreteLatents):
            raise InputError(f"logits are those of categorical variables. Received: {type(self.family).__name__}.")

        @tf.function(reduce_retracing=True, autograph=False)
        def logits(batch):
            return tf.nn.log_softmax(self.posterior(self._unpack(batch)[0]).logits, axis=-1)

        batches = x if isinstance(x, tf.data.Dataset) else tf.data.Dataset.from_tensor_slices(x).batch(batch_size)
        parts = [logits(batch).numpy() for batch in batches]
        return np.concatenate([*parts, np.zeros((0, *self.family.logits_shape[1:]), np.float32)])

    def with_prior(self, prior: str | priors.Prior) -> "DiscreteVAE":
        """This model under another prior, not compiled: networks, family and estimator are the same objects."""
        prior = priors.get(prior)
        kl = "sampled" if self.kl == "analytic" and not prior.has_analytic_kl else self.kl
        with self.distribute_strategy.scope():
            return type(self)(
                self.encoder,
                self.decoder,
                family=self.family,
                estimator=self.estimator,
                prior=prior,
                likelihood=self.likelihood,
                objective=self.objective,
                kl=kl,
                seed=self.seed,
                name=self.name,
            )

    # Saving.

    def endpoints(self):
        def encode(x):
            return self.family.outputs(self.posterior(x))

        def decode(code):
            return {"reconstruction": self.decode(code)}

        def sample(seed, n, condition=None):
            return {"samples": self.sample(n, seed, condition)}

        drawn = [tf.TensorSpec([2], tf.int32, "seed"), tf.TensorSpec([], tf.int32, "n")]
        if self.prior.takes_condition:
            drawn.append(tf.TensorSpec([None], tf.int32, "condition"))

        return {
            "encode": Endpoint(encode, [tf.TensorSpec([None, *self.data_shape], tf.float32, "x")]),
            "decode": Endpoint(decode, [tf.TensorSpec([None, *self.code_shape], tf.float32, "code")]),
            "sample": Endpoint(sample, drawn),
        }

    def get_config(self):
        return {**super().get_config(), "kl": self.kl}
