import json

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import InputError
from tfdiscrete.distributions import Truncated
from tfdiscrete.layers import GeneralizedGumbelSoftmax, OutcomeTransform
from tfdiscrete.ops import gumbel_noise, step_seed

tfd = tfp.distributions

X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
RATES = np.logaddexp(0.0, X.astype("float64"))
ODDS = scipy.special.expit(X.astype("float64"))

# options -> SciPy's law of the inputs X
FAMILIES = {
    "poisson": ({"high": 12}, scipy.stats.poisson(RATES)),
    "geometric": ({"high": 40}, scipy.stats.geom(ODDS, loc=-1)),
    "binomial": ({"total_count": 9}, scipy.stats.binom(9, ODDS)),
    "negative_binomial": ({"total_count": 3, "low": 1, "high": 40}, scipy.stats.nbinom(3, 1 - ODDS)),
}
every_family = pytest.mark.parametrize(
    ("options", "law"), [({"family": name, **options}, law) for name, (options, law) in FAMILIES.items()], ids=FAMILIES
)


def scipy_pmf(law, outcomes):
    pmf = np.stack([law.pmf(k) for k in outcomes], axis=-1)
    pmf[..., 0], pmf[..., -1] = law.cdf(outcomes[0]), law.sf(outcomes[-1] - 1)
    return pmf


