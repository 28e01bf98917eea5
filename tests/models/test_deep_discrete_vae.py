import json

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.models.deep_problem import (
    CATEGORIES,
    LATENTS,
    PIXELS,
    SEED,
    all_one_hot,
    exact,
    flat,
    loss_and_gradient,
    make_family,
    make_model,
)
from tests.models.deep_problem import X as EXAMPLES
from tests.replicas import two_replicas
from tfdiscrete import InputError, estimators, families, priors
from tfdiscrete.distributions import Family
from tfdiscrete.estimators import (
    NVIL,
    REBAR,
    RELAX,
    DirectArgMax,
    DisARM,
    GumbelSoftmax,
    LocalExpectation,
    MuProp,
    RaoBlackwell,
    ScoreFunction,
)
from tfdiscrete.models import DeepDiscreteVAE, DiscreteVAE, make_deep_networks
from tfdiscrete.objectives import ELBO, BetaELBO, CapacityELBO, FreeBits, Gaussian
from tfdiscrete.serving import export_saved_model

layers = keras.layers
NAMES = sorted(name for name, cls in estimators.REGISTRY.items() if cls.takes is Family)


def bits(examples=48):
    """Noisy copies of three patterns."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(2, size=(3, PIXELS))[rng.integers(3, size=examples)]
    return np.where(rng.random((examples, PIXELS)) < 0.05, 1 - patterns, patterns).astype("float32")


def fit(model, x, epochs=1, batch_size=16):
    return model.fit(x, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=0).history


def weights(model):
    return [np.asarray(variable) for variable in model.variables]


def assert_same(first, second):
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(one, other)


def assert_trains_alike(first, second, x):
    """Up to rounding, which differs between the graphs of two models now and then, and which Adam enlarges.

    Three steps that do not know of the ones before end 0.01 and more away.
    """
    histories = fit(first, x), fit(second, x)
    for name, values in histories[1].items():
        np.testing.assert_allclose(histories[0][name], values, rtol=1e-3)
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_allclose(one, other, atol=5e-3)


class TestExactness:
    @pytest.mark.parametrize("kl", ["analytic", "sampled"])
    @pytest.mark.parametrize("family", CATEGORIES)
    @pytest.mark.parametrize("num_layers", [2, 3])
    def test_enumeration_is_the_sum_over_the_codes_of_all_layers(self, num_layers, family, kl):
        model = make_model(num_layers, family, kl=kl)
        expected = exact(model)
        loss, gradient = loss_and_gradient(model)
        np.testing.assert_allclose(loss, expected.loss, rtol=2e-6)
        np.testing.assert_allclose(flat(gradient), flat(expected.gradient), atol=3e-6)
        terms = model.terms(tf.constant(EXAMPLES), seed=SEED, training=True)
        np.testing.assert_allclose(terms.reports["distortion"], expected.distortion, rtol=2e-6)
        np.testing.assert_allclose(terms.reports["rate"], expected.loss - expected.distortion, rtol=1e-5)

    @pytest.mark.parametrize("kl", ["analytic", "sampled"])
    def test_a_prior_without_a_closed_form_is_taken_too(self, kl):
        model = make_model(prior=priors.Mixture(2), kl=kl)
        expected = exact(model, log_prior=model.prior.log_prob(tf.constant(all_one_hot(3), tf.float32)))
        loss, gradient = loss_and_gradient(model)
        np.testing.assert_allclose(loss, expected.loss, rtol=2e-6)
        networks = len(expected.gradient)
        np.testing.assert_allclose(flat(gradient[:networks]), flat(expected.gradient), atol=3e-6)
        assert all(np.abs(part).max() > 1e-4 for part in gradient[networks:])

    @pytest.mark.parametrize("num_layers", [1, 3])
    def test_a_vamp_prior_is_the_mixture_of_the_top_layer_s_posteriors(self, num_layers):
        model = make_model(num_layers, prior=priors.VampPrior(4))
        below = (PIXELS,) if num_layers == 1 else (LATENTS, 3)
        (inputs,) = model.prior.get_weights()
        assert inputs.shape == (4, *below)
        kernel, bias = model.encoders[-1].get_weights()
        logits = (inputs.reshape(4, -1) @ kernel + bias).reshape(4, 1, LATENTS, 3)
        each = (all_one_hot(3) * scipy.special.log_softmax(logits, axis=-1)).sum((-2, -1))
        expected = exact(model, log_prior=scipy.special.logsumexp(each, axis=0) - np.log(4))
        loss, gradient = loss_and_gradient(model)
        np.testing.assert_allclose(loss, expected.loss, rtol=2e-6)
        # The top encoder, and it alone, has the prior's gradient, too.
        top = 2 * (num_layers - 1)
        for number, part in enumerate(expected.gradient):
            difference = np.abs(gradient[number] - part).max()
            assert difference > 1e-3 if number in (top, top + 1) else difference < 3e-6
        assert np.abs(gradient[-1]).max() > 1e-4

    def test_of_one_layer_it_is_a_discrete_vae(self):
        model = make_model(1)
        family = make_family("categorical")
        twin = DiscreteVAE(*model.encoders, *model.decoders, family=family, estimator="enumeration", prior="learned")
        twin.prior.set_weights(model.prior.get_weights())
        expected = twin.negative_elbo(tf.constant(EXAMPLES), seed=SEED, training=True)
        bound = model.negative_elbo(tf.constant(EXAMPLES), seed=SEED, training=True)
        for name in ("loss", "rate", "distortion"):
            np.testing.assert_allclose(getattr(bound, name), getattr(expected, name), rtol=1e-5)

    def test_float64_networks_are_computed_in_float64(self):
        keras.config.set_dtype_policy("float64")
        try:
            networks = make_deep_networks(
                "linear", data_shape=(PIXELS,), parameter_shape=(PIXELS,), num_latents=(2, 2), num_categories=3
            )
            model = DeepDiscreteVAE(*networks, estimator="score_function", seed=0)
            bound = model.negative_elbo(tf.constant(EXAMPLES, tf.float64), seed=SEED, training=True)
        finally:
            keras.config.set_dtype_policy("float32")
        assert np.isfinite(bound.loss).all()


def draws(model, chunks=40, copies=200):
    """Means of the loss and of its gradient over independent chunks, `[chunks]` and `[chunks, P]`."""
    x = tf.constant(np.repeat(EXAMPLES, copies, axis=0))
    step = tf.function(lambda seed: loss_and_gradient(model, x, tf.stack([seed, 11])), autograph=False)
    each = [step(tf.constant(number)) for number in range(chunks)]
    return np.array([loss.numpy().mean() for loss, _ in each]), np.array([flat(gradient) for _, gradient in each])


def in_errors(values, expected):
    """How many standard errors the mean over the first axis is from what is expected."""
    return (values.mean(0) - expected) / (values.std(0, ddof=1) / np.sqrt(len(values)))


UNBIASED = {
    "score_function": (ScoreFunction(), 2, "categorical"),
    "score_function, 3 layers": (ScoreFunction(num_samples=3), 3, "categorical"),
    "disarm": (DisARM(), 3, "bernoulli"),
    "rebar": (REBAR(0.3, num_samples=2), 2, "truncated_counts"),
    "relax": (RELAX(), 2, "categorical"),
    "relax, 3 layers": (RELAX(), 3, "bernoulli"),
    "mu_prop": (MuProp(), 2, "categorical"),
    "local_expectation": (LocalExpectation(), 2, "categorical"),
    "rao_blackwell": (RaoBlackwell(2), 2, "categorical"),
    "nvil": (NVIL(), 2, "bernoulli"),
    # Its bias is of the order of the square of epsilon: here 40 times less than the noise.
    "direct_arg_max": (DirectArgMax(0.02, "both", num_noises=32), 2, "categorical"),
}

QUICK = ("score_function", "disarm", "rebar", "relax", "direct_arg_max")


class TestGradients:
    @pytest.mark.parametrize(
        ("kl", "name"),
        [
            *[pytest.param("analytic", name, marks=() if name in QUICK else pytest.mark.slow) for name in UNBIASED],
            ("sampled", "score_function"),
            pytest.param("sampled", "relax", marks=pytest.mark.slow),
        ],
    )
    def test_the_mean_gradient_is_the_exact_one(self, name, kl):
        estimator, num_layers, family = UNBIASED[name]
        model = make_model(num_layers, family, estimator=type(estimator).from_config(estimator.get_config()), kl=kl)
        rng = np.random.default_rng(0)
        for variable in (variable for each in model.estimator for variable in each.trainable_variables):
            variable.assign_add(rng.normal(scale=0.3, size=variable.shape).astype("float32"))
        expected = exact(model)
        losses, gradients = draws(model)
        assert abs(in_errors(losses, expected.loss.mean())) < 4.5
        assert np.abs(in_errors(gradients, flat(expected.gradient))).max() < 4.5
        # The bound is a strict one.
        errors = gradients.std(0, ddof=1) / np.sqrt(len(gradients))
        assert np.linalg.norm(errors) < 0.1 * np.linalg.norm(flat(expected.gradient))

    def test_the_bias_of_relaxed_samples_vanishes_with_the_temperature(self):
        biases = []
        for temperature in (1.0, 0.1):
            model = make_model(estimator=GumbelSoftmax(temperature))
            expected = flat(exact(model).gradient)
            biases.append(np.linalg.norm(draws(model, 20)[1].mean(0) - expected) / np.linalg.norm(expected))
        assert biases[0] > 0.15
        assert biases[1] < 0.06

    @pytest.mark.slow
    def test_the_bias_of_direct_arg_max_vanishes_with_epsilon(self):
        biases = []
        for epsilon in (1.0, 0.02):
            model = make_model(estimator=DirectArgMax(epsilon, "both", num_noises=32))
            expected = flat(exact(model).gradient)
            biases.append(np.linalg.norm(draws(model, 20)[1].mean(0) - expected) / np.linalg.norm(expected))
        assert biases[0] > 0.1
        assert biases[1] < 0.03

    @pytest.mark.slow
    def test_closed_forms_lower_the_variance(self):
        deviations = [draws(make_model(estimator=MuProp(), kl=kl), 20)[1].std(0) for kl in ("analytic", "sampled")]
        assert np.linalg.norm(deviations[0]) < 0.8 * np.linalg.norm(deviations[1])


WARM_UP = keras.optimizers.schedules.PolynomialDecay(0.0, decay_steps=4, end_learning_rate=2.0)


class TestWeight:
    @pytest.mark.parametrize("beta", [0.0, 0.5, 2.0])
    @pytest.mark.parametrize(("num_layers", "kl"), [(1, "analytic"), (2, "analytic"), (3, "sampled")])
    def test_enumeration_is_the_sum_over_the_codes_and_the_rate_stays_what_it_is(self, num_layers, kl, beta):
        model = make_model(num_layers, objective=BetaELBO(beta), kl=kl)
        expected, unweighted = exact(model, beta=beta), exact(model).loss
        loss, gradient = loss_and_gradient(model)
        np.testing.assert_allclose(loss, expected.loss, rtol=2e-6)
        np.testing.assert_allclose(flat(gradient), flat(expected.gradient), atol=3e-6)
        terms = model.terms(tf.constant(EXAMPLES), seed=SEED, training=True)
        np.testing.assert_allclose(terms.reports["distortion"], expected.distortion, rtol=2e-6)
        np.testing.assert_allclose(terms.reports["rate"], unweighted - expected.distortion, rtol=1e-5)

    @pytest.mark.parametrize("beta", [0.5, 2.0])
    @pytest.mark.parametrize("name", ["score_function", "disarm"])
    def test_the_mean_gradient_is_the_exact_one(self, name, beta):
        estimator, num_layers, family = UNBIASED[name]
        model = make_model(num_layers, family, estimator=type(estimator)(), objective=BetaELBO(beta))
        expected = exact(model, beta=beta)
        losses, gradients = draws(model)
        assert abs(in_errors(losses, expected.loss.mean())) < 4.5
        assert np.abs(in_errors(gradients, flat(expected.gradient))).max() < 4.5
        errors = gradients.std(0, ddof=1) / np.sqrt(len(gradients))
        assert np.linalg.norm(errors) < 0.1 * np.linalg.norm(flat(expected.gradient))

    @pytest.mark.parametrize("name", ["rao_blackwell", "relax", "gumbel_softmax", "direct_arg_max"])
    def test_of_the_same_samples_the_rate_is_that_of_the_elbo(self, name):
        expected = make_model(estimator=name).negative_elbo(tf.constant(EXAMPLES), seed=SEED, training=True)
        for beta in (0.0, 2.0):
            model = make_model(estimator=name, objective=BetaELBO(beta))
            bound = model.negative_elbo(tf.constant(EXAMPLES), seed=SEED, training=True)
            np.testing.assert_allclose(bound.rate, expected.rate, rtol=1e-5)
            np.testing.assert_array_equal(bound.distortion, expected.distortion)
            np.testing.assert_allclose(bound.loss, bound.distortion + beta * bound.rate, rtol=1e-5)

    def test_evaluation_has_no_weight(self):
        reports = [
            make_model(objective=objective).evaluate(EXAMPLES, verbose=0, return_dict=True)
            for objective in ("elbo", BetaELBO(3.0))
        ]
        assert reports[0] == reports[1]

    def test_a_schedule_is_of_the_first_layer_s_step(self):
        model = make_model(estimator="score_function", objective=BetaELBO(WARM_UP))
        for steps, beta in ((0, 0.0), (3, 1.5)):
            model.estimator_1.step.assign(steps)
            bound = model.negative_elbo(tf.constant(EXAMPLES), seed=SEED, training=True)
            np.testing.assert_allclose(bound.loss, bound.distortion + beta * bound.rate, rtol=1e-5)


class TestBounds:
    @pytest.mark.parametrize("estimator", ["enumeration", "score_function", "gumbel_softmax"])
    def test_evaluate_reports_an_upper_bound_on_the_negative_evidence(self, estimator):
        model = make_model(estimator=estimator)
        expected = exact(model)
        copies = 1 if estimator == "enumeration" else 4000
        x = tf.constant(np.repeat(EXAMPLES, copies, axis=0))
        loss = model.negative_elbo(x, seed=SEED).loss.numpy().reshape(len(EXAMPLES), copies)
        if copies == 1:
            np.testing.assert_allclose(loss[:, 0], expected.loss, rtol=2e-6)
        else:
            assert np.abs(in_errors(loss.T, expected.loss)).max() < 4.5
        assert (loss.mean(1) > -expected.evidence).all()
        reported = model.evaluate(EXAMPLES, verbose=0, return_dict=True)
        assert reported["loss"] == pytest.approx(reported["rate"] + reported["distortion"], rel=1e-5)
        assert copies > 1 or reported["loss"] == pytest.approx(expected.loss.mean(), rel=1e-5)

    def test_the_importance_weighted_bound_lies_between_and_rises(self):
        model, copies = make_model(3), 3000
        expected = exact(model)
        x = tf.constant(np.repeat(EXAMPLES, copies, axis=0))
        bounds = [model.bounds(x, seed=[size, 1], num_samples=size) for size in (1, 4, 64)]
        parts = [b.importance_weighted.numpy().reshape(len(EXAMPLES), copies) for b in bounds]
        means, errors = (np.array([f(p) for p in parts]) for f in (lambda p: p.mean(1), lambda p: p.std(1)))
        errors /= np.sqrt(copies)
        assert (np.diff(means, axis=0) > 4.5 * np.hypot(errors[1:], errors[:-1])).all()
        assert (np.abs(means[0] + expected.loss) < 4.5 * errors[0]).all()
        assert (means[-1] < expected.evidence + 4.5 * errors[-1]).all()
        assert (expected.evidence - means[-1] < 0.2 * (expected.evidence - means[0])).all()
        distortion = bounds[1].distortion.numpy().reshape(len(EXAMPLES), copies)
        assert np.abs(in_errors(distortion.T, expected.distortion)).max() < 4.5
        for b in bounds:
            assert (b.elbo.numpy() <= b.importance_weighted.numpy() + 1e-5).all()
            np.testing.assert_allclose(b.elbo, -(b.rate + b.distortion), rtol=1e-5)


class Spy(layers.Layer):
    """Notes the batches and modes that it is called with."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def call(self, x, training=None):
        self.calls.append((x.shape[0], training))
        return x


