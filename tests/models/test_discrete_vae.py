import itertools
import json

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete import InputError, estimators, priors
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import Enumeration, Estimate, Estimator, GumbelSoftmax, ScoreFunction
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.objectives import ELBO, Categorical, Gaussian, likelihoods

# One of each kind: what holds for all of the registry is in test_every_estimator.py.
ESTIMATORS = ["enumeration", "gumbel_softmax", "rebar", "score_function", "straight_through_gumbel_softmax"]
LIKELIHOODS = sorted(likelihoods.REGISTRY)
PIXELS, LATENTS, CATEGORIES = 8, 2, 3
DESCRIBED = {  # what the tests' names call a likelihood
    **{name: name for name in LIKELIHOODS},
    "four levels": Categorical(4),
    "wide gaussian": Gaussian(0.3),
}
CODES = np.eye(CATEGORIES)[list(itertools.product(range(CATEGORIES), repeat=LATENTS))]  # [9, 2, 3]


def bits(examples=50):
    """Noisy copies of three patterns."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(2, size=(3, PIXELS))[rng.integers(3, size=examples)]
    return np.where(rng.random((examples, PIXELS)) < 0.05, 1 - patterns, patterns).astype("float32")


def make_vae(name="linear", *, data_shape=(PIXELS,), optimizer=None, jit_compile=False, steps=1, **options):
    """A compiled model; without XLA, which takes longer to compile than these models to train."""
    options = {"seed": 3, **options}
    encoder, decoder = make_networks(
        name,
        data_shape=data_shape,
        parameter_shape=likelihoods.get(options.get("likelihood", "bernoulli")).parameter_shape(data_shape),
        num_latents=LATENTS,
        num_categories=CATEGORIES,
    )
    vae = DiscreteVAE(encoder, decoder, **options)
    vae.compile(optimizer or keras.optimizers.Adam(0.03), jit_compile=jit_compile, steps_per_execution=steps)
    return vae


def fit(vae, x, epochs=1, batch_size=10):
    return vae.fit(x, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=0).history


def evaluate(vae, x, batch_size=16):
    return vae.evaluate(x, batch_size=batch_size, verbose=0, return_dict=True)


def weights(vae):
    return [np.asarray(variable) for variable in vae.variables]


def assert_same(first, second):
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(one, other)


def rate_and_distortion(x, encoder_weights, decoder_weights, log_prior=None):
    """In NumPy, by enumeration, for the linear Bernoulli model; [B] each."""
    kernel, bias = (np.asarray(w, np.float64) for w in encoder_weights)
    logits = (x @ kernel + bias).reshape(len(x), LATENTS, CATEGORIES)
    log_q = (CODES[:, None] * scipy.special.log_softmax(logits, axis=-1)).sum((-2, -1))
    kernel, bias = (np.asarray(w, np.float64) for w in decoder_weights)
    pixel_logits = CODES.reshape(len(CODES), -1) @ kernel + bias
    log_likelihood = -np.logaddexp(0.0, -(2 * x - 1) * pixel_logits[:, None]).sum(-1)
    log_prior = np.full(len(CODES), -LATENTS * np.log(CATEGORIES)) if log_prior is None else log_prior
    q = np.exp(log_q)
    return (q * (log_q - log_prior[:, None])).sum(0), -(q * log_likelihood).sum(0)


def exact(vae, x, log_prior=None):
    return rate_and_distortion(x, vae.encoder.get_weights(), vae.decoder.get_weights(), log_prior)


@keras.saving.register_keras_serializable(package="tests.models")
class Mixture(priors.Prior):
    """Two products of categoricals with learned weights and logits: a KL without a closed form."""

    def build(self, latents):
        super().build(latents)
        event_shape = latents.logits_shape[1:]
        self.weight = self.add_weight(name="weight", shape=(2,), initializer="zeros")
        self.logits = self.add_weight(
            name="logits", shape=(2, *event_shape), initializer=keras.initializers.RandomNormal(0.5, seed=0)
        )

    def log_prob(self, z):
        components = ProductCategorical(self.logits.value).log_prob(z[..., None, :, :])
        return tf.reduce_logsumexp(components + tf.nn.log_softmax(self.weight.value), axis=-1)

    def sample(self, num_samples, seed):
        both = ProductCategorical(self.logits.value).sample(num_samples, seed=seed)
        which = tf.argmax(self.weight.value)
        return both[:, which]

    def log_prob_of_codes(self):
        logits = scipy.special.log_softmax(np.asarray(self.logits), axis=-1)
        components = (CODES[:, None] * logits).sum((-2, -1))
        return scipy.special.logsumexp(components + scipy.special.log_softmax(np.asarray(self.weight)), axis=-1)


@keras.saving.register_keras_serializable(package="tests.models")
class SubclassedEncoder(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(LATENTS * CATEGORIES)
        self.reshape = keras.layers.Reshape((LATENTS, CATEGORIES))

    def call(self, x):
        return self.reshape(self.dense(x))


@keras.saving.register_keras_serializable(package="tests.models")
class SubclassedDecoder(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.flatten = keras.layers.Flatten()
        self.dense = keras.layers.Dense(PIXELS)

    def call(self, code):
        return self.dense(self.flatten(code))


class TestFit:
    @pytest.mark.slow
    @pytest.mark.parametrize("estimator", ESTIMATORS)
    def test_discrete_bound_improves_under_every_estimator_with_default_settings(self, estimator):
        keras.utils.set_random_seed(0)
        x, vae = bits(), make_vae(estimator=estimator, jit_compile="auto", steps="auto")
        assert vae.jit_compile
        assert vae.steps_per_execution == 32
        before = evaluate(vae, x)["loss"]
        vae.fit(x, epochs=60, batch_size=10, verbose=0)
        after = sum(exact(vae, x)).mean()
        assert after < 0.75 * before
        # Pixels taken one by one, without the patterns that they share.
        independent = scipy.stats.bernoulli(x.mean(0)).entropy().sum()
        assert after < independent

    @pytest.mark.parametrize("likelihood", DESCRIBED.values(), ids=DESCRIBED)
    def test_loss_falls_under_every_likelihood(self, likelihood):
        x, vae = bits(), make_vae("mlp", likelihood=likelihood)
        before = evaluate(vae, x)["loss"]
        losses = fit(vae, x, epochs=10)["loss"]
        assert losses[-1] < losses[0]
        assert evaluate(vae, x)["loss"] < before - 1.0

    @pytest.mark.parametrize("name", ["mlp2", "conv"])
    @pytest.mark.slow
    def test_images_are_learned(self, name):
        x = np.repeat(np.repeat(bits().reshape(-1, 4, 2), 2, axis=1), 4, axis=2)
        vae = make_vae(name, data_shape=(8, 8), optimizer=keras.optimizers.Adam(1e-3))
        before = evaluate(vae, x)["loss"]
        fit(vae, x, epochs=5)
        assert evaluate(vae, x)["loss"] < before - 1.0

    def test_learned_prior_moves_towards_the_mean_of_the_posteriors(self):
        x = bits()
        vae = make_vae(prior="learned")
        fit(vae, x, epochs=30)
        aggregate = vae.predict(x, verbose=0)["probabilities"].mean(0)
        prior = vae.prior.distribution().mean().numpy()
        assert np.abs(aggregate - 1 / CATEGORIES).max() > 0.2
        assert np.abs(aggregate - prior).sum() < 0.5 * np.abs(aggregate - 1 / CATEGORIES).sum()

    @pytest.mark.parametrize(
        "estimator",
        [
            pytest.param(name, marks=() if name in ("score_function", "gumbel_softmax") else pytest.mark.slow)
            for name in ESTIMATORS
        ],
    )
    def test_prior_without_a_closed_form_is_trained_with_the_sampled_kl(self, estimator):
        x = bits()
        vae = make_vae(estimator=estimator, prior=Mixture(), kl="sampled")
        before = sum(exact(vae, x, vae.prior.log_prob_of_codes())).mean()
        start = [np.asarray(w) for w in vae.prior.weights]
        fit(vae, x, epochs=30)
        assert sum(exact(vae, x, vae.prior.log_prob_of_codes())).mean() < before - 1.0
        assert all((np.asarray(w) != s).all() for w, s in zip(vae.prior.weights, start, strict=True))

    def test_one_step_is_the_gradient_by_finite_differences(self):
        x = bits(10)
        vae = make_vae(estimator="enumeration", optimizer=keras.optimizers.SGD(1.0))
        parts = [vae.encoder.get_weights(), vae.decoder.get_weights()]
        fit(vae, x)
        step = 1e-5
        for which, network in enumerate((vae.encoder, vae.decoder)):
            for part, after in enumerate(network.get_weights()):
                start = parts[which][part]
                expected = np.zeros_like(start, np.float64)
                for index in np.ndindex(*start.shape):
                    losses = []
                    for sign in (1, -1):
                        shifted = [[np.array(w, np.float64) for w in pair] for pair in parts]
                        shifted[which][part][index] += sign * step
                        losses.append(sum(rate_and_distortion(x, *shifted)).mean())
                    expected[index] = (losses[0] - losses[1]) / (2 * step)
                assert np.abs(expected).max() > 0.01
                np.testing.assert_allclose(start - after, expected, atol=2e-6)

    def test_history_has_the_loss_its_rate_and_its_distortion(self):
        history = fit(make_vae(), bits(), epochs=2)
        assert sorted(history) == ["distortion", "loss", "rate"]
        np.testing.assert_allclose(history["loss"], np.add(history["rate"], history["distortion"]), rtol=1e-5)

    @pytest.mark.parametrize("kind", ["array", "dataset", "dataset of tuples"])
    def test_data_may_be_an_array_or_a_data_set(self, kind):
        x = bits()
        data = {
            "array": lambda: x,
            "dataset": lambda: tf.data.Dataset.from_tensor_slices(x).batch(10),
            "dataset of tuples": lambda: tf.data.Dataset.from_tensor_slices((x,)).batch(10),
        }[kind]()
        vae, reference = make_vae(), make_vae()
        vae.fit(data, verbose=0, shuffle=False, **({"batch_size": 10} if kind == "array" else {}))
        fit(reference, x)
        assert_same(vae, reference)

    def test_subclassed_networks_that_were_never_built_are_built_by_fit(self):
        x = bits()
        vae = DiscreteVAE(SubclassedEncoder(), SubclassedDecoder(), seed=3)
        vae.compile(keras.optimizers.Adam(0.03), jit_compile=False)
        losses = fit(vae, x, epochs=20)["loss"]
        assert losses[-1] < losses[0]
        assert len(vae.trainable_variables) == 4
        np.testing.assert_allclose(evaluate(vae, x)["rate"], exact(vae, x)[0].mean(), rtol=1e-4)

    def test_float64_networks_train_in_float64(self):
        dense = keras.layers.Dense
        reshape, flatten = keras.layers.Reshape((LATENTS, CATEGORIES), dtype="float64"), keras.layers.Flatten()
        encoder = keras.Sequential([keras.Input((PIXELS,), dtype="float64"), dense(6, dtype="float64"), reshape])
        decoder = keras.Sequential([keras.Input((LATENTS, CATEGORIES)), flatten, dense(PIXELS, dtype="float64")])
        vae, x = DiscreteVAE(encoder, decoder, estimator="enumeration", seed=3, dtype="float64"), bits()
        vae.compile("sgd", jit_compile=False)
        assert vae.negative_elbo(x, seed=[0, 0]).loss.dtype == tf.float64
        fit(vae, x)
        np.testing.assert_allclose(vae.negative_elbo(x, seed=[0, 0]).loss, sum(exact(vae, x)), rtol=1e-6)


class TestSteps:
    @pytest.mark.parametrize("steps", [2, 3, 5, 32])
    def test_every_batch_is_processed_once_whatever_the_steps_per_execution(self, steps):
        x = bits(47)
        vae, single = make_vae(steps=steps), make_vae(steps=1)
        history, expected = fit(vae, x, epochs=2), fit(single, x, epochs=2)
        assert {int(v) for v in (vae.optimizer.iterations, vae.counter, vae.estimator.step)} == {2 * 5}
        for key, values in expected.items():
            np.testing.assert_allclose(history[key], values, rtol=1e-5)
        for one, other in zip(weights(vae), weights(single), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        results, expected = evaluate(vae, x, 10), evaluate(single, x, 10)
        np.testing.assert_allclose(list(results.values()), list(expected.values()), rtol=1e-4)

    @pytest.mark.parametrize("batch_size", [7, 16, 50, 64])
    def test_evaluation_weighs_a_ragged_last_batch_by_its_size(self, batch_size):
        x, vae = bits(50), make_vae(estimator="enumeration")
        rate, distortion = exact(vae, x)
        results = evaluate(vae, x, batch_size)
        assert results["rate"] == pytest.approx(rate.mean(), rel=1e-5)
        assert results["distortion"] == pytest.approx(distortion.mean(), rel=1e-5)

    def test_same_seed_gives_the_same_result_and_another_another(self):
        x = bits()
        first, twin, other = make_vae(), make_vae(), make_vae(seed=4)
        assert fit(first, x, 2) == fit(twin, x, 2) != fit(other, x, 2)
        assert_same(first, twin)

    def test_a_model_without_a_seed_keeps_the_one_it_drew(self):
        first, second = make_vae(seed=None), make_vae(seed=None)
        assert first.seed != second.seed
        assert first.get_config()["seed"] == first.seed

    def test_every_step_draws_new_noise(self):
        x = np.repeat(bits(1), 20, axis=0)
        vae = make_vae(optimizer=keras.optimizers.SGD(0.0), estimator=ScoreFunction("none"))
        distortions = {
            fit(vae, x, batch_size=20)["distortion"][0],
            fit(vae, x, batch_size=20)["distortion"][0],
            *vae.fit(x, batch_size=20, epochs=3, verbose=0).history["distortion"],
        }
        assert len(distortions) == 5

    def test_validation_leaves_training_as_it_is(self):
        x = bits()
        plain, validated = make_vae(), make_vae()
        fit(plain, x, 2)
        history = validated.fit(
            x, epochs=2, batch_size=10, shuffle=False, verbose=0, validation_data=(x,), validation_batch_size=7
        ).history
        assert {"val_loss", "val_rate", "val_distortion"} < set(history)
        assert_same(plain, validated)

    @pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
    def test_mixed_precision_trains_float32_variables(self, policy):
        keras.config.set_dtype_policy(policy)
        try:
            vae = make_vae("mlp", jit_compile="auto", steps="auto")
        finally:
            keras.config.set_dtype_policy("float32")
        x = bits()
        before = evaluate(vae, x)["loss"]
        fit(vae, x, epochs=10)
        assert evaluate(vae, x)["loss"] < before - 1.0
        assert {w.dtype for w in vae.trainable_variables} == {"float32"}
        scaled = isinstance(vae.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (policy == "mixed_float16")
        prediction = vae.predict(x, verbose=0)
        np.testing.assert_allclose(prediction["probabilities"].sum(-1), 1.0, rtol=1e-5)

    def test_scaled_loss_of_half_precision_makes_the_step_of_full_precision(self):
        x, steps = bits(), {}
        for policy in ("mixed_float16", "float32"):
            keras.config.set_dtype_policy(policy)
            try:
                vae = make_vae("mlp", estimator="enumeration", optimizer=keras.optimizers.SGD(0.1))
            finally:
                keras.config.set_dtype_policy("float32")
            before = np.concatenate([w.numpy().ravel() for w in vae.trainable_variables])
            fit(vae, x, batch_size=len(x))
            steps[policy] = np.concatenate([w.numpy().ravel() for w in vae.trainable_variables]) - before
        error = np.linalg.norm(steps["mixed_float16"] - steps["float32"])
        assert error < 0.02 * np.linalg.norm(steps["float32"])


class TestEstimatorsOwnVariables:
    class Learner(Estimator):
        """Enumeration whose value depends on a variable of its own, to be trained by the auxiliary alone."""

        def build(self, logits_shape=None, context_shape=None):
            self.own = self.add_weight(name="own", shape=(), initializer="ones")
            self.enumeration = Enumeration()
            self.built = True

        def _estimate(self, q, cost, seed, reduce, context):
            value, sample, _ = self.enumeration.estimate(q, cost, seed=seed)
            auxiliary = tf.square(self.own.value - 3.0) + tf.reduce_sum(value)
            return Estimate(value * self.own.value / tf.stop_gradient(self.own.value), sample, auxiliary)

    def test_they_are_trained_by_the_auxiliary_and_all_others_by_the_value(self):
        x = bits(10)
        vae = make_vae(estimator=self.Learner(), optimizer=keras.optimizers.SGD(0.1))
        reference = make_vae(estimator="enumeration", optimizer=keras.optimizers.SGD(0.1))
        fit(vae, x)
        fit(reference, x)
        assert float(vae.estimator.own) == pytest.approx(1.0 - 0.1 * 2 * (1.0 - 3.0))
        for network in ("encoder", "decoder"):
            for one, other in zip(
                getattr(vae, network).get_weights(), getattr(reference, network).get_weights(), strict=True
            ):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)

    def test_two_replicas_train_them_as_one_device_does(self):
        strategy = two_replicas()
        with strategy.scope():
            vae = make_vae(estimator=self.Learner(), optimizer=keras.optimizers.SGD(0.1))
        fit(vae, bits(10), batch_size=10)
        own, _ = strategy.experimental_local_results(vae.estimator.own.value)
        assert float(own) == pytest.approx(1.0 - 0.1 * 2 * (1.0 - 3.0))

    def test_a_loss_scale_does_not_reach_them(self):
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=8.0)
        vae = make_vae(estimator=self.Learner(), optimizer=optimizer)
        fit(vae, bits(10))
        assert float(vae.estimator.own) == pytest.approx(1.0 - 0.1 * 2 * (1.0 - 3.0))

    def test_so_they_are_where_the_first_batch_builds_the_model(self):
        vae = DiscreteVAE(SubclassedEncoder(), SubclassedDecoder(), estimator=self.Learner(), seed=3)
        vae.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
        fit(vae, bits(10))
        assert float(vae.estimator.own) == pytest.approx(1.0 - 0.1 * 2 * (1.0 - 3.0))


class TestEvaluate:
    @pytest.mark.parametrize("estimator", ESTIMATORS)
    @pytest.mark.parametrize("kl", ["analytic", "sampled"])
    def test_loss_is_rate_plus_distortion_and_averages_to_the_exact_bound(self, estimator, kl):
        x = np.repeat(bits(4), 5000, axis=0)
        vae = make_vae(estimator=estimator, kl=kl)
        bound = vae.negative_elbo(x, seed=[1, 2])
        results = evaluate(vae, x, batch_size=len(x))
        assert results["loss"] == pytest.approx(results["rate"] + results["distortion"], rel=1e-5)
        rate, distortion = exact(vae, x)
        error = bound.loss.numpy().std() / np.sqrt(len(x))
        assert results["loss"] == pytest.approx((rate + distortion).mean(), abs=4.5 * error + 1e-4)
        assert results["rate"] == pytest.approx(
            rate.mean(), abs=4.5 * bound.rate.numpy().std() / np.sqrt(len(x)) + 1e-4
        )

    def test_it_repeats_itself_and_changes_no_weight(self):
        x, vae = bits(), make_vae()
        fit(vae, x)
        before = weights(vae)
        assert evaluate(vae, x) == evaluate(vae, x)
        for one, other in zip(weights(vae), before, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_every_batch_has_noise_of_its_own(self):
        x, vae = np.repeat(bits(1), 30, axis=0), make_vae()
        means = [evaluate(vae, x[:examples], batch_size=10)["loss"] for examples in (10, 20, 30)]
        batches = np.diff([0.0, *np.multiply(means, [10, 20, 30])]) / 10
        assert np.ptp(batches) > 0.01

    def test_importance_weighted_bound_rises_towards_the_evidence(self):
        x = np.repeat(bits(1), 5000, axis=0)
        vae = make_vae()
        kernel, bias = vae.decoder.get_weights()
        pixel_logits = CODES.reshape(9, -1) @ kernel + bias
        evidence = scipy.special.logsumexp(-np.logaddexp(0.0, -(2 * x[0] - 1) * pixel_logits).sum(-1)) - np.log(9)
        draws = [vae.bounds(x, seed=[s, 1], num_samples=s).importance_weighted.numpy() for s in (1, 4, 64)]
        means, errors = [d.mean() for d in draws], np.array([d.std() for d in draws]) / np.sqrt(len(x))
        assert (np.diff(means) > 4.5 * np.hypot(errors[1:], errors[:-1])).all()
        assert means[0] == pytest.approx(-sum(exact(vae, x))[0], abs=4.5 * errors[0])
        assert means[-1] < evidence + 4.5 * errors[-1] + 1e-5
        assert evidence - means[-1] < 0.1 * (evidence - means[0])


class TestPredict:
    @pytest.mark.parametrize("likelihood", DESCRIBED.values(), ids=DESCRIBED)
    def test_outputs_are_those_of_the_networks(self, likelihood):
        x, vae = bits(), make_vae(likelihood=likelihood)
        result = vae.predict(x, batch_size=16, verbose=0)
        logits = vae.encoder.predict(x, verbose=0)
        assert set(result) == {"probabilities", "code", "index", "reconstruction"}
        np.testing.assert_allclose(result["probabilities"], scipy.special.softmax(logits, axis=-1), rtol=1e-4)
        np.testing.assert_array_equal(result["index"], logits.argmax(-1))
        assert result["index"].dtype == np.int32
        np.testing.assert_array_equal(result["code"], np.eye(CATEGORIES)[logits.argmax(-1)])
        parameters = vae.decoder.predict(result["code"], verbose=0)
        np.testing.assert_allclose(result["reconstruction"], vae.likelihood.mean(parameters), rtol=1e-4, atol=1e-6)
        assert result["reconstruction"].shape == x.shape

    def test_reconstruction_resembles_the_data_after_training(self):
        x, vae = bits(), make_vae(estimator="enumeration")
        fit(vae, x, epochs=100)
        reconstruction = vae.predict(x, verbose=0)["reconstruction"]
        assert ((reconstruction > 0.5) == (x > 0.5)).mean() > 0.9

    @pytest.mark.parametrize("options", [{"kl": "relaxed"}, {"objective": ELBO(sticking_the_landing=True)}])
    def test_what_was_trained_by_relaxed_densities_is_evaluated_under_a_prior_without_one(self, options):
        vae, x = make_vae(estimator="gumbel_softmax", **options), bits(12)
        prior = priors.Autoregressive(num_blocks=1, num_heads=1, width=4)
        vae.fit_prior(x, prior, epochs=1, verbose=0)
        better = vae.with_prior(prior)
        better.compile("sgd")
        assert np.isfinite(better.evaluate(x, verbose=0)).all()

    def test_logits_for_a_prior_are_those_of_a_data_set_too(self):
        vae, x = make_vae(), bits(7)
        logits = vae.posterior_logits(x, batch_size=3)
        assert logits.shape == (7, *vae.family.logits_shape[1:])
        np.testing.assert_allclose(scipy.special.logsumexp(logits, axis=-1), 0.0, atol=1e-6)
        of_data_set = vae.posterior_logits(tf.data.Dataset.from_tensor_slices(x).batch(4))
        np.testing.assert_allclose(of_data_set, logits, rtol=1e-6)

    def test_samples_are_the_likelihood_s_means_at_codes_of_the_prior(self):
        vae = make_vae(prior=priors.Fixed([0.2, 0.5, 0.3]))
        samples = vae.sample(2000, [1, 2]).numpy()
        assert samples.shape == (2000, PIXELS)
        kernel, bias = vae.decoder.get_weights()
        means = scipy.special.expit(CODES.reshape(9, -1) @ kernel + bias)
        distances = np.abs(samples[:, None] - means).max(-1)
        assert distances.min(-1).max() < 1e-5
        expected = np.outer([0.2, 0.5, 0.3], [0.2, 0.5, 0.3]).ravel() * 2000
        assert scipy.stats.chisquare(np.bincount(distances.argmin(-1), minlength=9), expected).pvalue > 1e-3
        np.testing.assert_array_equal(vae.sample(2000, [1, 2]), samples)


SCHEDULE = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=3, decay_rate=0.5)
SAVED = {
    **{name: {"estimator": name} for name in ESTIMATORS},
    "schedule": {"estimator": GumbelSoftmax(SCHEDULE, num_samples=2)},
    "running mean": {"estimator": ScoreFunction("running_mean", decay=0.9)},
    "learned prior": {"prior": "learned"},
    "fixed prior": {"prior": priors.Fixed([0.2, 0.5, 0.3])},
    "mixture prior": {"prior": Mixture(), "kl": "sampled"},
    "gaussian": {"likelihood": Gaussian(0.3)},
    "categorical": {"likelihood": Categorical(4)},
    "xla": {"jit_compile": True, "steps": 3},
}
# Alike in what they show: left to the slow tests.
SELDOM = (
    "enumeration",
    "gumbel_softmax",
    "score_function",
    "running mean",
    "learned prior",
    "mixture prior",
    "gaussian",
    "categorical",
    "xla",
)


def fresh(options):
    """The options with parts of their own: a layer belongs to one model."""
    parts = (estimators.Estimator, priors.Prior)
    return {k: type(v).from_config(v.get_config()) if isinstance(v, parts) else v for k, v in options.items()}


class TestSaving:
    @pytest.mark.parametrize(
        "options",
        [pytest.param(SAVED[name], id=name, marks=pytest.mark.slow if name in SELDOM else ()) for name in SAVED],
    )
    def test_a_loaded_model_predicts_the_same_and_trains_on_bit_for_bit(self, options, tmp_path):
        x = bits(47)
        uninterrupted, first = make_vae(**fresh(options)), make_vae(**fresh(options))
        expected = fit(uninterrupted, x, epochs=2)
        fit(first, x)
        first.save(tmp_path / "vae.keras")
        loaded = keras.saving.load_model(tmp_path / "vae.keras")
        assert_same(loaded, first)
        tf.nest.map_structure(np.testing.assert_array_equal, loaded.predict(x, verbose=0), first.predict(x, verbose=0))
        assert evaluate(loaded, x) == evaluate(first, x)
        continued = fit(loaded, x)
        assert_same(loaded, uninterrupted)
        assert {key: values[-1] for key, values in expected.items()} == {k: v[0] for k, v in continued.items()}
        assert int(loaded.optimizer.iterations) == int(loaded.counter) == 10

    def test_config_is_that_of_the_loaded_model(self, tmp_path):
        vae = make_vae(prior="learned", likelihood=Gaussian(0.3), kl="sampled", seed=11)
        fit(vae, bits())
        vae.save(tmp_path / "vae.keras")
        loaded = keras.saving.load_model(tmp_path / "vae.keras")
        # As JSON, in which the tuples of shapes are lists.
        assert json.dumps(loaded.get_config()) == json.dumps(vae.get_config())
        assert (loaded.seed, loaded.kl, loaded.likelihood.min_scale) == (11, "sampled", 0.3)
        assert type(loaded.prior) is priors.Learned

    def test_automatic_compilation_suits_the_place_where_the_model_is_loaded(self, tmp_path):
        x, vae = bits(48), make_vae(jit_compile="auto", steps="auto")
        fit(vae, x)
        vae.save(tmp_path / "vae.keras")
        loaded = keras.saving.load_model(tmp_path / "vae.keras")
        assert (loaded.jit_compile, loaded.steps_per_execution) == (True, 32)
        with two_replicas().scope():
            replicated = keras.saving.load_model(tmp_path / "vae.keras")
        assert (replicated.jit_compile, replicated.steps_per_execution) == (False, 32)
        fit(replicated, x, batch_size=12)
        assert replicated.counter.numpy() == 5 + 4

    @pytest.mark.parametrize(("jit_compile", "steps"), [(True, 7), (False, 1)])
    def test_compilation_is_that_of_the_saved_model(self, jit_compile, steps, tmp_path):
        vae = make_vae(optimizer=keras.optimizers.SGD(0.25), jit_compile=jit_compile, steps=steps)
        vae.save(tmp_path / "vae.keras")
        loaded = keras.saving.load_model(tmp_path / "vae.keras")
        assert (loaded.jit_compile, loaded.steps_per_execution) == (jit_compile, steps)
        assert isinstance(loaded.optimizer, keras.optimizers.SGD)
        assert float(loaded.optimizer.learning_rate) == 0.25

    def test_weights_carry_the_training_over_to_a_twin(self, tmp_path):
        x = bits()
        vae, twin = make_vae(), make_vae()
        fit(vae, x)
        twin.optimizer.build(twin.trainable_variables)
        vae.save_weights(tmp_path / "vae.weights.h5")
        twin.load_weights(tmp_path / "vae.weights.h5")
        assert_same(vae, twin)
        np.testing.assert_array_equal(*(v.negative_elbo(x, seed=[1, 2], training=True).loss for v in (vae, twin)))

    def test_checkpoint_carries_the_training_over_bit_for_bit(self, tmp_path):
        x = bits()
        uninterrupted, first, twin = make_vae(), make_vae(), make_vae()
        fit(uninterrupted, x, epochs=2)
        fit(first, x)
        for vae in (first, twin):
            vae.optimizer.build(vae.trainable_variables)
        path = tf.train.Checkpoint(model=first).save(tmp_path / "checkpoint")
        tf.train.Checkpoint(model=twin).restore(path).assert_existing_objects_matched()
        fit(twin, x)
        assert_same(twin, uninterrupted)

    def test_subclassed_networks_are_saved_too(self, tmp_path):
        x = bits()
        vae = DiscreteVAE(SubclassedEncoder(), SubclassedDecoder(), seed=3)
        vae.compile("adam", jit_compile=False)
        fit(vae, x)
        vae.save(tmp_path / "vae.keras")
        loaded = keras.saving.load_model(tmp_path / "vae.keras")
        tf.nest.map_structure(np.testing.assert_array_equal, loaded.predict(x, verbose=0), vae.predict(x, verbose=0))
        fit(vae, x)
        fit(loaded, x)
        assert_same(loaded, vae)


class TestReplicas:
    def test_two_replicas_train_and_evaluate_as_one_device_does(self):
        x = bits(48)
        single = make_vae(estimator="enumeration", optimizer=keras.optimizers.SGD(0.1))
        strategy = two_replicas()
        with strategy.scope():
            vae = make_vae(
                estimator="enumeration", optimizer=keras.optimizers.SGD(0.1), jit_compile="auto", steps="auto"
            )
        assert (vae.jit_compile, vae.steps_per_execution) == (False, 32)
        history, expected = (fit(v, x, epochs=2, batch_size=12) for v in (vae, single))
        for one, other in zip(weights(vae), weights(single), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        for key, values in expected.items():
            np.testing.assert_allclose(history[key], values, rtol=1e-4)
        results, expected = evaluate(vae, x, 12), evaluate(single, x, 12)
        np.testing.assert_allclose(list(results.values()), list(expected.values()), rtol=1e-4)


class TestRefusals:
    @pytest.mark.parametrize("method", ["fit", "evaluate"])
    def test_labels_are_refused(self, method):
        x, vae = bits(), make_vae()
        with pytest.raises(InputError, match=r"learns from x alone\. Received: labels or sample weights"):
            getattr(vae, method)(x, verbose=0, y=np.ones(len(x)))

    @pytest.mark.parametrize("method", ["fit", "evaluate"])
    @pytest.mark.parametrize("others", [(), ("y",)])
    def test_sample_weights_are_refused(self, method, others):
        x, vae = bits(), make_vae()
        with pytest.raises(InputError, match="counts every example once. Received: sample_weight; leave it out"):
            getattr(vae, method)(x, verbose=0, **{name: np.ones(len(x)) for name in ("sample_weight", *others)})

    def test_sample_weights_of_validation_data_are_refused(self):
        x = bits()
        with pytest.raises(InputError, match="counts every example once. Received: sample_weight of validation_data"):
            make_vae().fit(x, validation_data=(x, None, np.ones(len(x))), verbose=0)

    def test_class_weights_are_refused(self):
        with pytest.raises(InputError, match="counts every example once. Received: class_weight"):
            make_vae().fit(bits(), class_weight={0: 1.0}, verbose=0)

    def test_labels_of_a_data_set_are_refused(self):
        x, vae = bits(), make_vae()
        with pytest.raises(InputError, match="map the data set to its images"):
            vae.fit(tf.data.Dataset.from_tensor_slices((x, np.ones(len(x)))).batch(10), shuffle=False, verbose=0)

    def test_classes_as_one_hot_rows_are_refused(self):
        x, vae = bits(), make_vae(prior=priors.Conditional(3))
        with pytest.raises(InputError, match=r"must have shape \[B\].* argmax\(-1\)\. Received: \(.*, 3\)"):
            vae.fit(x, np.eye(3, dtype=int)[np.arange(len(x)) % 3], verbose=0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"estimator": "pathwise"}, "Pathwise takes a Gaussian"),
            ({"estimator": "invertible_gaussian"}, "takes a distributions.InvertibleGaussian"),
            ({"estimator": "rebar", "objective": "importance_weighted"}, "REBAR"),
            ({"estimator": "rebar", "kl": "relaxed"}, "Use kl='analytic' or 'sampled'"),
            (
                {"estimator": "arm", "prior": priors.Mixture(2), "objective": "free_bits"},
                r"no closed-form KL.*\. Take a prior with a closed-form KL, 'fixed' or 'learned'\.",
            ),
        ],
    )
    def test_parts_that_do_not_go_together_are_refused_as_the_model_is_made(self, options, message):
        with pytest.raises(InputError, match=message):
            make_vae(**options)

    @pytest.mark.parametrize("shape", [(6,), (2, 3, 1)])
    def test_an_encoder_without_rows_of_categories_is_refused(self, shape):
        encoder = keras.Sequential([keras.Input((PIXELS,)), keras.layers.Dense(6), keras.layers.Reshape(shape)])
        with pytest.raises(InputError, match=r"outputs \[B, N, K\], N static .*Received: an output of shape \(None, "):
            DiscreteVAE(encoder, make_vae().decoder)

    def test_a_subclassed_encoder_without_rows_is_refused_when_it_is_built(self):
        class Flat(keras.Model):
            def __init__(self):
                super().__init__()
                self.dense = keras.layers.Dense(6)

            def call(self, x):
                return self.dense(x)

        vae = DiscreteVAE(Flat(), SubclassedDecoder())
        vae.compile("sgd")
        with pytest.raises(InputError, match=r"outputs \[B, N, K\]"):
            vae.fit(bits(), verbose=0)

    @pytest.mark.parametrize("method", ["fit", "evaluate"])
    def test_a_decoder_of_another_shape_than_the_likelihood_reads_is_refused(self, method):
        vae = DiscreteVAE(make_vae().encoder, make_vae().decoder, likelihood="gaussian")
        vae.compile("sgd")
        with pytest.raises(
            InputError, match=r"Gaussian likelihood needs a decoder that outputs \(8, 2\). Received: \(8,\)"
        ):
            getattr(vae, method)(bits(), verbose=0)

    @pytest.mark.parametrize(
        ("option", "received", "nearest"),
        [
            ("estimator", "gumbel_softmx", "gumbel_softmax"),
            ("prior", "fix", "fixed"),
            ("likelihood", "bernouli", "bernoulli"),
            ("kl", "sample", "sampled"),
        ],
    )
    def test_an_unknown_name_is_refused_and_the_nearest_named(self, option, received, nearest):
        networks = SubclassedEncoder(), SubclassedDecoder()
        with pytest.raises(InputError, match=f"unknown {option} '{received}'. Did you mean '{nearest}'"):
            DiscreteVAE(*networks, **{option: received})

    def test_a_loss_is_refused(self):
        with pytest.raises(InputError, match="brings its own loss"):
            make_vae().compile("adam", loss="mse")
