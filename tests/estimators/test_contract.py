"""One suite over all of `estimators.REGISTRY`: a new estimator is tested by being registered."""

import functools
import itertools
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.estimators.problems import (
    BROKEN,
    COSTS,
    SEED,
    BaselineOfTheBatch,
    Problem,
    assert_mean_is,
    assert_unbiased,
    assert_unbiased_in_a_batch_of_two,
    distribution_for,
    estimate_and_gradient,
    linear,
    neural_network,
    quadratic,
    random_problem,
    replicated,
    warm,
)
from tfdiscrete import InputError, estimators
from tfdiscrete.distributions import Family, InvertibleGaussian, ProductBernoulli, ProductCategorical, Truncated
from tfdiscrete.estimators import Estimate, Estimator
from tfdiscrete.estimators.base import NEEDS
from tfdiscrete.ops import log_mean_exp

tfd = tfp.distributions

NAMES = sorted(estimators.REGISTRY)

# Settings tested beside the defaults.
OPTIONS = {
    "rebar": [{"temperature": 2.0, "num_samples": 3}],
    "relax": [{"temperature": 2.0, "num_samples": 3}, {"relaxed_cost": False}],
    "score_function": [
        {"baseline": "none"},
        {"baseline": "none", "num_samples": 3},
        {"baseline": "running_mean"},
        {"baseline": "running_mean", "decay": 0.0},
        {"baseline": "leave_one_out", "num_samples": 4},
    ],
    "gumbel_softmax": [{"temperature": 0.3, "num_samples": 2}],
    "straight_through_gumbel_softmax": [{"temperature": 0.3, "num_samples": 2}],
    "reinmax": [{"temperature": 1.5, "num_samples": 2}],
    "invertible_gaussian": [{"temperature": 0.3, "straight_through": True, "num_samples": 2}],
    "generalized_gumbel_softmax": [{"rao_blackwell": True, "num_samples": 2}, {"straight_through": True}],
    "arm": [{"num_samples": 2}],
    "disarm": [{"num_samples": 2}],
    "mu_prop": [{"num_samples": 3}],
    "nvil": [{"num_samples": 3, "hidden_units": 5, "decay": 0.9}],
    "vimco": [{"num_samples": 2}],
    "rao_blackwell": [{"num_exact": 2, "num_samples": 3}, {"baseline": "none"}],
    "stochastic_rao_blackwell": [{"baseline": "none"}],
    "direct_arg_max": [{"epsilon": 0.3, "sign": "both", "num_samples": 2, "num_noises": 3}, {"sign": -1}],
}

# Independent draws of a problem; fewer where the draws do not vary and are many.
REPLICATES = 20_000
FEWER_REPLICATES = {"enumeration": 10}

SCHEDULE = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=10, decay_rate=0.5)


def variants(chosen=NAMES, *, slow_options=False):
    """All (name, options) of the chosen names, as parameters of a test; those with options may be marked as slow."""
    for name in chosen:
        for options in [{}, *OPTIONS.get(name, [])]:
            words = [name, *(f"{key}={value}" for key, value in options.items())]
            marks = [pytest.mark.slow] if options and slow_options else []
            yield pytest.param(name, options, id="-".join(words), marks=marks)


def classes(condition):
    return [name for name in NAMES if condition(estimators.REGISTRY[name])]


def takes_hard_samples(name, options):
    estimator = estimators.get(name, **options)
    return estimator.independent and "hard" in estimator.needs


def has_num_samples(cls):
    return "num_samples" in estimators.get({v: k for k, v in estimators.REGISTRY.items()}[cls]).get_config()


UNBIASED = classes(lambda cls: cls.unbiased and cls.takes is Family)
CATEGORICAL = classes(lambda cls: cls.takes is Family)
ANNEALED = classes(lambda cls: cls.annealed is not None)
WITH_NUM_SAMPLES = classes(has_num_samples)
INDEPENDENT = classes(lambda cls: cls.independent)
ANY_REDUCE = classes(lambda cls: cls.any_reduce)
DISCRETE = classes(lambda cls: cls.takes in (Family, InvertibleGaussian))


