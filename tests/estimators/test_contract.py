"""One suite over all of `estimators.REGISTRY`: a new estimator is tested by being registered."""

import functools
import itertools
import json
import operator
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError, estimators
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import Estimate, Estimator, ScoreFunction
from tfdiscrete.ops import log_mean_exp, with_gradient_of

NAMES = sorted(estimators.REGISTRY)

# Settings tested beside the defaults.
OPTIONS = {
    "score_function": [
        {"baseline": "none"},
        {"baseline": "none", "num_samples": 3},
        {"baseline": "running_mean"},
        {"baseline": "running_mean", "decay": 0.0},
        {"baseline": "leave_one_out", "num_samples": 4},
    ],
    "gumbel_softmax": [{"temperature": 0.3, "num_samples": 2}],
    "straight_through_gumbel_softmax": [{"temperature": 0.3, "num_samples": 2}],
}

# Those whose number of samples is not `num_samples`, with the reason.
OWN_NUMBER_OF_SAMPLES = {"enumeration": "it evaluates all K^N codes once"}

# Independent draws of a problem; fewer where the draws do not vary.
REPLICATES = 20_000
FEWER_REPLICATES = {"enumeration": 10}

SCHEDULE = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=10, decay_rate=0.5)
SEED = [3, 5]


def variants(chosen=NAMES):
    """All (name, options) of the chosen names, as parameters of a test."""
    for name in chosen:
        for options in [{}, *OPTIONS.get(name, [])]:
            words = [name, *(f"{key}={value}" for key, value in options.items())]
            yield pytest.param(name, options, id="-".join(words))


UNBIASED = [name for name in NAMES if estimators.REGISTRY[name].unbiased]
WITH_TEMPERATURE = [name for name in NAMES if "temperature" in estimators.get(name).get_config()]


# Problems with an answer by enumeration in NumPy. A cost is written once, in what TensorFlow and NumPy have in common:
# it maps codes [S, B, N, K] and its own parameters [B, 2, N, K] to [S, B].


def linear(np_or_tf, z, parameters):
    return np_or_tf.einsum("sbnk,bnk->sb", z, parameters[:, 0])


def quadratic(np_or_tf, z, parameters):
    return (linear(np_or_tf, z, parameters) - 0.5) ** 2 + linear(np_or_tf, z, parameters[:, 1:])


def product(np_or_tf, z, parameters):
    factors = np_or_tf.einsum("sbnk,bnk->sbn", z, parameters[:, 0])
    return functools.reduce(operator.mul, (factors[..., n] for n in range(z.shape[-2])))


def neural_network(np_or_tf, z, parameters):
    first, second = linear(np_or_tf, z, parameters), linear(np_or_tf, z, parameters[:, 1:])
    return 2.0 * np_or_tf.tanh(first) - np_or_tf.tanh(second + 0.3)


COSTS = [linear, quadratic, product, neural_network]


class Problem(NamedTuple):
    cost: object
    logits: np.ndarray  # [N, K]
    parameters: np.ndarray  # [2, N, K]

    def expectation(self, logits, parameters):
        """sum_z q(z) f(z), over all codes."""
        latents, categories = logits.shape
        codes = np.eye(categories)[list(itertools.product(range(categories), repeat=latents))]
        log_q = np.sum(codes * (logits - np.log(np.exp(logits).sum(-1, keepdims=True))), axis=(-2, -1))
        return np.sum(np.exp(log_q) * self.cost(np, codes[:, None], parameters[None])[:, 0])

    def value(self):
        return self.expectation(self.logits, self.parameters)

    def gradient(self):
        """With respect to all logits and then all parameters of the cost, by complex steps (exact to rounding)."""
        step, gradient = 1e-30, []
        for which in (0, 1):
            for index in np.ndindex(*(self.logits, self.parameters)[which].shape):
                arguments = [self.logits.astype(complex), self.parameters.astype(complex)]
                arguments[which][index] += 1j * step
                gradient.append(self.expectation(*arguments).imag / step)
        return np.array(gradient)


def random_problem(cost, latents, categories, seed=0):
    rng = np.random.default_rng([seed, latents, categories])
    return Problem(cost, rng.normal(size=(latents, categories)), rng.normal(size=(2, latents, categories)))