class TestExplicit:
    @every_family
    def test_distribution_is_scipy_s_truncated_law(self, options, law):
        layer = GeneralizedGumbelSoftmax(**options)
        pmf = scipy_pmf(law, layer.outcomes)
        np.testing.assert_allclose(tf.exp(layer.distribution(X).logits), pmf, rtol=2e-5, atol=1e-12)

    @every_family
    def test_mean_and_mode_at_inference_are_numpy_s(self, options, law):
        mean, mode = (GeneralizedGumbelSoftmax(**options, inference=rule) for rule in ("mean", "mode"))
        pmf = scipy_pmf(law, mean.outcomes)
        np.testing.assert_allclose(mean(X), pmf @ mean.outcomes, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(mode(X), mode.outcomes[pmf.argmax(-1)])

    @every_family
    def test_relaxed_and_hard_samples_are_those_of_numpy_on_the_layer_s_noise(self, options, law):
        layer = GeneralizedGumbelSoftmax(**options, temperature=0.7, seed=7)
        hard = GeneralizedGumbelSoftmax(**options, temperature=0.7, seed=7, hard=True)
        pmf = scipy_pmf(law, layer.outcomes)
        for step in range(2):
            noise = gumbel_noise((1, *pmf.shape), step_seed(7, tf.constant(step, tf.int64), "layer"))[0]
            y = scipy.special.softmax((np.log(pmf) + noise.numpy().astype("float64")) / 0.7, axis=-1)
            np.testing.assert_allclose(layer(X, training=True), y @ layer.outcomes, rtol=1e-3, atol=1e-4)
            np.testing.assert_array_equal(hard(X, training=True), layer.outcomes[y.argmax(-1)])

    @every_family
    def test_hard_samples_are_exact_outcomes_with_the_law_s_frequencies(self, options, law):
        layer, count = GeneralizedGumbelSoftmax(**options, hard=True, seed=7), 50_000
        z = layer(np.broadcast_to(X[0, 0], (count,)), training=True).numpy()
        assert set(z) <= set(layer.outcomes)
        observed = np.bincount(z.astype(int) - int(layer.outcomes[0]), minlength=len(layer.outcomes))
        expected = count * scipy_pmf(law, layer.outcomes)[0, 0]
        small = expected < 5
        observed, expected = (np.append(c[~small], c[small].sum()) for c in (observed, expected))
        assert scipy.stats.chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 1e-3

    def test_hard_samples_have_the_relaxed_gradient(self):
        gradients = []
        for hard in (True, False):
            x = tf.constant(X)
            with tf.GradientTape() as tape:
                tape.watch(x)
                z = GeneralizedGumbelSoftmax(high=12, temperature=0.5, hard=hard, seed=7)(x, training=True)
            gradients.append(tape.gradient(z, x).numpy())
        assert np.abs(gradients[0]).max() > 0.01
        np.testing.assert_allclose(*gradients, rtol=1e-6, atol=1e-8)

    def test_gradient_of_the_mean_is_that_of_the_rate(self):
        x = tf.constant(X)
        with tf.GradientTape() as tape:
            tape.watch(x)
            mean = GeneralizedGumbelSoftmax(high=60, inference="mean")(x)
        np.testing.assert_allclose(tape.gradient(mean, x), ODDS, rtol=1e-4)

    def test_multinomials_are_vectors_whose_sum_is_the_count(self):
        layer = GeneralizedGumbelSoftmax("multinomial", total_count=4, hard=True, seed=7)
        z = layer(X, training=True).numpy()
        assert z.shape == X.shape
        np.testing.assert_array_equal(z.sum(-1), 4.0)
        np.testing.assert_array_equal(z, np.round(z))
        soft = GeneralizedGumbelSoftmax("multinomial", total_count=4)
        np.testing.assert_allclose(tf.reduce_sum(soft(X, training=True), axis=-1), 4.0, rtol=1e-5)
        mean = GeneralizedGumbelSoftmax("multinomial", total_count=4, inference="mean")
        np.testing.assert_allclose(mean(X), 4 * scipy.special.softmax(X, axis=-1), rtol=1e-4)

    def test_simplex_output_followed_by_the_transform_is_the_outcome_output(self):
        outcome = GeneralizedGumbelSoftmax(high=12, temperature=0.5, seed=7)
        simplex = GeneralizedGumbelSoftmax(high=12, temperature=0.5, seed=7, returns="simplex")
        y = simplex(X, training=True)
        assert y.shape == (64, 3, 13)
        np.testing.assert_allclose(tf.reduce_sum(y, axis=-1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(OutcomeTransform(range(13))(y), outcome(X, training=True), rtol=1e-6)

    def test_kl_to_the_prior_is_that_of_the_truncated_laws(self):
        layer = GeneralizedGumbelSoftmax(prior=2.0, tolerance=1e-9)
        prior = Truncated(tfd.Poisson(2.0), low=int(layer.outcomes[0]), high=int(layer.outcomes[-1]))
        whole = RATES * np.log(RATES / 2.0) - RATES + 2.0
        np.testing.assert_allclose(layer.distribution(X).kl_divergence(prior), whole, rtol=1e-4, atol=1e-5)


class TestImplicit:
    def test_samples_are_categorical_over_the_outcomes(self):
        logits, count = np.random.default_rng(1).normal(size=6).astype("float32"), 50_000
        layer = GeneralizedGumbelSoftmax(low=2, high=7, explicit=False, hard=True, seed=7)
        z = layer(np.broadcast_to(logits, (count, 6)), training=True).numpy()
        assert z.shape == (count,)
        expected = count * scipy.special.softmax(logits.astype("float64"))
        assert scipy.stats.chisquare(np.bincount(z.astype(int), minlength=8)[2:], expected).pvalue > 1e-3
        mean = GeneralizedGumbelSoftmax(low=2, high=7, explicit=False, inference="mean")
        np.testing.assert_allclose(mean(logits), scipy.special.softmax(logits) @ np.arange(2, 8), rtol=1e-5)

    def test_logits_of_the_law_s_pmf_give_the_explicit_samples(self):
        explicit = GeneralizedGumbelSoftmax(high=12, temperature=0.5, seed=7)
        implicit = GeneralizedGumbelSoftmax(high=12, temperature=0.5, seed=7, explicit=False)
        logits = explicit.distribution(X).logits + 3.0
        np.testing.assert_allclose(implicit(logits, training=True), explicit(X, training=True), rtol=1e-4)

    def test_vectors_take_the_number_of_categories(self):
        layer = GeneralizedGumbelSoftmax("multinomial", total_count=2, explicit=False, num_categories=3)
        assert layer.outcomes.shape == (6, 3)
        np.testing.assert_array_equal(layer(10 * np.eye(6, dtype="float32")), layer.outcomes)

    @pytest.mark.parametrize("temperature", [1e-3, 0.1, 10.0])
    @pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
    def test_ten_thousand_outcomes_with_extreme_logits_give_finite_results(self, policy, temperature):
        layer = GeneralizedGumbelSoftmax(
            high=9999, explicit=False, max_support=10_000, temperature=temperature, seed=7, dtype=policy
        )
        signs = np.where(np.arange(10_000) % 2, 100.0, -100.0)
        logits = tf.constant(np.stack([signs, np.zeros(10_000)]), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            z = layer(logits, training=True)
        assert z.dtype == layer.compute_dtype
        assert np.isfinite(tf.cast(z, tf.float32)).all()
        assert np.isfinite(tape.gradient(z, logits)).all()


class TestSupport:
    def test_ends_are_given_or_those_of_truncated_on_the_prior(self):
        np.testing.assert_array_equal(GeneralizedGumbelSoftmax(low=3, high=7).outcomes, np.arange(3.0, 8.0))
        for prior in (3.0, (0.5, 3.0), [3.0, 0.5]):
            layer = GeneralizedGumbelSoftmax(prior=prior, tolerance=1e-3)
            assert layer.outcomes[-1] == Truncated(tfd.Poisson(3.0), tolerance=1e-3).high
        layer = GeneralizedGumbelSoftmax("negative_binomial", total_count=3, prior=0.4, tolerance=1e-3)
        assert layer.outcomes[-1] == Truncated(tfd.NegativeBinomial(3.0, probs=0.4), tolerance=1e-3).high
        np.testing.assert_array_equal(GeneralizedGumbelSoftmax("binomial", total_count=4).outcomes, np.arange(5.0))

    @pytest.mark.parametrize("x", [-13.8, 1e4])
    @pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
    @pytest.mark.parametrize("temperature", [1e-3, 10.0])
    def test_rates_from_1e_minus_6_to_1e4_give_finite_results(self, temperature, policy, x):
        layer, inputs = GeneralizedGumbelSoftmax(high=200, temperature=temperature, dtype=policy), tf.fill([4], x)
        for training in (True, False):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                z = layer(inputs, training=training)
            gradient = tape.gradient(z, inputs)
            assert np.isfinite(tf.cast(z, tf.float32)).all()
            assert gradient is None or np.isfinite(gradient).all()


class TestUse:
    def test_a_model_finds_the_rates_that_minimise_the_squared_error_of_counts(self):
        keras.utils.set_random_seed(0)
        targets = np.random.default_rng(0).poisson(4.0, size=(256, 1)).astype("float32")
        layer = GeneralizedGumbelSoftmax(high=20, temperature=0.5, inference="mean", seed=7)
        model = keras.Sequential([keras.layers.Dense(1), layer])
        model.compile(keras.optimizers.Adam(0.05), "mse")
        model.fit(np.ones((256, 1)), targets, epochs=40, batch_size=64, verbose=0)
        # E (z - t)^2 = (rate - mean)^2 + rate + variance: least at mean - 1/2
        np.testing.assert_allclose(model.predict(np.ones((1, 1)), verbose=0), targets.mean() - 0.5, atol=0.5)

    def test_every_option_survives_json(self):
        layer = GeneralizedGumbelSoftmax(
            "negative_binomial", low=0, tolerance=1e-3, prior=(0.2, 0.5), total_count=3, max_support=100, seed=3
        )
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(layer)))
        restored = keras.saving.deserialize_keras_object(config)
        assert restored.get_config() == layer.get_config()
        np.testing.assert_array_equal(restored.outcomes, layer.outcomes)

    def test_a_layer_may_be_made_while_tracing(self):
        @tf.function
        def traced(x):
            return GeneralizedGumbelSoftmax(prior=3.0, tolerance=1e-3, inference="mean").distribution(x).mean()

        np.testing.assert_allclose(traced(X), RATES, rtol=1e-2)


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"family": "poison"}, "unknown family 'poison'. Did you mean 'poisson'"),
            ({"high": 3, "returns": "simplx"}, "unknown returns 'simplx'. Did you mean 'simplex'"),
            ({}, "Poisson has no known high end"),
            ({"tolerance": 1e-3}, "tolerance needs prior, a positive rate"),
            ({"tolerance": 1e-3, "prior": -1.0}, "a positive rate, .* Received: prior=-1.0"),
            ({"family": "geometric", "tolerance": 1e-3, "prior": 3.0}, r"a success probability in \(0, 1\)"),
            ({"high": 3, "prior": 1.0}, "prior places the ends by a tolerance: pass it too"),
            ({"high": 3, "total_count": 2}, "'poisson' has no total_count"),
            ({"family": "binomial"}, "total_count must be an integer of at least 1"),
            ({"family": "multinomial", "total_count": 2, "num_categories": 3}, "leave it out with explicit=True"),
            ({"family": "multinomial", "total_count": 2, "explicit": False}, "num_categories must be an integer"),
            ({"family": "multinomial", "total_count": 2, "prior": 0.5}, None),
            ({"high": 3, "num_categories": 3}, "num_categories belongs to 'multinomial' alone"),
            ({"high": 5000}, "5001 outcomes, more than max_support=4096"),
            ({"high": 3, "temperature": -1.0}, "temperature must be a positive"),
        ],
    )
    def test_options_that_do_not_fit_are_refused(self, options, message):
        if message is None:
            with pytest.raises(InputError, match="enumerated, not cut: leave prior out"):
                GeneralizedGumbelSoftmax(**options).build((None, 3))
            return
        with pytest.raises(InputError, match=message):
            GeneralizedGumbelSoftmax(**options)

    @pytest.mark.parametrize("shape", [(), (4,), (None, None), (2, 3, 12)])
    def test_implicit_logits_without_one_for_each_outcome_are_refused(self, shape):
        with pytest.raises(InputError, match=r"logits must have shape \[\.\.\., K\] with K = 13, one for each outcome"):
            GeneralizedGumbelSoftmax(high=12, explicit=False).build(shape)

    @pytest.mark.parametrize("shape", [(), (None,), (4, 0)])
    def test_multinomial_logits_without_a_static_dimension_are_refused(self, shape):
        with pytest.raises(InputError, match=r"logits must have shape \[\.\.\., D\]"):
            GeneralizedGumbelSoftmax("multinomial", total_count=2).build(shape)

    def test_an_implicit_layer_has_no_law_of_its_family(self):
        with pytest.raises(InputError, match=r"tfd\.Categorical\(logits=inputs\)"):
            GeneralizedGumbelSoftmax(high=12, explicit=False).distribution(np.zeros(13, "float32"))


def test_logits_of_another_number_of_outcomes_are_refused_once_it_is_built():
    layer = GeneralizedGumbelSoftmax("poisson", high=4, explicit=False)
    layer(np.ones((2, 5), "float32"))
    with pytest.raises(InputError, match="K = 5, one for each outcome"):
        layer(np.ones((2, 1), "float32"))