def total(z):
    return tf.reduce_sum(z, axis=[-2, -1])


def estimate_at_zero(estimator, batch=(5,), cost=total, **options):
    logits = tf.zeros([*batch, 2, 3])
    return estimator.estimate(distribution_for(estimator, logits), cost, seed=SEED, context=logits, **options)


class TestUnbiased:
    @pytest.mark.parametrize("latents", [1, 3])
    @pytest.mark.parametrize("categories", [2, 3, pytest.param(7, marks=pytest.mark.slow)])
    @pytest.mark.parametrize(("name", "options"), variants(UNBIASED))
    def test_value_and_gradient_average_to_those_of_enumeration(self, name, options, latents, categories):
        for cost in COSTS:
            problem = random_problem(cost, latents, categories)
            estimator = warm(estimators.get(name, **options), problem)
            assert_unbiased(estimator, problem, FEWER_REPLICATES.get(name, REPLICATES))

    @pytest.mark.parametrize(("name", "options"), variants(UNBIASED, slow_options=True))
    def test_examples_of_a_batch_do_not_bias_one_another(self, name, options):
        problems = [random_problem(quadratic, 2, 3, seed) for seed in (1, 2)]
        estimator = warm(estimators.get(name, **options), problems[0])
        assert_unbiased_in_a_batch_of_two(estimator, problems, FEWER_REPLICATES.get(name, REPLICATES))

    @pytest.mark.parametrize("name", sorted({*UNBIASED} & {*ANY_REDUCE}))
    def test_another_reduction_s_gradient_is_that_of_its_expectation_too(self, name):
        options = {"num_samples": 3} if name in WITH_NUM_SAMPLES else {}

        def negative_log_mean_exp(costs):
            return -log_mean_exp(-costs)

        for cost in COSTS:
            problem = random_problem(cost, 1, 3)
            estimator = warm(estimators.get(name, **options), problem)
            estimate, gradient = estimate_and_gradient(
                estimator, cost, *replicated(problem, REPLICATES), reduce=negative_log_mean_exp
            )
            numpy = {"reduce": lambda costs: -np.log(np.mean(np.exp(-costs), axis=0)), "num_samples": 3}
            assert_mean_is(problem.value(**numpy), estimate.value)
            assert_mean_is(problem.gradient(**numpy), gradient)

    def test_oracle_of_this_suite_is_the_sum_written_out_for_one_bit(self):
        problem = Problem(linear, np.array([[0.2, -0.4]]), np.array([[[2.0, -3.0]], [[0.0, 0.0]]]))
        p = 1 / (1 + np.exp(-0.6))
        assert problem.value() == pytest.approx(2 * p - 3 * (1 - p))
        slope = 5 * p * (1 - p)
        np.testing.assert_allclose(problem.gradient(), [slope, -slope, p, 1 - p, 0, 0], atol=1e-15)

    def test_oracle_of_a_reduction_is_the_sum_over_all_pairs(self):
        problem = Problem(linear, np.array([[0.2, -0.4]]), np.array([[[2.0, -3.0]], [[0.0, 0.0]]]))
        p = 1 / (1 + np.exp(-0.6))
        largest = p * p * 2.0 + 2 * p * (1 - p) * 2.0 + (1 - p) ** 2 * -3.0
        assert problem.value(reduce=lambda costs: costs.max(axis=0), num_samples=2) == pytest.approx(largest)


class TestTheSuiteItself:
    """That it sees each unbiased estimator once that is broken."""

    @pytest.mark.parametrize("change", BROKEN, ids=lambda change: type(change).__name__)
    @pytest.mark.parametrize("name", UNBIASED)
    def test_check_of_the_mean_gradient_finds_a_broken_copy(self, name, change):
        problem = random_problem(quadratic, 3, 3)
        with pytest.raises(AssertionError, match="biased by up to"):
            assert_unbiased(estimators.get(name), problem, FEWER_REPLICATES.get(name, REPLICATES), change)

    def test_check_of_a_batch_of_two_finds_a_baseline_of_the_batch(self):
        problems = [random_problem(quadratic, 2, 3, seed) for seed in (1, 2)]
        with pytest.raises(AssertionError, match="biased by up to"):
            assert_unbiased_in_a_batch_of_two(
                estimators.ScoreFunction(), problems, REPLICATES, change=BaselineOfTheBatch()
            )