def estimate_and_gradient(estimator, cost, logits, parameters, seed=SEED, **options):
    """The estimate, and the gradient of each example's value, `[B, coordinates]`; logits [B, N, K]."""
    logits, parameters = tf.convert_to_tensor(logits), tf.convert_to_tensor(parameters)
    with tf.GradientTape() as tape:
        tape.watch([logits, parameters])
        q = ProductCategorical(logits)
        estimate = estimator.estimate(q, lambda z: cost(tf, z, parameters), seed=seed, **options)
    gradients = tape.gradient(estimate.value, [logits, parameters], unconnected_gradients="zero")
    return estimate, tf.concat([tf.reshape(g, [len(logits), -1]) for g in gradients], axis=-1)


def replicated(problem, replicates):
    return (np.broadcast_to(array, (replicates, *array.shape)) for array in (problem.logits, problem.parameters))


def warm(estimator, problem):
    """The estimator after some steps, so that running statistics are not at their start."""
    for step in range(3):
        estimator.update(estimate_and_gradient(estimator, problem.cost, *replicated(problem, 2), seed=[step, 9])[0])
    return estimator


def assert_mean_is(exact, draws):
    """`draws` [R, ...] average to `exact` [...] within 4.5 standard errors in each coordinate."""
    draws = np.asarray(draws)
    error = draws.mean(axis=0) - exact
    bound = 4.5 * draws.std(axis=0, ddof=1) / np.sqrt(len(draws)) + 1e-6 * np.abs(exact).max()
    assert (np.abs(error) <= bound).all(), f"biased by up to {np.max(np.abs(error) / bound):.1f} times the bound"


def assert_unbiased(estimator, problem, replicates=REPLICATES):
    estimate, gradient = estimate_and_gradient(estimator, problem.cost, *replicated(problem, replicates))
    assert_mean_is(problem.value(), estimate.value)
    assert_mean_is(problem.gradient(), gradient)


def assert_unbiased_in_a_batch_of_two(estimator, problems, repetitions=REPLICATES):
    """Each example's gradient over many seeds: a leak between examples would vanish in a large batch."""
    cost = problems[0].cost
    logits = np.stack([problem.logits for problem in problems])
    parameters = np.stack([problem.parameters for problem in problems])

    @tf.function(jit_compile=True)
    def all_gradients(seeds):
        return tf.map_fn(
            lambda seed: estimate_and_gradient(estimator, cost, logits, parameters, seed=seed)[1],
            seeds,
            fn_output_signature=tf.float64,
        )

    seeds = tf.stack([tf.range(repetitions), tf.fill([repetitions], 7)], axis=-1)
    exact = np.stack([problem.gradient() for problem in problems])
    assert_mean_is(exact, all_gradients(seeds))


class TestUnbiased:
    @pytest.mark.parametrize("cost", COSTS)
    @pytest.mark.parametrize(("latents", "categories"), list(itertools.product([1, 3], [2, 3, 7])))
    @pytest.mark.parametrize(("name", "options"), variants(UNBIASED))
    def test_value_and_gradient_average_to_those_of_enumeration(self, name, options, latents, categories, cost):
        problem = random_problem(cost, latents, categories)
        estimator = warm(estimators.get(name, **options), problem)
        assert_unbiased(estimator, problem, FEWER_REPLICATES.get(name, REPLICATES))

    @pytest.mark.parametrize(("name", "options"), variants(UNBIASED))
    def test_examples_of_a_batch_do_not_bias_one_another(self, name, options):
        problems = [random_problem(quadratic, 2, 3, seed) for seed in (1, 2)]
        estimator = warm(estimators.get(name, **options), problems[0])
        assert_unbiased_in_a_batch_of_two(estimator, problems, FEWER_REPLICATES.get(name, REPLICATES))

    def test_oracle_of_this_suite_is_the_sum_written_out_for_one_bit(self):
        problem = Problem(linear, np.array([[0.2, -0.4]]), np.array([[[2.0, -3.0]], [[0.0, 0.0]]]))
        p = 1 / (1 + np.exp(-0.6))
        assert problem.value() == pytest.approx(2 * p - 3 * (1 - p))
        slope = 5 * p * (1 - p)
        np.testing.assert_allclose(problem.gradient(), [slope, -slope, p, 1 - p, 0, 0], atol=1e-15)


