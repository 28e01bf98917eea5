"""One suite over all of `objectives.REGISTRY`: a new objective is tested by its lines in `CASES`."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.conftest import assert_mean_is
from tests.replicas import two_replicas
from tfdiscrete import InputError, estimators, objectives, priors
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.models import make_networks
from tfdiscrete.objectives import ELBO, BetaELBO, CapacityELBO, FreeBits, ImportanceWeighted, discrete_bounds
from tfdiscrete.ops import step_seed

SEED = [1, 2]
NAMES = sorted(objectives.REGISTRY)
SCHEDULE = keras.optimizers.schedules.PolynomialDecay(0.0, decay_steps=4, end_learning_rate=1.0)

# What is tested: an objective, an estimator that suits it, a choice of the KL, and what the training loss bounds.
CASES = {
    "elbo": (ELBO, {}, "score_function", "auto", "discrete"),
    "elbo-straight-through": (ELBO, {}, "straight_through_gumbel_softmax", "analytic", "discrete"),
    "elbo-analytic-relaxed": (ELBO, {}, "gumbel_softmax", "auto", None),
    "elbo-linear": (ELBO, {}, "gumbel_softmax", "sampled", None),
    "elbo-relaxed": (ELBO, {"prior_temperature": 0.5}, "gumbel_softmax", "relaxed", "relaxed"),
    "elbo-stl": (ELBO, {"sticking_the_landing": True}, "score_function", "auto", "discrete"),
    "elbo-stl-relaxed": (ELBO, {"sticking_the_landing": True}, "gumbel_softmax", "auto", "relaxed"),
    "elbo-rebar": (ELBO, {"sticking_the_landing": True}, "rebar", "auto", "discrete"),
    "elbo-enumeration": (ELBO, {}, "enumeration", "auto", "discrete"),
    "elbo-rao-blackwell": (ELBO, {}, estimators.GeneralizedGumbelSoftmax(rao_blackwell=True), "auto", None),
    "beta": (BetaELBO, {"beta": 4.0}, "vimco", "sampled", "discrete"),
    "beta-low": (BetaELBO, {"beta": 0.5, "sticking_the_landing": True}, "vimco", "auto", None),
    "beta-schedule": (BetaELBO, {"beta": SCHEDULE}, "nvil", "auto", None),
    "capacity": (CapacityELBO, {"capacity": 1.0, "weight": 3.0}, "unordered_set", "auto", None),
    "capacity-schedule": (CapacityELBO, {"capacity": SCHEDULE}, "direct_arg_max", "auto", None),
    "free": (FreeBits, {"nats": 1e-3, "per": 2}, "straight_through", "auto", "discrete"),
    "free-relaxed": (FreeBits, {"nats": 1e-3}, "gumbel_softmax", "auto", None),
    "weighted": (ImportanceWeighted, {"num_samples": 5}, "vimco", "auto", "iwae-5"),
    "weighted-relaxed": (ImportanceWeighted, {"prior_temperature": 0.5}, "gumbel_softmax", "auto", "relaxed-iwae-1"),
    "weighted-linear": (ImportanceWeighted, {}, "gumbel_softmax", "sampled", None),
}


# One of each objective, for what takes long to trace; the others are slow tests.
QUICK = ["elbo-stl-relaxed", "beta-schedule", "capacity", "free", "weighted"]


def made(name):
    cls, options, estimator, kl, bound = CASES[name]
    return cls(**options), estimator, kl, bound


@pytest.fixture(params=CASES)
def case(request):
    return made(request.param)


@pytest.fixture(params=[pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CASES])
def traced_case(request):
    return made(request.param)


def call(objective, estimator, kl, model, logits, **options):
    logits = tf.convert_to_tensor(logits)
    return objective(
        ProductCategorical(logits),
        model.prior(),
        model.log_likelihood,
        estimators.get(estimator),
        seed=SEED,
        kl=kl,
        context=logits,
        **options,
    )


def test_every_objective_is_tested():
    assert {cls for cls, *_ in CASES.values()} == set(objectives.REGISTRY.values())
    assert {CASES[name][0] for name in QUICK} == set(objectives.REGISTRY.values())


def test_result_has_a_value_for_each_example_and_gradients_in_the_loss_alone(case, model, logits):
    objective, estimator, kl, _ = case
    logits = tf.constant(logits)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        found = call(objective, estimator, kl, model, logits)
    assert found.loss.shape == found.rate.shape == found.distortion.shape == [5]
    assert np.isfinite(tape.gradient(found.loss, logits)).all()
    assert tape.gradient(found.rate, logits) is None
    assert tape.gradient(found.distortion, logits) is None


def test_evaluation_averages_to_the_discrete_bound_whatever_is_weighed(case, replicated_model, replicated_logits):
    objective, estimator, kl, _ = case
    found = call(objective, estimator, kl, replicated_model, replicated_logits, training=False)
    if isinstance(objective, ImportanceWeighted):
        samples = estimators.get(estimator).num_samples
        log_weights = replicated_model.log_joint()[:, 0] - replicated_model.log_q(replicated_logits[:1])[:, 0]
        assert_mean_is(np.exp(replicated_model.log_evidence()[0]), np.exp(-found.loss))
        if samples > 1:
            assert (
                -np.mean(found.loss) > (np.exp(replicated_model.log_q(replicated_logits[:1])[:, 0]) * log_weights).sum()
            )
    else:
        assert_mean_is(-replicated_model.elbo(replicated_logits)[0], found.loss)
        np.testing.assert_allclose(found.loss, found.rate + found.distortion, rtol=1e-6)


def test_evaluation_chooses_the_same_of_the_bounds_by_hard_samples(case, model, logits):
    objective, estimator, kl, _ = case
    q = ProductCategorical(tf.constant(logits))
    bounds = discrete_bounds(q, model.prior(), model.log_likelihood, seed=SEED, num_samples=3, kl="analytic")
    weighted = isinstance(objective, ImportanceWeighted)
    assert objective.evaluated(bounds) is (bounds.importance_weighted if weighted else bounds.elbo)
    samples = estimators.get(estimator).num_samples
    kind = objective.bound(model.prior(), estimators.get(estimator), kl=kl, training=False)
    assert kind == (f"iwae-{samples}" if weighted else "discrete")


def test_the_training_loss_says_what_it_bounds(case, model):
    objective, estimator, kl, bound = case
    assert objective.bound(model.prior(), estimators.get(estimator), kl=kl) == bound


@pytest.mark.parametrize("kl", ["auto", "relaxed"])
def test_other_laws_say_so(model, kl):
    relaxed = estimators.InvertibleGaussian(num_samples=2)
    assert ELBO().bound(model.prior(), relaxed, kl=kl) == "relaxed"
    assert ImportanceWeighted().bound(model.prior(), relaxed, kl=kl) == "relaxed-iwae-2"
    if kl == "auto":
        assert ELBO().bound(model.prior(), estimators.InvertibleGaussian(straight_through=True)) == "discrete"
        assert ELBO().bound(model.prior(), estimators.Pathwise()) == "continuous"
        assert ELBO().bound(model.prior(), estimators.Pathwise(), training=False) == "continuous"
        assert ImportanceWeighted().bound(model.prior(), estimators.Pathwise(3)) == "continuous-iwae-3"


def test_what_is_said_to_bound_the_discrete_model_is_above_its_negative_evidence(
    case, replicated_model, replicated_logits
):
    objective, estimator, kl, bound = case
    found = call(objective, estimator, kl, replicated_model, replicated_logits).loss.numpy()
    if bound is not None and not bound.startswith("relaxed"):
        error = found.std() / np.sqrt(len(found))
        assert found.mean() > -replicated_model.log_evidence()[0] - 4.5 * error - 1e-6


def test_config_survives_json_and_makes_the_same_objective(case, model, logits):
    objective, estimator, kl, _ = case
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(objective)))
    restored = keras.saving.deserialize_keras_object(config)
    assert type(restored) is type(objective)
    assert json.dumps(restored.get_config(), default=vars) == json.dumps(objective.get_config(), default=vars)
    np.testing.assert_array_equal(*(call(each, estimator, kl, model, logits).loss for each in (objective, restored)))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_give_the_eager_values_of_any_batch(traced_case, model, logits, jit_compile):
    objective, estimator, kl, _ = traced_case
    estimator = estimators.get(estimator)
    estimator.build((None, 2, 3), (None, 2, 3))

    def values(x, logits):
        both = (call(objective, estimator, kl, model._replace(x=x), logits, training=each) for each in (True, False))
        return [part for found in both for part in found[:3]]

    spec = [tf.TensorSpec([None, 4], tf.float64), tf.TensorSpec([None, 2, 3], tf.float64)]
    traced = tf.function(values, input_signature=spec, jit_compile=jit_compile)
    for one, other in zip(traced(model.x, logits), values(model.x, logits), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.fixture(params=["float32", "mixed_float16"])
def precision(request):
    keras.mixed_precision.set_global_policy(request.param)
    yield request.param
    keras.mixed_precision.set_global_policy("float32")


def test_a_training_step_of_networks_trains_all_weights_and_resumes_alike(traced_case, precision):
    objective, estimator, kl, _ = traced_case
    config = keras.saving.serialize_keras_object(estimators.get(estimator))
    x = np.random.default_rng(0).integers(2, size=(30, 6)).astype("float32")

    def make():
        networks = make_networks("linear", data_shape=(6,), parameter_shape=(6,), num_latents=2, num_categories=3)
        estimator, prior = keras.saving.deserialize_keras_object(config), priors.Learned()
        estimator.build((None, 2, 3), (None, 6))
        prior.build((2, 3))
        return *networks, estimator, prior

    def steps(parts, count):
        encoder, decoder, estimator, prior = parts
        shared = [v for part in (encoder, decoder, prior) for v in part.trainable_variables]

        def log_likelihood(z):
            parameters = tf.reshape(decoder(tf.reshape(z, [-1, 2, 3])), [-1, 30, 6])
            return tf.reduce_sum(tf.cast(x, parameters.dtype) * parameters - tf.math.softplus(parameters), axis=-1)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                q = ProductCategorical(tf.cast(encoder(x), tf.float32))
                seed = step_seed(7, estimator.step.value)
                found = objective(q, prior, log_likelihood, estimator, seed=seed, kl=kl, context=x)
                loss = tf.reduce_mean(found.loss)
            for variable, gradient in zip(shared, tape.gradient(loss, shared), strict=True):
                variable.assign_sub(0.1 * tf.cast(gradient, variable.dtype))
            estimator.update(found.estimate)
            return loss

        return [float(step()) for _ in range(count)], [v.numpy() for v in shared]

    first = make()
    before = [np.array(v) for part in (first[0], first[1], first[3]) for v in part.trainable_variables]
    _, after = steps(first, 3)
    for old, new in zip(before, after, strict=True):
        assert np.isfinite(new).all()
        assert (old != new).any()
    if precision == "float32":
        second = make()
        for one, other in zip(first, second, strict=True):
            other.set_weights(one.get_weights())
        for one, other in zip(steps(first, 2)[1], steps(second, 2)[1], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("objective", [CapacityELBO(0.9, 2.0), FreeBits(0.5)], ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("shares", [(3, 2), (5, 0)])
def test_replicas_with_shares_of_a_batch_have_the_gradient_of_the_whole(objective, shares, model, logits):
    # The examples' rates are on both sides, so that each share alone would decide otherwise.
    order = np.argsort(model.rate(logits))
    model, logits = model._replace(x=model.x[order]), logits[order]
    estimator = estimators.Enumeration()

    def gradient(x, logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = tf.reduce_sum(call(objective, estimator, "auto", model._replace(x=x), logits).loss)
        return tape.gradient(loss, logits)

    whole = gradient(tf.constant(model.x), tf.constant(logits))
    strategy = two_replicas()
    cuts = [slice(0, shares[0]), slice(shares[0], 5)]
    x, parts = (
        strategy.experimental_distribute_values_from_function(
            lambda context, array=array: tf.constant(array[cuts[context.replica_id_in_sync_group]])
        )
        for array in (model.x, logits)
    )
    of_shares = tf.function(lambda: strategy.run(gradient, args=(x, parts)))()
    np.testing.assert_allclose(np.concatenate(strategy.experimental_local_results(of_shares)), whole, rtol=1e-9)


class TestGet:
    @pytest.mark.parametrize("name", NAMES)
    def test_name_makes_the_objective_and_an_objective_passes_through(self, name):
        objective = objectives.get(name)
        assert type(objective) is objectives.REGISTRY[name]
        assert objectives.get(objective) is objective
        registered = f"tfdiscrete.objectives>{type(objective).__name__}"
        assert keras.saving.get_registered_name(type(objective)) == registered
        assert type(objective).__name__ in objectives.__all__

    def test_options_are_passed_on(self):
        assert objectives.get("beta_elbo", beta=2.5).beta == 2.5

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: objectives.get("beta_elb"), r"unknown objective 'beta_elb'. Did you mean 'beta_elbo'\?"),
            (lambda: objectives.get("beta_elbo", bet=2.0), r"unknown option of beta_elbo 'bet'. Did you mean 'beta'\?"),
            (lambda: objectives.get(BetaELBO), r"pass an objective, BetaELBO\(...\), or its name"),
        ],
    )
    def test_unknown_ones_are_refused(self, make, message):
        with pytest.raises(InputError, match=message):
            make()


class TestRefusals:
    @pytest.mark.parametrize("name", ["score_function", "straight_through_gumbel_softmax", "rebar", "enumeration"])
    @pytest.mark.parametrize("training", [True, False])
    def test_a_relaxed_kl_beside_hard_samples(self, model, logits, name, training):
        with pytest.raises(InputError, match=r"'gumbel_softmax', 'gen.* Received: .* Use kl='analytic' or 'sampled'"):
            call(ELBO(), name, "relaxed", model, logits, training=training)

    def test_probabilities_of_hard_samples_at_those_of_a_density(self, model):
        with pytest.raises(InputError, match=r"draws from a density, .* Use kl='analytic'"):
            ELBO().choose_kl("sampled", model.prior(), estimators.InvertibleGaussian())

    def test_an_unknown_kl(self, model, logits):
        with pytest.raises(InputError, match=r"unknown kl 'analytical'. Did you mean 'analytic'\?"):
            call(ELBO(), "vimco", "analytical", model, logits)