class TestBiased:
    @staticmethod
    def check_limit(name, cost, annealed_values, left):
        problem, replicates = random_problem(cost, 1, 3), 200_000
        exact = enumerated_gradient(estimators.get(name), problem)
        biases, errors = [], []
        for value in annealed_values:
            estimator = estimators.get(name, **{estimators.REGISTRY[name].annealed: value})
            gradient = estimate_and_gradient(estimator, cost, *replicated(problem, replicates))[1].numpy()[:, :3]
            biases.append(np.linalg.norm(gradient.mean(axis=0) - exact))
            errors.append(np.linalg.norm(gradient.std(axis=0)) / np.sqrt(len(gradient)))
        falls = -np.diff(biases)
        assert (falls > 4.5 * np.hypot(errors[1:], errors[:-1])).all(), (biases, errors)
        assert biases[-1] < left * biases[0] + 4.5 * errors[-1]

    @pytest.mark.parametrize("name", ANNEALED)
    def test_bias_of_a_linear_cost_s_gradient_falls_with_what_is_annealed(self, name):
        self.check_limit(name, linear, (4.0, 2.0, 1.0, 0.5, 0.1), left=0.05)

    @pytest.mark.parametrize("name", ANNEALED)
    def test_so_does_that_of_a_quadratic_one_s(self, name):
        self.check_limit(name, quadratic, (4.0, 1.0, 0.3, 0.1), left=0.1)


def enumerated_gradient(estimator, problem):
    """With respect to the logits, `[N K]`, of the hard expectation under the distribution that the estimator takes."""
    logits = tf.constant(problem.logits[None])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        q = distribution_for(estimator, logits)
        value = (
            estimators.Enumeration()
            .estimate(q, lambda z: problem.cost(tf, z, problem.parameters[None]), seed=SEED)
            .value
        )
    return tape.gradient(value, logits).numpy().ravel()


class TestFamilies:
    """Bernoulli variables and truncated counts, against enumeration and its automatic gradient."""

    @pytest.mark.parametrize(("name", "options"), [p for p in variants(DISCRETE) if takes_hard_samples(*p.values)])
    def test_value_at_hard_samples_of_an_invertible_gaussian_averages_to_the_expected_cost(self, name, options):
        """Its delta weighs the last category of relaxed samples, whose arg max is another law than the hard ones'."""
        loc, weights = np.array([[0.3, -0.2], [0.1, 0.4]]), np.array([[1.0, -2.0, 3.0], [0.5, 2.0, 4.0]])

        def value(estimator, replicates):
            q = InvertibleGaussian(np.broadcast_to(loc, (replicates, 2, 2)), 0.8, temperature=0.5, delta=2.5)
            cost = functools.partial(tf.einsum, "sbnk,nk->sb")
            return estimator.estimate(q, lambda z: cost(z, weights), seed=SEED, context=q.loc).value

        assert_mean_is(value(estimators.Enumeration(), 1)[0], value(estimators.get(name, **options), 1000))

    @pytest.mark.parametrize("name", UNBIASED)
    def test_gradient_for_truncated_counts_averages_to_that_of_enumeration(self, name):
        rates = np.array([0.7, 2.0, 1.2])

        def gradient(estimator, replicates):
            rate = tf.constant(np.broadcast_to(rates, (replicates, 3)))
            with tf.GradientTape() as tape:
                tape.watch(rate)
                q = Truncated(tfd.Poisson(rate), low=0, high=5)
                value = estimator.estimate(
                    q, lambda z: tf.reduce_sum((z - 1.5) ** 2, axis=-1), seed=SEED, context=rate
                ).value
            return tape.gradient(value, rate)

        draws = gradient(estimators.get(name), FEWER_REPLICATES.get(name, REPLICATES))
        assert_mean_is(gradient(estimators.Enumeration(), 1)[0], draws)

    @pytest.mark.parametrize("name", UNBIASED)
    def test_gradient_for_counts_averages_to_the_closed_form_of_poisson(self, name):
        """d/dl E[(z - 3)^2] = 2 (l - 3) + 1 for z ~ Poisson(l), of which the truncation cuts off 3e-15."""

        def gradient(replicates):
            rate = tf.fill([replicates, 1], tf.constant(1.2, tf.float64))
            with tf.GradientTape() as tape:
                tape.watch(rate)
                q = Truncated(tfd.Poisson(rate), low=0, high=16)
                value = (
                    estimators.get(name)
                    .estimate(q, lambda z: tf.reduce_sum((z - 3.0) ** 2, axis=-1), seed=SEED, context=rate)
                    .value
                )
            return tape.gradient(value, rate)

        assert_mean_is(np.array([2.0 * (1.2 - 3.0) + 1.0]), gradient(FEWER_REPLICATES.get(name, REPLICATES)))

    @pytest.mark.parametrize("name", UNBIASED)
    def test_gradient_for_bernoulli_variables_averages_to_that_of_enumeration(self, name):
        log_odds, weights = np.array([-0.7, 0.3, 1.2]), np.array([1.0, -2.0, 0.5])

        def gradient(estimator, replicates):
            logits = tf.constant(np.broadcast_to(log_odds, (replicates, 3)))
            with tf.GradientTape() as tape:
                tape.watch(logits)
                q = ProductBernoulli(logits)
                value = estimator.estimate(
                    q, lambda z: (tf.linalg.matvec(z, weights) - 0.4) ** 2, seed=SEED, context=logits
                ).value
            return tape.gradient(value, logits)

        draws = gradient(estimators.get(name), FEWER_REPLICATES.get(name, REPLICATES))
        assert_mean_is(gradient(estimators.Enumeration(), 1)[0], draws)