class Broken(ScoreFunction):
    """Leave-one-out REINFORCE with hooks for mistakes."""

    def estimate_of(self, costs, log_q, baseline):
        return tf.reduce_mean(costs + tf.stop_gradient(costs - baseline) * with_gradient_of(log_q), axis=0)

    def mistaken_value(self, costs, log_q):
        raise NotImplementedError

    def _estimate(self, q, cost, seed, reduce, context):
        z = self.hard_sample(q, seed)
        value = self.mistaken_value(cost(z), q.log_prob(z))
        return Estimate(value, z, tf.zeros([], value.dtype))


class BaselineOfItsOwnSample(Broken):
    def mistaken_value(self, costs, log_q):
        return self.estimate_of(costs, log_q, tf.reduce_mean(costs, axis=0))


class FlippedSign(Broken):
    def mistaken_value(self, costs, log_q):
        return self.estimate_of(costs, -log_q, self._baseline_of(costs))


class NoGradientOfTheCost(Broken):
    def mistaken_value(self, costs, log_q):
        return self.estimate_of(tf.stop_gradient(costs), log_q, self._baseline_of(costs))


class ValueTimesTwo(Broken):
    def mistaken_value(self, costs, log_q):
        value = self.estimate_of(costs, log_q, self._baseline_of(costs))
        return value + tf.stop_gradient(value)


class BaselineOfTheBatch(Broken):
    def mistaken_value(self, costs, log_q):
        return self.estimate_of(costs, log_q, tf.reduce_mean(costs, axis=1, keepdims=True))


class TestTheSuiteItself:
    """That it sees what is broken; and that the frame of the broken ones is not what it sees."""

    class Sound(Broken):
        def mistaken_value(self, costs, log_q):
            return self.estimate_of(costs, log_q, self._baseline_of(costs))

    @pytest.mark.parametrize("cost", COSTS)
    @pytest.mark.parametrize(
        "broken", [BaselineOfItsOwnSample, FlippedSign, NoGradientOfTheCost, ValueTimesTwo], ids=lambda c: c.__name__
    )
    def test_check_of_the_mean_gradient_finds_a_broken_estimator(self, broken, cost):
        problem = random_problem(cost, 3, 3)
        assert_unbiased(self.Sound(), problem)
        with pytest.raises(AssertionError, match="biased by up to"):
            assert_unbiased(broken(), problem)

    def test_check_of_a_batch_of_two_finds_a_baseline_of_the_batch(self):
        problems = [random_problem(quadratic, 2, 3, seed) for seed in (1, 2)]
        assert_unbiased_in_a_batch_of_two(self.Sound(), problems)
        with pytest.raises(AssertionError, match="biased by up to"):
            assert_unbiased_in_a_batch_of_two(BaselineOfTheBatch(), problems)


class TestBiased:
    @pytest.mark.parametrize("name", WITH_TEMPERATURE)
    def test_bias_of_a_linear_cost_s_gradient_falls_with_the_temperature(self, name):
        problem = random_problem(linear, 1, 3)
        exact = problem.gradient()[:3]
        biases, errors = [], []
        for temperature in (4.0, 2.0, 1.0, 0.5, 0.1):
            estimator = estimators.get(name, temperature=temperature)
            gradient = estimate_and_gradient(estimator, linear, *replicated(problem, 200_000))[1].numpy()[:, :3]
            biases.append(np.linalg.norm(gradient.mean(axis=0) - exact))
            errors.append(np.linalg.norm(gradient.std(axis=0)) / np.sqrt(len(gradient)))
        falls = -np.diff(biases)
        assert (falls > 4.5 * np.hypot(errors[1:], errors[:-1])).all(), (biases, errors)
        assert biases[-1] < 0.05 * biases[0] + 4.5 * errors[-1]