def spied_model(estimator):
    spies = [Spy() for _ in range(4)]

    def network(spy, shape, units, outputs):
        return keras.Sequential([keras.Input(shape), layers.Flatten(), spy, layers.Dense(units), outputs])

    code = (LATENTS, 3)
    encoders = [
        network(spy, shape, 6, layers.Reshape(code)) for spy, shape in zip(spies, [(PIXELS,), code], strict=False)
    ]
    decoders = [network(spies[3], code, 6, layers.Reshape(code)), network(spies[2], code, PIXELS, layers.Flatten())]
    model = DeepDiscreteVAE(encoders, decoders, estimator=estimator, seed=0)
    for spy in spies:
        spy.calls.clear()
    return model, spies


class TestCost:
    def test_a_layer_s_samples_are_one_batch_of_the_layer_above(self):
        model, spies = spied_model(ScoreFunction(num_samples=4))
        model.negative_elbo(tf.constant(EXAMPLES), seed=SEED, training=True)
        # The encoders of z1 and z2, then their decoders.
        assert [spy.calls for spy in spies] == [[(3, True)], [(12, True)], [(12, True)], [(48, True)]]

    def test_networks_are_in_training_mode_in_training_alone(self):
        model, spies = spied_model(ScoreFunction(num_samples=2))
        model.negative_elbo(tf.constant(EXAMPLES), seed=SEED)
        model(tf.constant(EXAMPLES))
        model.bounds(tf.constant(EXAMPLES), seed=SEED, num_samples=2)
        assert {mode for spy in spies for _, mode in spy.calls} == {False}