class TestExecution:
    @pytest.mark.parametrize(("name", "options"), variants(slow_options=True))
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
                distribution_for(estimator, logits),
                lambda z: tf.reduce_sum(z * logits, axis=[-2, -1]),
                seed=SEED,
                context=logits,
                training=training,
            )
            shapes.append((estimate.value.shape.as_list(), estimate.sample.shape.as_list()[1:]))
            return estimate.value

        for batch in (1, 4):
            assert traced(np.ones((batch, 2, 3))).shape == (batch,)
        # Where the first trace makes an estimator's variables, TensorFlow traces once more.
        assert all(pair == ([None], [None, 2, 3]) for pair in shapes)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize(("name", "options"), variants())
    def test_value_and_sample_have_the_dtype_of_the_distribution(self, name, options, dtype):
        logits, parameters = (tf.cast(a, dtype) for a in replicated(random_problem(quadratic, 2, 3), 4))
        estimate, gradient = estimate_and_gradient(estimators.get(name, **options), quadratic, logits, parameters)
        assert {part.dtype for part in (*estimate, gradient)} == {tf.as_dtype(dtype)}

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("dtype", ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)])
    @pytest.mark.parametrize(("name", "options"), variants())
    def test_half_types_give_a_value_in_float32_and_finite_gradients(self, name, options, dtype, training):
        logits, parameters = (tf.cast(a, dtype) for a in replicated(random_problem(quadratic, 2, 3), 4))
        estimator = estimators.get(name, **options)
        estimate, gradient = estimate_and_gradient(estimator, quadratic, logits, parameters, training=training)
        assert estimate.value.dtype == tf.float32
        assert estimate.sample.dtype == tf.as_dtype(dtype)
        assert np.isfinite(tf.cast(gradient, tf.float32)).all()

    @pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
    @pytest.mark.parametrize("name", NAMES)
    def test_value_has_the_shape_of_the_batch_and_auxiliary_none(self, name, batch):
        estimate = estimate_at_zero(estimators.get(name), batch)
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
    @pytest.mark.parametrize(("name", "options"), variants(DISCRETE))
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

    @pytest.mark.parametrize(("name", "options"), variants(CATEGORICAL))
    def test_value_averages_to_the_expected_cost(self, name, options):
        problem = random_problem(quadratic, 2, 3)
        estimator = warm(estimators.get(name, **options), problem)
        logits, parameters = replicated(problem, 20_000)
        estimate, _ = estimate_and_gradient(estimator, quadratic, logits, parameters, training=False)
        assert_mean_is(problem.value(), estimate.value)

    @pytest.mark.parametrize(
        "name", classes(lambda cls: cls.takes is Family and cls.independent and "hard" in cls.needs)
    )
    def test_value_in_training_too_where_the_estimator_takes_hard_samples(self, name):
        problem = random_problem(quadratic, 2, 3)
        estimate, _ = estimate_and_gradient(estimators.get(name), quadratic, *replicated(problem, 20_000))
        assert_mean_is(problem.value(), estimate.value)