class TestExecution:
    @pytest.mark.parametrize(("name", "options"), variants())
    def test_eager_graph_and_xla_agree(self, name, options):
        problem = random_problem(neural_network, 2, 3)
        estimator = warm(estimators.get(name, **options), problem)

        def run():
            return estimate_and_gradient(estimator, neural_network, *replicated(problem, 5))

        (eager, eager_gradient), *others = (
            execution() for execution in (run, tf.function(run), tf.function(run, jit_compile=True))
        )
        assert np.abs(eager_gradient).max() > 0
        for estimate, gradient in others:
            np.testing.assert_allclose(gradient, eager_gradient, rtol=1e-9, atol=1e-12)
            tf.nest.map_structure(functools.partial(np.testing.assert_allclose, rtol=1e-9), estimate, eager)

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("name", NAMES)
    def test_batch_size_may_be_unknown_when_traced(self, name, training):
        estimator = estimators.get(name)
        shapes = []

        @tf.function(input_signature=[tf.TensorSpec([None, 2, 3], tf.float64)])
        def traced(logits):
            estimate = estimator.estimate(
                ProductCategorical(logits),
                lambda z: tf.reduce_sum(z * logits, axis=[-2, -1]),
                seed=SEED,
                training=training,
            )
            shapes.append((estimate.value.shape.as_list(), estimate.sample.shape.as_list()[1:]))
            return estimate.value

        for batch in (1, 4):
            assert traced(np.ones((batch, 2, 3))).shape == (batch,)
        assert shapes == [([None], [None, 2, 3])]

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize(("name", "options"), variants())
    def test_value_and_sample_have_the_dtype_of_the_distribution(self, name, options, dtype):
        logits, parameters = (tf.cast(a, dtype) for a in replicated(random_problem(quadratic, 2, 3), 4))
        estimate, gradient = estimate_and_gradient(estimators.get(name, **options), quadratic, logits, parameters)
        assert {part.dtype for part in (*estimate, gradient)} == {tf.as_dtype(dtype)}

    @pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
    @pytest.mark.parametrize("name", NAMES)
    def test_value_has_the_shape_of_the_batch_and_auxiliary_none(self, name, batch):
        q = ProductCategorical(tf.zeros([*batch, 2, 3]))
        estimate = estimators.get(name).estimate(q, lambda z: tf.reduce_sum(z, axis=[-2, -1]), seed=SEED)
        assert estimate.value.shape == batch
        assert estimate.sample.shape[1:] == (*batch, 2, 3)
        assert estimate.auxiliary.shape == ()

    @pytest.mark.parametrize("name", NAMES)
    def test_a_hundred_categories_with_extreme_logits_give_finite_results(self, name):
        signs = np.where(np.arange(100) % 2, 100.0, -100.0)
        logits = tf.constant(np.stack([signs, -signs, np.zeros(100)])[:, None], tf.float32)
        estimate, gradient = estimate_and_gradient(estimators.get(name), linear, logits, tf.ones([3, 2, 1, 100]))
        for part in (*estimate, gradient):
            assert np.isfinite(part).all()


class TestEvaluation:
    @pytest.mark.parametrize(("name", "options"), variants())
    def test_samples_are_one_hot_without_auxiliary_or_gradient_for_the_logits(self, name, options):
        problem = random_problem(quadratic, 2, 3)
        estimator = warm(estimators.get(name, **options), problem)
        logits, parameters = replicated(problem, 50)
        estimate, gradient = estimate_and_gradient(estimator, quadratic, logits, parameters, training=False)
        sample = estimate.sample.numpy()
        np.testing.assert_array_equal(np.unique(sample), [0.0, 1.0])
        np.testing.assert_array_equal(sample.sum(-1), np.ones(sample.shape[:-1]))
        assert estimate.auxiliary.numpy() == 0.0
        np.testing.assert_array_equal(gradient[:, :6], np.zeros((50, 6)))
        assert np.abs(gradient[:, 6:]).max() > 0

    @pytest.mark.parametrize(("name", "options"), variants())
    def test_value_averages_to_the_expected_cost(self, name, options):
        problem = random_problem(quadratic, 2, 3)
        estimator = warm(estimators.get(name, **options), problem)
        logits, parameters = replicated(problem, 20_000)
        estimate, _ = estimate_and_gradient(estimator, quadratic, logits, parameters, training=False)
        assert_mean_is(problem.value(), estimate.value)

    @pytest.mark.parametrize("name", [name for name in NAMES if "hard" in estimators.REGISTRY[name].needs])
    def test_value_in_training_too_where_the_estimator_takes_hard_samples(self, name):
        problem = random_problem(quadratic, 2, 3)
        estimate, _ = estimate_and_gradient(estimators.get(name), quadratic, *replicated(problem, 20_000))
        assert_mean_is(problem.value(), estimate.value)


