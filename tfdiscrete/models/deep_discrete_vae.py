"""A variational autoencoder with several stochastic layers of discrete latent variables, on top perhaps Gaussian ones.

    q(z|x) = q(z1|x) q(z2|z1) .. q(zL|z_{L-1}),    p(x, z) = p(zL) p(z_{L-1}|zL) .. p(z1|z2) p(x|z1)

    max E_q[log p(x|z1) + sum_{l<L} (log p(z_l|z_{l+1}) - log q(z_l|z_{l-1}))] - KL(q(zL|z_{L-1}) || p(zL)),    z0 = x

Andriy Mnih, Karol Gregor (2014), "Neural Variational Inference and Learning in Belief Networks", arXiv 1402.0030.
George Tucker, Andriy Mnih, Chris J. Maddison, Dieterich Lawson, Jascha Sohl-Dickstein (2017), "REBAR: Low-variance,
unbiased gradient estimates for discrete latent variable models", arXiv 1703.07370 (control variates of several layers).
"""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfdiscrete import estimators, objectives, priors
from tfdiscrete.errors import InputError, check_name
from tfdiscrete.families import Latents
from tfdiscrete.models.base import Endpoint, LatentVariableModel, Terms, check_parameters_shape
from tfdiscrete.models.chain import chain_estimators, chain_families, checked_count, fitted_shape, whole_rate_objective
from tfdiscrete.objectives import Bounds, likelihoods
from tfdiscrete.objectives.nested_elbo import (
    NESTED_KL_CHOICES,
    Level,
    NestedElbo,
    nested_bounds,
    nested_negative_elbo,
)
from tfdiscrete.ops import split_seed
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.models")
class DeepDiscreteVAE(LatentVariableModel):
    """A chain of `L` layers of discrete variables, each with an encoder, a decoder, a family and an estimator.

    The top layer may be of Gaussian variables: log p(z_{L-1}|zL) is of hard codes, and differentiable in zL.

    `fit` takes data `x` alone and reports `loss` (the estimators', nats per example), `distortion`, -E log p(x|z1), and
    `rate`, what all latent variables cost, without the objective's weight; `evaluate` reports the discrete bound:
    `loss` is then an upper bound on -log p(x). `predict`, and a call, give `probabilities_l`, `index_l` and `code_l` of
    each layer l from 1 to L (of Gaussian variables `mean_L`, `scale_L` and `code_L`), given the likeliest code of the
    layer below, and `reconstruction`, the likelihood's mean at the likeliest code of z1.

    The estimators nest: the cost of a layer's one is evaluated at its samples, for each of which the layer above draws
    its own. With `S` samples in each layer the top one has `S^L`, all in one call of its networks; an estimator that
    evaluates a cost at relaxed points, too, or at all neighbours of a code, multiplies them as well. Unbiased
    estimators stay unbiased; the temperature of REBAR and RELAX is trained by a part of its gradient below the top.

    Example:

        networks = make_deep_networks(
            "linear", data_shape=(28, 28), parameter_shape=(28, 28), num_latents=(200, 200), family=Bernoulli()
        )
        vae = DeepDiscreteVAE(*networks, families="bernoulli", estimator="relax")
        vae.compile("adam")
        vae.fit(images, epochs=10, batch_size=100)
        vae.predict(images)["index_2"]      # [B, 200]

    Args:
        encoders: Keras models, data `[B, *data]` to the parameters of z1, z1's code to those of z2, up to zL.
        decoders: Keras models, zL's code to the parameters of z_{L-1}, down to z1's code to those of the likelihood.
        families: what z is: a `families.DiscreteLatents`, or its name, of all layers, or a list from z1 to zL, the last
            of which may be `families.Gaussian`.
        estimator: an `Estimator`, or its name, of which each layer has its own with the same settings; or a list from
            z1 to zL, with "pathwise" for Gaussian variables. By default those of the families.
        prior: p(zL), a `Prior`, or its name; the pseudo-inputs of a `VampPrior` are codes of the layer below the top.
        likelihood: a `Likelihood`, or "bernoulli", "gaussian" or "categorical".
        objective: what is minimised, `objectives.ELBO` or `BetaELBO`, whose weight is on the rate of all layers, or its
            name; a schedule is of the first layer's estimator. `evaluate` reports the bound.
        kl: "analytic", what has a closed form outside of the estimators' costs, the entropies and, if the prior has it,
            the top layer's KL; or "sampled", log q - log p of the samples.
        seed: of all noise; a non-negative integer, by default drawn from the system and kept in the config.

    Raises:
        InputError: for unknown names, lists of other lengths, networks that do not fit each other, families of
            continuous variables below the top, estimators of other variables than their layer's, a prior that depends
            on a class, or another objective.
    """

    reported = ("rate", "distortion")
    parts = ("encoders", "decoders", "families", "estimator", "prior", "likelihood", "objective")

    def __init__(
        self,
        encoders: Sequence[keras.Model],
        decoders: Sequence[keras.Model],
        *,
        families: str | Latents | Sequence[str | Latents] = "categorical",
        estimator: str | estimators.Estimator | Sequence[str | estimators.Estimator] | None = None,
        prior: str | priors.Prior = "fixed",
        likelihood: str | likelihoods.Likelihood = "bernoulli",
        objective: str | objectives.Objective = "elbo",
        kl: str = "analytic",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(seed=seed, **kwargs)
        self.num_layers = checked_count(encoders, decoders)
        # One by one: TensorFlow checkpoints do not see layers in a list.
        self._set_each("encoder", encoders)
        self._set_each("decoder", decoders[::-1])
        self._set_each("family", chain_families(families, self.num_layers))
        self._set_each("estimator", chain_estimators(estimator, self.families))
        self.prior = priors.get(prior)
        if self.prior.takes_condition:
            raise InputError(
                "DeepDiscreteVAE learns from x alone, and takes a prior that does not depend on a class, such as "
                f"'learned'. Received: {type(self.prior).__name__}."
            )
        self.likelihood = likelihoods.get(likelihood)
        self.objective = whole_rate_objective(objective)
        self.kl = check_name("kl", kl, NESTED_KL_CHOICES)
        if getattr(encoders[0], "inputs", None):
            self.build(encoders[0].input_shape)

    def _set_each(self, name: str, parts: Sequence) -> None:
        for number, part in enumerate(parts, 1):
            setattr(self, f"{name}_{number}", part)

    def _each(self, name: str) -> list:
        return [getattr(self, f"{name}_{number}") for number in range(1, self.num_layers + 1)]

    @property
    def encoders(self) -> list[keras.Model]:
        """From z1 to zL; each is an attribute, too: `encoder_1` and so on."""
        return self._each("encoder")

    @property
    def decoders(self) -> list[keras.Model]:
        """From zL's to z1's, which is the attribute `decoder_1`."""
        return self._each("decoder")[::-1]

    @property
    def families(self) -> list[Latents]:
        """From z1 to zL: `family_1` and so on."""
        return self._each("family")

    @property
    def estimator(self) -> list[estimators.Estimator]:
        """From z1 to zL: `estimator_1` and so on."""
        return self._each("estimator")

    def _estimators(self):
        return self.estimator

    def build(self, input_shape) -> None:
        if self.built:  # type: ignore[has-type]
            return
        self.data_shape = tuple(input_shape[1:])
        below: tuple[int | None, ...] = (None, *self.data_shape)
        context: tuple[int | None, ...] | None = below
        for number, (encoder, family) in enumerate(zip(self.encoders, self.families, strict=True), 1):
            parameters = fitted_shape(f"encoder {number}", encoder, below)
            # Those of a loaded model were built with their configs.
            if not family.built:
                family.build(parameters)
            check_parameters_shape(family, parameters)
            estimator = self.estimator[number - 1]
            if not estimator.built:
                estimator.build(family.logits_shape, context)
            below, context = (None, *self._code_shape(number)), family.logits_shape
        for number in range(self.num_layers, 0, -1):
            self._build_decoder(number)
        self.prior.connect(self._encode_top, self._below_shape(self.num_layers))
        self.prior.build_for(self.families[-1])
        self.built = True

    def _code_shape(self, number: int) -> tuple[int, ...]:
        family = self.families[number - 1]
        return family.codes_shape(family.num_latents)

    def _below_shape(self, number: int) -> tuple[int, ...]:
        """What the encoder of a layer reads of an example: the data, or the code of the layer below."""
        return self.data_shape if number == 1 else self._code_shape(number - 1)

    def _encode_top(self, below) -> tf.Tensor:
        return self.encoders[-1](below, training=False)

    def _build_decoder(self, number: int) -> None:
        decoder = self._each("decoder")[number - 1]
        received = fitted_shape(f"the decoder of z{number}", decoder, (None, *self._code_shape(number)))[1:]
        if number == 1:
            expected = self.likelihood.parameter_shape(self.data_shape)
            reader = f"with data of shape {self.data_shape} the {type(self.likelihood).__name__} likelihood"
        else:
            family = self.families[number - 2]
            expected, reader = family.parameters_shape(family.num_latents), f"p(z{number - 1}|z{number})"
        if received != expected:
            raise InputError(f"{reader} needs a decoder of z{number} that outputs {expected}. Received: {received}.")

    # The layers.

    def _posterior(self, number: int, below, training=False):
        """q(z_l|z_{l-1}), of x, or codes of z_{l-1}, with any batch."""
        parameters = _apply(self.encoders[number - 1], below, len(self._below_shape(number)), training)
        return self.families[number - 1].distribution(parameters)

    def _decode(self, number: int, z, training=False) -> tf.Tensor:
        """The parameters of z_{l-1}, or of the likelihood, of samples z_l with any batch."""
        code = self.families[number - 1].decode(z)
        decoder = self._each("decoder")[number - 1]
        return _apply(decoder, code, len(self._code_shape(number)), training)

    def _level(self, number: int, training: bool) -> Level:
        def posterior(below):
            code = below if number == 1 else self.families[number - 2].decode(below)
            return self._posterior(number, code, training)

        def log_likelihood(below, z):
            parameters = self._decode(number, z, training)
            if number > 1:
                return self.families[number - 2].distribution(parameters).log_prob(below)
            log_prob = self.likelihood.log_prob(tf.cast(below, parameters.dtype), parameters)
            return tf.reduce_sum(log_prob, axis=list(range(2, log_prob.shape.rank)))

        return Level(posterior, log_likelihood, self.estimator[number - 1])

    def _levels(self, training=False) -> list[Level]:
        return [self._level(number, training) for number in range(1, self.num_layers + 1)]

    # Inference.

    def _encode(self, x, training=False) -> dict[str, tf.Tensor]:
        outputs, below = {}, x
        for number, family in enumerate(self.families, 1):
            of_layer = family.outputs(self._posterior(number, below, training))
            outputs.update({f"{name}_{number}": values for name, values in of_layer.items()})
            below = of_layer["code"]
        return outputs

    def call(self, inputs, training=False):
        self._build_for(inputs)
        outputs = self._encode(inputs, training)
        return {**outputs, "reconstruction": self.decode(outputs["code_1"], training=training)}

    def decode(self, code, *, training=False) -> tf.Tensor:
        """E[x|z1], codes of z1 `[B, N, *code]` (one-hot rows of categorical variables) to data `[B, *data]`."""
        return self.likelihood.mean(self.decoders[-1](code, training=training))

    def sample(self, num_samples, seed) -> tf.Tensor:
        """E[x|z1] at `num_samples` draws of z1 from the generative model, `[num_samples, *data]`.

        Args:
            num_samples: an integer or a tensor.
            seed: int32 `[2]`.
        """
        seeds = split_seed(seed, self.num_layers)
        z = self.prior.sample(num_samples, seeds[-1])
        for number in range(self.num_layers, 1, -1):
            law = self.families[number - 2].distribution(self._decode(number, z))
            z = law.sample_one_hot(seeds[number - 2], 1)[0]
        return self.likelihood.mean(self._decode(1, z))

    def negative_elbo(self, x, *, seed, training=False) -> NestedElbo:
        """The training loss, or with `training=False` the discrete bound, for data `[B, *data]`."""
        self._build_for(x)
        return nested_negative_elbo(
            x,
            self._levels(training),
            self.prior,
            seed=seed,
            kl=self.kl,
            weight=self.objective.weight(self.estimator_1.step.value),
            training=training,
        )

    def bounds(self, x, *, seed, num_samples: int) -> Bounds:
        """The discrete ELBO and the importance-weighted bound on log p(x), for data `[B, *data]`; hard samples."""
        self._build_for(x)
        return nested_bounds(x, self._levels(), self.prior, seed=seed, num_samples=num_samples)

    # Training.

    def terms(self, data, *, seed, training):
        bound = self.negative_elbo(data, seed=seed, training=training)
        return Terms(bound.loss, {"rate": bound.rate, "distortion": bound.distortion}, bound.estimates)

    def _unpack(self, data):
        x = self._x_alone(data)
        self._build_for(x)
        return x

    def _check_arrays(self, x, y=None):
        self.likelihood.check(x)

    # Saving.

    def endpoints(self):
        def decode(code):
            return {"reconstruction": self.decode(code)}

        def sample(seed, n):
            return {"samples": self.sample(n, seed)}

        return {
            "encode": Endpoint(self._encode, [tf.TensorSpec([None, *self.data_shape], tf.float32, "x")]),
            "decode": Endpoint(decode, [tf.TensorSpec([None, *self._code_shape(1)], tf.float32, "code")]),
            "sample": Endpoint(sample, [tf.TensorSpec([2], tf.int32, "seed"), tf.TensorSpec([], tf.int32, "n")]),
        }

    def get_config(self):
        return {**super().get_config(), "kl": self.kl}


def _apply(network: keras.Model, inputs, rank: int, training: bool) -> tf.Tensor:
    """The network's output, in float32 at least, of `[*batch, *inputs]` with inputs of `rank` dimensions."""
    inputs = tf.convert_to_tensor(inputs)
    batch, event = inputs.shape[: inputs.shape.rank - rank], inputs.shape[inputs.shape.rank - rank :]
    outputs = widen(network(tf.reshape(inputs, [-1, *event]), training=training))
    shape = tf.concat([tf.shape(inputs)[: batch.rank], tf.shape(outputs)[1:]], axis=0)
    return tf.ensure_shape(tf.reshape(outputs, shape), [*batch, *outputs.shape[1:]])