class TestSamples:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("name", INDEPENDENT)
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
        assert (samples[0] != samples[2]).numpy().any() == (name != "enumeration")

    @pytest.mark.parametrize("num_samples", [0, -1, 1.5, True, "2"])
    @pytest.mark.parametrize("name", WITH_NUM_SAMPLES)
    def test_other_than_positive_integers_are_refused(self, name, num_samples):
        with pytest.raises(InputError, match="num_samples"):
            estimators.get(name, num_samples=num_samples)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_says_what_is_approximated_how_at_which_price_and_whose_it_is(name):
    text = estimators.REGISTRY[name].__doc__  # its own, and not a parent's
    for part in ("Approximates", "With", "Requires", "Returns", "Bias", "Evaluations of f", "Source", "Args", "Raises"):
        assert f"{part}:" in text


class TestRefusals:
    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("axis", [None, 0, -1, [0, 2, 3]], ids=str)
    @pytest.mark.parametrize("name", NAMES)
    def test_a_cost_of_the_wrong_shape_is_refused(self, name, axis, training):
        with pytest.raises(InputError, match="one value per sample and example") as raised:
            estimate_at_zero(estimators.get(name), cost=lambda z: tf.reduce_sum(z, axis=axis), training=training)
        assert "Received: (" in str(raised.value)

    @pytest.mark.parametrize("name", ANY_REDUCE)
    @pytest.mark.parametrize(
        "wrong", [tf.reduce_mean, lambda costs: costs, lambda costs: None, None], ids=["all axes", "none", "None", "no"]
    )
    def test_a_reduce_of_other_axes_is_refused(self, name, wrong):
        with pytest.raises(InputError, match="`reduce` must be a function over the first axis alone.* Received: "):
            estimate_at_zero(estimators.get(name), reduce=wrong)

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("name", classes(lambda cls: not cls.any_reduce))
    def test_an_unsupported_reduce_is_refused(self, name, training):
        with pytest.raises(InputError, match="supports only the mean over samples as `reduce`"):
            estimate_at_zero(estimators.get(name), reduce=log_mean_exp, training=training)

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("name", ANY_REDUCE)
    def test_a_supported_reduce_replaces_the_mean(self, name, training):
        problem = random_problem(quadratic, 2, 3)
        logits, parameters = replicated(problem, 5)
        estimate, _ = estimate_and_gradient(
            estimators.get(name, num_samples=4), quadratic, logits, parameters, reduce=log_mean_exp, training=training
        )
        costs = quadratic(np, estimate.sample.numpy(), parameters)
        np.testing.assert_allclose(estimate.value, np.log(np.exp(costs).mean(axis=0)), rtol=1e-9)

    @pytest.mark.parametrize("name", DISCRETE)
    def test_a_single_category_is_refused(self, name):
        logits = tf.zeros([5, 2, 1])
        with pytest.raises(InputError, match=r"at least 2 categories.* Received: logits of shape \(5, 2, 1\)"):
            estimators.get(name).estimate(
                SingleCategory() if name not in CATEGORICAL else ProductCategorical(logits),
                lambda z: tf.reduce_sum(z, axis=[-2, -1]),
                seed=SEED,
                context=logits,
            )

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("name", NAMES)
    def test_a_cost_that_is_not_finite_is_refused_where_it_can_be_seen(self, name, training):
        for bad in (np.nan, np.inf):
            with pytest.raises(InputError, match="needs a cost that is finite .* NaN or infinity at"):
                estimate_at_zero(estimators.get(name), cost=lambda z, bad=bad: total(z) + bad, training=training)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_cost_of_integers_is_refused(self, name):
        with pytest.raises(InputError, match="one value per sample and example.*, a real number. Received: int32"):
            estimate_at_zero(estimators.get(name), cost=lambda z: tf.cast(total(z), tf.int32))

    @pytest.mark.parametrize("graph", [False, True])
    @pytest.mark.parametrize("name", [name for name in NAMES if "gradient" in estimators.get(name).needs])
    def test_a_cost_without_a_gradient_is_refused_by_those_that_need_it_and_in_training_alone(self, name, graph):
        estimator = estimators.get(name)
        estimator.build((5, 2, 3))

        def run(training):
            return estimate_at_zero(estimator, cost=lambda z: tf.round(total(z)), training=training).value

        run = tf.function(run) if graph else run
        with pytest.raises(InputError, match=f"{type(estimator).__name__} needs the cost's gradient .* Received: none"):
            run(True)
        assert np.isfinite(run(False)).all()

    @pytest.mark.parametrize(
        "reduced", [lambda costs: tf.reduce_mean(costs, axis=1, keepdims=True), lambda costs: costs[:, 1:]]
    )
    @pytest.mark.parametrize("name", NAMES)
    def test_a_cost_of_the_wrong_size_is_refused_where_sizes_are_unknown_as_the_graph_is_made(self, name, reduced):
        estimator = estimators.get(name)
        estimator.build((5, 2, 3), (5, 2, 3))

        @tf.function(input_signature=[tf.TensorSpec([None, 2, 3])])
        def value(logits):
            q = distribution_for(estimator, logits)
            return estimator.estimate(q, lambda z: reduced(total(z)), seed=SEED, context=logits).value

        # TensorFlow may rewrite the graph such that another of its operations finds it first.
        with pytest.raises((InputError, tf.errors.InvalidArgumentError)):
            value(tf.zeros([5, 2, 3]))

    @pytest.mark.parametrize("cost", [lambda z: None, lambda z: 1.0], ids=["none", "float"])
    @pytest.mark.parametrize("name", NAMES)
    def test_a_cost_that_is_no_tensor_is_refused(self, name, cost):
        with pytest.raises(InputError, match="one value per sample and example"):
            estimate_at_zero(estimators.get(name), cost=cost)

    @pytest.mark.parametrize("q", [tfd.Gamma(1.0, 1.0), "logits", None], ids=["gamma", "text", "none"])
    @pytest.mark.parametrize("name", DISCRETE)
    def test_another_distribution_is_refused(self, name, q):
        with pytest.raises(InputError, match=f"{estimators.REGISTRY[name].__name__} takes .* Received: "):
            estimators.get(name).estimate(q, lambda z: z, seed=SEED, context=tf.zeros([5]))