class TestSamples:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("name", sorted(set(NAMES) - set(OWN_NUMBER_OF_SAMPLES)))
    def test_num_samples_different_samples_are_drawn_and_averaged(self, name, training):
        problem = random_problem(quadratic, 2, 3)
        estimator = estimators.get(name, num_samples=6)
        logits, parameters = replicated(problem, 200)
        estimate, _ = estimate_and_gradient(estimator, quadratic, logits, parameters, training=training)
        assert estimate.sample.shape == (6, 200, 2, 3)
        np.testing.assert_allclose(
            estimate.value, quadratic(np, estimate.sample.numpy(), parameters).mean(axis=0), rtol=1e-9
        )
        flat = estimate.sample.numpy().reshape(6, -1)
        assert all((first != second).any() for first, second in itertools.combinations(flat, 2))

    @pytest.mark.parametrize("name", NAMES)
    def test_seed_alone_determines_the_sample(self, name):
        problem = random_problem(quadratic, 2, 3)
        samples = [
            estimate_and_gradient(estimators.get(name), quadratic, *replicated(problem, 50), seed=seed)[0].sample
            for seed in ([1, 2], [1, 2], [1, 3])
        ]
        np.testing.assert_array_equal(samples[0], samples[1])
        assert (samples[0] != samples[2]).numpy().any() == (name not in OWN_NUMBER_OF_SAMPLES)

    @pytest.mark.parametrize("num_samples", [0, -1, 1.5, True, "2"])
    @pytest.mark.parametrize("name", sorted(set(NAMES) - set(OWN_NUMBER_OF_SAMPLES)))
    def test_other_than_positive_integers_are_refused(self, name, num_samples):
        with pytest.raises(InputError, match="num_samples"):
            estimators.get(name, num_samples=num_samples)


class TestRefusals:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("axis", [None, 0, -1, [0, 2, 3]], ids=str)
    @pytest.mark.parametrize("name", NAMES)
    def test_a_cost_of_the_wrong_shape_is_refused(self, name, axis, training):
        q = ProductCategorical(tf.zeros([5, 2, 3]))
        with pytest.raises(InputError, match="one value per sample and example") as raised:
            estimators.get(name).estimate(q, lambda z: tf.reduce_sum(z, axis=axis), seed=SEED, training=training)
        assert "Received: (" in str(raised.value)

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("name", [name for name in NAMES if not estimators.REGISTRY[name].any_reduce])
    def test_an_unsupported_reduce_is_refused(self, name, training):
        q = ProductCategorical(tf.zeros([5, 2, 3]))
        with pytest.raises(InputError, match="supports only the mean over samples as `reduce`"):
            estimators.get(name).estimate(
                q, lambda z: tf.reduce_sum(z, axis=[-2, -1]), seed=SEED, reduce=log_mean_exp, training=training
            )

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("name", [name for name in NAMES if estimators.REGISTRY[name].any_reduce])
    def test_a_supported_reduce_replaces_the_mean(self, name, training):
        problem = random_problem(quadratic, 2, 3)
        logits, parameters = replicated(problem, 5)
        estimate, _ = estimate_and_gradient(
            estimators.get(name, num_samples=4), quadratic, logits, parameters, reduce=log_mean_exp, training=training
        )
        costs = quadratic(np, estimate.sample.numpy(), parameters)
        np.testing.assert_allclose(estimate.value, np.log(np.exp(costs).mean(axis=0)), rtol=1e-9)


class TestState:
    @pytest.mark.parametrize(("name", "options"), variants())
    def test_estimate_changes_nothing_and_update_counts_one_step(self, name, options):
        problem = random_problem(quadratic, 2, 3)
        estimator = warm(estimators.get(name, **options), problem)
        before = [variable.numpy() for variable in estimator.variables]
        estimate, _ = estimate_and_gradient(estimator, quadratic, *replicated(problem, 5))
        for variable, value in zip(estimator.variables, before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
        assert estimator.step.numpy() == 3
        estimator.update(estimate)
        assert estimator.step.numpy() == 4

    @pytest.mark.parametrize("name", WITH_TEMPERATURE)
    def test_scheduled_temperature_follows_the_updates(self, name):
        problem = random_problem(quadratic, 2, 3)
        scheduled = estimators.get(name, temperature=SCHEDULE)
        for _ in range(5):
            scheduled.update(estimate_and_gradient(scheduled, quadratic, *replicated(problem, 5))[0])
        constant = estimators.get(name, temperature=2.0 * 0.5 ** (5 / 10))
        gradients = [estimate_and_gradient(e, quadratic, *replicated(problem, 5))[1] for e in (scheduled, constant)]
        np.testing.assert_allclose(*gradients, rtol=1e-5)

    @pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), "cold", None])
    @pytest.mark.parametrize("name", WITH_TEMPERATURE)
    def test_a_temperature_that_is_not_positive_is_refused(self, name, temperature):
        with pytest.raises(InputError, match="temperature must be a positive"):
            estimators.get(name, temperature=temperature)