class TestEstimators:
    def test_each_layer_has_one_of_its_own_with_the_same_settings(self):
        given = RELAX(temperature=0.3, num_samples=2)
        model = make_model(3, estimator=given)
        assert model.estimator[0] is given
        assert len({id(each) for each in model.estimator}) == 3
        assert all(each.get_config() | {"name": ""} == given.get_config() | {"name": ""} for each in model.estimator)

    def test_a_list_has_one_a_layer(self):
        model = make_model(estimator=["disarm", LocalExpectation()])
        assert [type(each) for each in model.estimator] == [DisARM, LocalExpectation]
        loss, gradient = loss_and_gradient(model)
        assert np.isfinite(loss).all()
        assert all(np.abs(part).max() > 0 for part in gradient)

    def test_families_may_differ(self):
        each = [families.Bernoulli(), families.Categorical(4)]
        made = make_deep_networks("linear", data_shape=(4,), parameter_shape=(4,), num_latents=(3, 2), family=each)
        model = DeepDiscreteVAE(*made, families=["bernoulli", "categorical"])
        outputs = model.predict(EXAMPLES, verbose=0)
        assert outputs["code_1"].shape == (3, 3)
        assert outputs["code_2"].shape == (3, 2, 4)

    def test_each_layer_is_updated_once_a_step_with_its_own_costs(self):
        model = make_model(estimator=ScoreFunction("running_mean", decay=0.5), optimizer=keras.optimizers.SGD(0.0))
        terms = model.terms(tf.constant(EXAMPLES), seed=SEED, training=True)
        expected = [tf.reduce_mean(estimate.value) for _, estimate in terms.estimates]
        for estimator, estimate in terms.estimates:
            estimator.update(estimate)
        np.testing.assert_allclose([each.running_cost for each in model.estimator], expected, rtol=1e-6)
        # log p(x|z1) is no part of the cost of z2.
        assert abs(expected[0] - expected[1]) > 1.0
        fit(model, bits())
        assert [int(each.step.value) for each in model.estimator] == [4, 4]

    def test_a_layer_above_is_judged_by_the_samples_alone_and_not_by_their_neighbours(self):
        model = make_model(estimator=["local_expectation", ScoreFunction("running_mean")])
        _, (_, above) = model.terms(tf.constant(EXAMPLES), seed=SEED, training=True).estimates
        # Of the 3 examples there are 4 neighbours each.
        assert above.value.shape == (3,)

    def test_the_squared_errors_of_all_baselines_are_minimized_once_each(self):
        model = make_model(3, "bernoulli", estimator=NVIL())
        estimates = [estimate for _, estimate in model.terms(tf.constant(EXAMPLES), seed=SEED, training=True).estimates]
        # Before the first step the baselines are 0, and of one sample the value is the cost.
        expected = sum(np.mean(np.square(estimate.value)) for estimate in estimates)
        assert sum(float(estimate.auxiliary) for estimate in estimates) == pytest.approx(expected, rel=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", NAMES)
    def test_fit_trains_every_weight_and_the_loaded_model_goes_on_alike(self, name, tmp_path):
        model = make_model(estimator=name)
        before = [np.array(variable) for variable in model.trainable_variables]
        fit(model, bits())
        for old, variable in zip(before, model.trainable_variables, strict=True):
            assert np.isfinite(variable).all(), variable.path
            assert (old != np.asarray(variable)).any(), variable.path
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_same(loaded, model)
        assert_trains_alike(loaded, model, bits())


class TestFit:
    @pytest.mark.slow
    @pytest.mark.parametrize("estimator", ["relax", "disarm", "straight_through_gumbel_softmax", "direct_arg_max"])
    def test_the_discrete_bound_improves(self, estimator):
        x = bits()
        model = make_model(family="bernoulli", estimator=estimator, jit_compile="auto", steps="auto")
        before = exact(model, x).loss.mean()
        model.fit(x, epochs=100, batch_size=12, verbose=0)
        after = exact(model, x).loss.mean()
        assert after < before - 1.0
        assert after < scipy.stats.bernoulli(x.mean(0)).entropy().sum()

    def test_history_has_the_loss_its_rate_and_its_distortion(self):
        model = make_model(estimator="score_function")
        history = model.fit(bits(), epochs=3, batch_size=16, validation_data=(bits(),), verbose=0).history
        assert set(history) == {f"{v}{n}" for v in ("", "val_") for n in ("loss", "rate", "distortion")}
        np.testing.assert_allclose(np.add(history["rate"], history["distortion"]), history["loss"], rtol=1e-5)
        assert history["loss"][-1] < history["loss"][0]

    @pytest.mark.parametrize(
        "estimator",
        ["score_function", *[pytest.param(name, marks=pytest.mark.slow) for name in ("rebar", "gumbel_softmax")]],
    )
    def test_under_xla_it_is_the_same_step(self, estimator):
        model = make_model(estimator=estimator)
        compiled = tf.function(lambda x: loss_and_gradient(model, x), jit_compile=True, autograph=False)
        for part, expected in zip(compiled(tf.constant(EXAMPLES)), loss_and_gradient(model), strict=True):
            tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), part, expected)

    def test_a_graph_of_unknown_batch_size_is_the_eager_step(self):
        model = make_model(3, estimator="disarm", family="bernoulli")
        spec = [tf.TensorSpec([None, PIXELS])]
        step = tf.function(lambda x: loss_and_gradient(model, x)[0], input_signature=spec, autograph=False)
        np.testing.assert_allclose(step(tf.constant(EXAMPLES)), loss_and_gradient(model)[0], rtol=1e-5)

    @pytest.mark.parametrize("policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
    def test_mixed_precision_trains_float32_variables(self, policy):
        keras.config.set_dtype_policy(policy)
        try:
            model = make_model(networks="mlp", estimator=MuProp())
        finally:
            keras.config.set_dtype_policy("float32")
        losses = fit(model, bits(), epochs=4)["loss"]
        assert losses[-1] < losses[0]
        assert {variable.dtype for variable in model.trainable_variables} == {"float32"}

    def test_networks_without_static_shapes_are_built_by_fit(self):
        class Network(keras.Model):
            def __init__(self, shape):
                super().__init__()
                self.inner = [layers.Flatten(), layers.Dense(int(np.prod(shape))), layers.Reshape(shape)]

            def call(self, x):
                for layer in self.inner:
                    x = layer(x)
                return x

        code = (LATENTS, 3)
        model = DeepDiscreteVAE([Network(code), Network(code)], [Network(code), Network((PIXELS,))], seed=0)
        model.compile(keras.optimizers.Adam(0.05), jit_compile=False)
        assert not model.built
        losses = fit(model, bits(), epochs=5)["loss"]
        assert losses[-1] < losses[0]
        assert model.predict(EXAMPLES, verbose=0)["index_2"].shape == (3, LATENTS)

    @pytest.mark.slow
    def test_real_data_are_learned_under_another_likelihood(self):
        networks = make_deep_networks(
            "mlp", data_shape=(PIXELS,), parameter_shape=(PIXELS, 2), num_latents=(3, 2), num_categories=3
        )
        model = DeepDiscreteVAE(
            *networks, estimator="score_function", likelihood=Gaussian(0.1), prior="hierarchical", seed=0
        )
        model.compile(keras.optimizers.Adam(3e-3), jit_compile=False)
        losses = fit(model, bits() + 0.1, epochs=4)["loss"]
        assert losses[-1] < losses[0]

    @pytest.mark.slow
    def test_two_replicas_train_as_one_device_does_and_one_may_have_no_share(self):
        x = bits(49)
        single = make_model(optimizer=keras.optimizers.SGD(0.1))
        strategy = two_replicas()
        with strategy.scope():
            model = make_model(optimizer=keras.optimizers.SGD(0.1))
        history, expected = (fit(each, x[:48], epochs=2) for each in (model, single))
        for one, other in zip(weights(model), weights(single), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        for key, values in expected.items():
            np.testing.assert_allclose(history[key], values, rtol=1e-4)
        assert np.isfinite([*fit(model, x).values()]).all()
        assert all(np.isfinite(w).all() for w in weights(model))


class TestPredict:
    def test_outputs_are_those_of_the_networks(self):
        model = make_model(prior="fixed")
        result = model.predict(EXAMPLES, verbose=0)
        names = {f"{name}_{number}" for name in ("probabilities", "code", "index") for number in (1, 2)}
        assert set(result) == names | {"reconstruction"}
        below = EXAMPLES
        for number, encoder in enumerate(model.encoders, 1):
            logits = encoder.predict(below, verbose=0)
            probabilities = scipy.special.softmax(logits, axis=-1)
            np.testing.assert_allclose(result[f"probabilities_{number}"], probabilities, rtol=1e-4)
            np.testing.assert_array_equal(result[f"index_{number}"], logits.argmax(-1))
            below = np.eye(3)[logits.argmax(-1)]
            np.testing.assert_array_equal(result[f"code_{number}"], below)
        parameters = model.decoders[-1].predict(result["code_1"], verbose=0)
        np.testing.assert_allclose(result["reconstruction"], scipy.special.expit(parameters), rtol=1e-4, atol=1e-6)

    def test_samples_follow_the_generative_model(self):
        model, count = make_model(3), 4000
        samples = model.sample(count, [1, 2]).numpy()
        assert samples.shape == (count, PIXELS)
        codes = all_one_hot(3)
        flat_codes = codes.reshape(9, -1)
        mass = np.exp((codes * scipy.special.log_softmax(model.prior.get_weights()[0], axis=-1)).sum((-2, -1)))
        for decoder in model.decoders[:-1]:
            kernel, bias = decoder.get_weights()
            logits = scipy.special.log_softmax((flat_codes @ kernel + bias).reshape(9, LATENTS, 3), axis=-1)
            mass = mass @ np.exp(np.einsum("rnk,mnk->rm", logits, codes))
        kernel, bias = model.decoders[-1].get_weights()
        distances = np.abs(samples[:, None] - scipy.special.expit(flat_codes @ kernel + bias)).max(-1)
        assert distances.min(-1).max() < 1e-5
        counts = np.bincount(distances.argmin(-1), minlength=9)
        assert scipy.stats.chisquare(counts, mass / mass.sum() * count).pvalue > 1e-3
        np.testing.assert_array_equal(model.sample(count, [1, 2]), samples)


SAVED = {
    "list": {"estimator": ["relax", "nvil"], "family": "bernoulli"},
    "counts": {"family": "truncated_counts", "estimator": None, "kl": "sampled"},
    "schedule": {
        "estimator": GumbelSoftmax(keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=3, decay_rate=0.5)),
        "prior": "mixture",
    },
    "vamp": {"estimator": "score_function", "prior": "vamp", "objective": BetaELBO(WARM_UP)},
}


class TestSaving:
    @pytest.mark.parametrize(
        "options",
        [pytest.param(o, id=n, marks=() if n in ("list", "vamp") else pytest.mark.slow) for n, o in SAVED.items()],
    )
    def test_a_loaded_model_predicts_the_same_and_trains_on_alike(self, options, tmp_path):
        x = bits()
        model = make_model(**options)
        fit(model, x)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_same(loaded, model)
        assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
        tf.nest.map_structure(np.testing.assert_array_equal, loaded.predict(x, verbose=0), model.predict(x, verbose=0))
        np.testing.assert_array_equal(loaded.sample(5, SEED), model.sample(5, SEED))
        assert loaded.evaluate(x, verbose=0) == model.evaluate(x, verbose=0)
        assert_trains_alike(loaded, model, x)

    def test_a_checkpoint_has_every_weight(self, tmp_path):
        model, twin = (make_model(family="bernoulli", estimator=NVIL(hidden_units=3)) for _ in range(2))
        fit(model, bits())
        path = tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint"))
        twin.optimizer.build(twin.trainable_variables)
        tf.train.Checkpoint(model=twin).restore(path).assert_existing_objects_matched()
        assert_same(twin, model)

    @pytest.mark.parametrize("family", ["categorical", "bernoulli"])
    def test_the_exported_signatures_give_the_model_s_numbers(self, family, tmp_path):
        model = make_model(family=family)
        signatures = tf.saved_model.load(str(export_saved_model(model, tmp_path))).signatures
        assert set(signatures) == {"serving_default", "encode", "decode", "sample"}
        predicted = model.predict(EXAMPLES, verbose=0)
        for name in ("serving_default", "encode"):
            outputs = signatures[name](x=tf.constant(EXAMPLES))
            assert set(outputs) == set(predicted) - {"reconstruction"}
            for key, values in outputs.items():
                np.testing.assert_allclose(values, predicted[key], rtol=1e-5)
        decoded = signatures["decode"](code=tf.constant(predicted["code_1"]))
        np.testing.assert_allclose(decoded["reconstruction"], predicted["reconstruction"], rtol=1e-5)
        samples = signatures["sample"](seed=tf.constant(SEED), n=tf.constant(5))["samples"]
        np.testing.assert_allclose(samples, model.sample(5, SEED), rtol=1e-5)


def networks():
    return make_deep_networks("linear", data_shape=(4,), parameter_shape=(4,), num_latents=(2, 3), num_categories=3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("encoders", "decoders", "message"),
        [
            (slice(0, 1), slice(None), "Received: 1 encoders and 2 decoders"),
            (slice(None), slice(0, 1), "Received: 2 encoders and 1 decoders"),
            (slice(0, 0), slice(None), r"encoders must be a list of Keras models, one for each layer. Received: \[\]"),
            (0, slice(None), "encoders must be a list of Keras models, one for each layer. Received: <Functional"),
            (slice(None), 0, "decoders must be a list of Keras models, one for each layer. Received: <Functional"),
            (slice(None, None, -1), slice(None), r"encoder 2 must read inputs of shape \(3, 3\). Received: .* \(4,\)"),
            (slice(None), slice(None, None, -1), r"decoder of z2 must read inputs of shape \(3, 3\). .* \(2, 3\)"),
        ],
    )
    def test_networks_that_do_not_fit_each_other(self, encoders, decoders, message):
        made = networks()
        with pytest.raises(InputError, match=message):
            DeepDiscreteVAE(made.encoders[encoders], made.decoders[decoders])

    def test_decoders_of_other_outputs(self):
        made = networks()
        wide = keras.Sequential([keras.Input((3, 3)), layers.Flatten(), layers.Dense(8), layers.Reshape((2, 4))])
        with pytest.raises(InputError, match=r"p\(z1\|z2\) needs a decoder of z2 that outputs \(2, 3\).* \(2, 4\)"):
            DeepDiscreteVAE(made.encoders, [wide, made.decoders[1]])
        with pytest.raises(
            InputError, match=r"Gaussian likelihood needs a decoder of z1 that outputs \(4, 2\).* \(4,\)"
        ):
            DeepDiscreteVAE(*networks(), likelihood="gaussian")

    def test_an_encoder_without_rows_of_categories(self):
        flat_encoder = keras.Sequential([keras.Input((4,)), layers.Dense(6)])
        with pytest.raises(InputError, match=r"need an encoder that outputs \[B, N, K\]"):
            DeepDiscreteVAE([flat_encoder, networks().encoders[1]], networks().decoders)

    @pytest.mark.parametrize("family", ["gaussian", "invertible_gaussian"])
    def test_families_whose_samples_have_a_density(self, family):
        message = "'categorical', 'bernoulli' or 'truncated_counts'.* whose samples have a density; use DiscreteVAE"
        with pytest.raises(InputError, match=message):
            DeepDiscreteVAE(*networks(), families=family)

    @pytest.mark.parametrize("estimator", ["pathwise", "invertible_gaussian"])
    def test_estimators_of_continuous_variables(self, estimator):
        with pytest.raises(InputError, match="whose estimators are 'arm', .*'vimco'. Received: "):
            DeepDiscreteVAE(*networks(), estimator=estimator)

    @pytest.mark.parametrize("estimator", [["relax"], ["relax"] * 3, [ScoreFunction()] * 2])
    def test_lists_of_another_length_or_with_one_object_twice(self, estimator):
        with pytest.raises(InputError, match="estimator must be one for all layers, or a list of 2 different ones"):
            DeepDiscreteVAE(*networks(), estimator=estimator)

    def test_a_prior_that_depends_on_a_class(self):
        with pytest.raises(InputError, match="does not depend on a class, such as 'learned'. Received: Conditional"):
            DeepDiscreteVAE(*networks(), prior=priors.Conditional(3))

    @pytest.mark.parametrize(
        ("option", "received", "nearest"),
        [
            ("estimator", "relx", "relax"),
            ("families", "bernouli", "bernoulli"),
            ("prior", "fix", "fixed"),
            ("likelihood", "bernouli", "bernoulli"),
            ("objective", "beta_elb", "beta_elbo"),
            ("kl", "sample", "sampled"),
        ],
    )
    def test_an_unknown_name_is_refused_and_the_nearest_named(self, option, received, nearest):
        with pytest.raises(
            InputError, match=f"unknown {option.replace('ies', 'y')} '{received}'. Did you mean '{nearest}'"
        ):
            DeepDiscreteVAE(*networks(), **{option: received})

    @pytest.mark.parametrize(
        ("objective", "received"),
        [
            (FreeBits(), r"FreeBits\(nats=0.5, per='latent'\)"),
            (CapacityELBO(), "CapacityELBO"),
            ("importance_weighted", "ImportanceWeighted"),
            (ELBO(sticking_the_landing=True), r"ELBO\(sticking_the_landing=True"),
            (BetaELBO(prior_temperature=0.5), r"BetaELBO\(.*prior_temperature=0.5"),
        ],
    )
    def test_objectives_of_more_than_the_whole_rate(self, objective, received):
        message = rf"'elbo' or BetaELBO\(beta\).*a layer's rate has no closed form.*Received: {received}"
        with pytest.raises(InputError, match=message):
            DeepDiscreteVAE(*networks(), objective=objective)

    @pytest.mark.parametrize(
        ("extra", "message"),
        [(("y",), r"learns from x alone\. Received: labels"), (("y", "sample_weight"), "counts every example once")],
    )
    def test_labels_and_sample_weights(self, extra, message):
        with pytest.raises(InputError, match=message):
            make_model().fit(EXAMPLES, verbose=0, **{name: np.ones(3) for name in extra})

    def test_data_outside_of_the_likelihood_s_domain(self):
        with pytest.raises(InputError, match="zeros and ones. Received: data from 0 to 255"):
            make_model().fit(EXAMPLES * 255, verbose=0)


def test_a_model_saved_without_an_objective_has_the_elbo():
    networks = make_deep_networks("linear", data_shape=(5,), parameter_shape=(5,), num_latents=(2, 1), num_categories=3)
    config = DeepDiscreteVAE(*networks).get_config()
    del config["objective"]
    assert type(DeepDiscreteVAE.from_config(config).objective) is ELBO