class SingleCategory(InvertibleGaussian):
    """No such distribution can be made; the check stands for families to come."""

    logits_shape = tf.TensorShape([5, 2, 1])

    def __init__(self):
        super().__init__(tf.zeros([5, 2, 1]), 1.0)


class TestControlVariates:
    """Of the estimators that own variables: who trains what."""

    @staticmethod
    def gradients(name):
        estimator = estimators.get(name)
        problem = random_problem(quadratic, 2, 3)
        warm(estimator, problem)
        own = [variable.value for variable in estimator.trainable_variables]
        logits, parameters = map(tf.constant, replicated(problem, 50))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([logits, parameters])
            estimate = estimator.estimate(
                distribution_for(estimator, logits),
                lambda z: quadratic(tf, z, parameters),
                seed=SEED,
                context=tf.reshape(parameters, [-1, 12]),
            )
        return (
            own,
            tape.gradient(estimate.value, own),
            tape.gradient(estimate.auxiliary, own),
            tape.gradient(estimate.auxiliary, [logits, parameters]),
        )

    @pytest.mark.parametrize("name", NAMES)
    def test_value_has_no_gradient_for_them_and_auxiliary_has_one_for_each(self, name):
        own, of_value, of_auxiliary, _ = self.gradients(name)
        assert all(gradient is None or not np.abs(gradient).any() for gradient in of_value)
        for variable, gradient in zip(own, of_auxiliary, strict=True):
            assert gradient is not None, variable
            assert np.isfinite(gradient).all()
            assert np.abs(gradient).max() > 0, variable

    @pytest.mark.parametrize("name", NAMES)
    def test_auxiliary_has_no_gradient_for_the_distribution_and_the_cost(self, name):
        *_, of_model = self.gradients(name)
        assert all(gradient is None or not np.abs(gradient).any() for gradient in of_model)