def options_to_save():
    yield from variants()
    for name in WITH_TEMPERATURE:
        yield pytest.param(name, {"temperature": SCHEDULE}, id=f"{name}-schedule")


class Holder(keras.Model):
    """A model that owns an estimator, and nothing else."""

    def __init__(self, estimator):
        super().__init__()
        self.estimator = estimator
        self.estimator.build((None, 2, 3))
        self.built = True


class TestSerialization:
    @pytest.mark.parametrize(("name", "options"), options_to_save())
    def test_config_survives_json_and_makes_the_same_estimator(self, name, options):
        problem = random_problem(quadratic, 2, 3)
        estimator = estimators.get(name, **options)
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(estimator)))
        restored = keras.saving.deserialize_keras_object(config)
        assert type(restored) is type(estimator)
        assert restored.get_config() == estimator.get_config()
        results = [estimate_and_gradient(e, quadratic, *replicated(problem, 5)) for e in (estimator, restored)]
        tf.nest.map_structure(np.testing.assert_array_equal, *results)

    @pytest.mark.parametrize(("name", "options"), options_to_save())
    def test_every_option_is_a_config_key(self, name, options):
        config = estimators.get(name, **options).get_config()
        for key, value in options.items():
            assert config[key] == (keras.saving.serialize_keras_object(value) if value is SCHEDULE else value)

    @pytest.mark.parametrize(("name", "options"), options_to_save())
    def test_weights_carry_the_state_over(self, name, options, tmp_path):
        problem = random_problem(quadratic, 2, 3)
        estimator = warm(estimators.get(name, **options), problem)
        path = tmp_path / "holder.weights.h5"
        Holder(estimator).save_weights(path)
        restored = Holder(estimators.get(name, **options))
        restored.load_weights(path)
        assert restored.estimator.step.numpy() == 3
        results = [
            estimate_and_gradient(e, quadratic, *replicated(problem, 5)) for e in (estimator, restored.estimator)
        ]
        tf.nest.map_structure(np.testing.assert_array_equal, *results)


class TestRegistry:
    def test_classes_and_their_saved_names_are_unique_and_of_one_package(self):
        saved = [keras.saving.get_registered_name(cls) for cls in estimators.REGISTRY.values()]
        assert len(set(saved)) == len(NAMES)
        assert all(name.startswith("tfdiscrete.estimators>") for name in saved)

    def test_every_public_estimator_is_registered_under_the_name_of_its_class(self):
        public = {
            value
            for value in vars(estimators).values()
            if isinstance(value, type) and issubclass(value, Estimator) and value is not Estimator
        }
        assert public == set(estimators.REGISTRY.values())
        for name, cls in estimators.REGISTRY.items():
            assert name.replace("_", "") == cls.__name__.lower()
            assert cls.__name__ in estimators.__all__

    @pytest.mark.parametrize("name", NAMES)
    def test_get_makes_the_named_estimator_and_passes_an_estimator_through(self, name):
        estimator = estimators.get(name)
        assert type(estimator) is estimators.REGISTRY[name]
        assert estimators.get(estimator) is estimator

    @pytest.mark.parametrize("name", NAMES)
    def test_an_unknown_name_is_refused_and_the_nearest_named(self, name):
        with pytest.raises(InputError, match=f"unknown estimator '{name}x'. Did you mean '{name}'") as raised:
            estimators.get(name + "x")
        assert all(known in str(raised.value) for known in NAMES)

    @pytest.mark.parametrize("name", NAMES)
    def test_needs_are_among_the_known_ones(self, name):
        needs = estimators.REGISTRY[name].needs
        assert isinstance(needs, frozenset)
        assert needs <= {"hard", "relaxed", "gradient"}
        assert needs & {"hard", "relaxed"}