class TestNesting:
    """Two stochastic layers: the inner estimate is the outer cost."""

    @pytest.mark.parametrize("name", UNBIASED)
    def test_gradient_of_two_layers_averages_to_that_of_enumeration(self, name):
        rng = np.random.default_rng(3)
        first, second, table = rng.normal(size=(1, 3)), rng.normal(size=(3, 1, 3)), rng.normal(size=(3, 3))

        def gradients(estimator, replicates):
            above = tf.constant(np.broadcast_to(first, (replicates, 1, 3)))
            below = tf.constant(np.broadcast_to(second, (replicates, 3, 1, 3)))

            def outer_cost(outer):
                inner_logits = tf.einsum("sbk,bknj->sbnj", outer[..., 0, :], below)

                def inner_cost(inner):
                    return tf.einsum("sbj,tsbk,jk->tsb", outer[..., 0, :], inner[..., 0, :], table)

                context = tf.stop_gradient(outer[..., 0, :])
                return inner_estimator.estimate(
                    ProductCategorical(inner_logits), inner_cost, seed=[8, 9], context=context
                )

            inner_estimator = type(estimator).from_config(estimator.get_config())
            with tf.GradientTape() as tape:
                tape.watch([above, below])
                value = estimator.estimate(ProductCategorical(above), outer_cost, seed=SEED, context=above).value
            return tf.concat([tf.reshape(g, [replicates, -1]) for g in tape.gradient(value, [above, below])], axis=-1)

        exact = gradients(estimators.Enumeration(), 1)[0]
        assert_mean_is(exact, gradients(estimators.get(name), FEWER_REPLICATES.get(name, REPLICATES)))

    def test_the_inner_auxiliary_is_added(self):
        def outer_cost(outer):
            return Estimate(tf.reduce_sum(outer, axis=[-2, -1]), outer, tf.constant(2.5))

        assert estimate_at_zero(estimators.ScoreFunction(), cost=outer_cost).auxiliary.numpy() == 2.5


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

    @pytest.mark.parametrize("name", ANNEALED)
    def test_a_schedule_follows_the_updates(self, name):
        problem = random_problem(quadratic, 2, 3)
        annealed = estimators.REGISTRY[name].annealed
        scheduled = estimators.get(name, **{annealed: SCHEDULE})
        for _ in range(5):
            scheduled.update(estimate_and_gradient(scheduled, quadratic, *replicated(problem, 5))[0])
        constant = estimators.get(name, **{annealed: 2.0 * 0.5 ** (5 / 10)})
        gradients = [estimate_and_gradient(e, quadratic, *replicated(problem, 5))[1] for e in (scheduled, constant)]
        np.testing.assert_allclose(*gradients, rtol=1e-5)

    @pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "cold", None])
    @pytest.mark.parametrize("name", ANNEALED)
    def test_what_is_annealed_must_be_positive(self, name, value):
        annealed = estimators.REGISTRY[name].annealed
        with pytest.raises(InputError, match=f"{annealed} must be a positive"):
            estimators.get(name, **{annealed: value})


def options_to_save():
    yield from variants()
    for name in ANNEALED:
        yield pytest.param(name, {estimators.REGISTRY[name].annealed: SCHEDULE}, id=f"{name}-schedule")


class Holder(keras.Model):
    """A model that owns an estimator, and nothing else."""

    def __init__(self, estimator):
        super().__init__()
        self.estimator = estimator
        if not estimator.built:
            self.estimator.build((None, 2, 3), (None, 12))
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
        assert needs <= NEEDS
        assert needs & {"hard", "relaxed"}
