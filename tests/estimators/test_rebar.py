import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.estimators.control_variates import (
    Training,
    control_variate,
    draw,
    one_bit,
    quadratic_with_offset,
    reference_gradient,
    softmax,
    variance,
)
from tests.estimators.problems import assert_mean_is, quadratic, random_problem
from tfdiscrete import InputError
from tfdiscrete.distributions import InvertibleGaussian, ProductCategorical
from tfdiscrete.estimators import REBAR, RELAX, Enumeration, ScoreFunction
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.ops import gumbel_max, perturb, posterior_gumbels

PROBLEM = random_problem(quadratic, 2, 3)
LOGITS = np.random.default_rng(0).normal(size=(4, 2, 3))
PARAMETERS = np.random.default_rng(1).normal(size=(4, 2, 2, 3))
SEED = (3, 8)

# REBAR and what is built on it.
VARIANTS = {
    "rebar": lambda **options: REBAR(**options),
    "relax": lambda **options: RELAX(hidden=5, **options),
    "black box": lambda **options: RELAX(hidden=5, relaxed_cost=False, **options),
}


def cost_in(np_or_tf, parameters=PARAMETERS):
    return lambda z: quadratic(np_or_tf, z, parameters)


def randomized(estimator, shape=(None, 2, 3)):
    estimator.build(shape)
    rng = np.random.default_rng(2)
    for variable in estimator.trainable_variables:
        variable.assign(variable.numpy() + 0.5 * rng.normal(size=variable.shape))
    return estimator


@pytest.fixture(params=VARIANTS)
def make(request):
    return VARIANTS[request.param]


class TestGradient:
    @pytest.mark.parametrize("num_samples", [1, 3])
    def test_of_a_draw_is_that_of_the_formula(self, make, num_samples):
        estimator = randomized(make(num_samples=num_samples))
        expected = reference_gradient(*control_variate(estimator), cost_in(np), LOGITS, SEED, num_samples)
        estimate, gradient = draw(estimator, cost_in(tf), LOGITS, SEED)
        np.testing.assert_allclose(gradient, expected.mean(axis=0), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(estimate.auxiliary, np.square(expected).sum((-2, -1)).mean(), rtol=1e-6)

    @pytest.mark.parametrize("num_samples", [1, 3])
    def test_of_the_auxiliary_is_that_of_the_gradient_s_mean_squared_norm(self, make, num_samples):
        estimator = randomized(make(num_samples=num_samples))
        c, weights = control_variate(estimator)

        def square(name, index, change):
            moved = {key: np.array(value) for key, value in weights.items()}
            moved[name][index] += change
            gradient = reference_gradient(c, moved, cost_in(np), LOGITS, SEED, num_samples)
            return np.square(gradient).sum((-2, -1)).mean()

        variables = estimator.trainable_variables
        with tf.GradientTape() as tape:
            auxiliary = estimator.estimate(ProductCategorical(LOGITS), cost_in(tf), seed=list(SEED)).auxiliary
        for variable, slope in zip(variables, tape.gradient(auxiliary, [v.value for v in variables]), strict=True):
            expected = np.zeros(variable.shape)
            for index in np.ndindex(*variable.shape):
                expected[index] = (square(variable.name, index, 1e-5) - square(variable.name, index, -1e-5)) / 2e-5
            np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-5, err_msg=variable.name)

    def test_of_the_auxiliary_is_none_for_the_logits_and_for_what_the_cost_closes_over(self, make):
        logits, parameters = tf.constant(LOGITS), tf.constant(PARAMETERS)
        with tf.GradientTape() as tape:
            tape.watch([logits, parameters])
            auxiliary = (
                randomized(make())
                .estimate(ProductCategorical(logits), cost_in(tf, parameters), seed=list(SEED))
                .auxiliary
            )
        assert tape.gradient(auxiliary, [logits, parameters]) == [None, None]

    def test_of_the_value_is_none_for_the_control_variate(self, make):
        """None, not zeros: no pass goes back through the control variate's second derivatives."""
        estimator = randomized(make())
        with tf.GradientTape() as tape:
            value = estimator.estimate(ProductCategorical(LOGITS), cost_in(tf), seed=list(SEED)).value
        own = [variable.value for variable in estimator.trainable_variables]
        assert tape.gradient(value, own) == [None] * len(own)

    def test_for_what_the_cost_closes_over_is_that_at_the_hard_samples(self, make):
        parameters = tf.constant(PARAMETERS)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(parameters)
            estimate = randomized(make(num_samples=3)).estimate(
                ProductCategorical(LOGITS), cost_in(tf, parameters), seed=list(SEED)
            )
            expected = tf.reduce_mean(cost_in(tf, parameters)(estimate.sample), axis=0)
        np.testing.assert_allclose(estimate.value, expected, rtol=1e-12)
        np.testing.assert_allclose(
            tape.gradient(estimate.value, parameters), tape.gradient(expected, parameters), rtol=1e-9
        )

    def test_passes_to_logits_within_the_cost_at_the_hard_samples_alone(self, make):
        """As those of a sampled KL are: the control variate is a function of y, whatever else the cost reads."""
        estimator, logits = randomized(make()), tf.constant(LOGITS)

        def within(logits):
            return lambda z: cost_in(tf)(z) + tf.reduce_sum(tf.square(z) * tf.sin(logits), axis=[-2, -1])

        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            q = ProductCategorical(logits)
            estimate = estimator.estimate(q, within(logits), seed=list(SEED))
            direct = within(logits)(estimate.sample)
        stopped = draw(estimator, within(tf.constant(LOGITS)), LOGITS, SEED)[1]
        np.testing.assert_allclose(
            tape.gradient(estimate.value, logits), stopped + tape.gradient(direct, logits), rtol=1e-9
        )

    def test_of_the_conditional_sample_is_that_of_the_posterior_gumbels(self):
        """The closed form 1 - exp(a - max a) of the derivative of a~ with respect to log pi."""
        logits = tf.constant(LOGITS)
        z = gumbel_max(perturb(logits, 1, [1, 2]))
        with tf.GradientTape() as tape:
            tape.watch(logits)
            conditional = posterior_gumbels(logits, z, [3, 4])[0]
        jacobian = tape.batch_jacobian(conditional, logits).numpy()
        a, pi = conditional.numpy(), softmax(LOGITS)
        for b, n in np.ndindex(4, 2):
            expected = np.diag(1 - np.exp(a[b, n] - a[b, n].max())) @ (np.eye(3) - pi[b, n])
            np.testing.assert_allclose(jacobian[b, n, :, n], expected, rtol=1e-9, atol=1e-12)

    def test_for_an_invertible_gaussian_averages_to_that_of_enumeration(self):
        loc, log_scale = 0.3 * np.random.default_rng(3).normal(size=(2, 2, 2))
        # A category that the draws hardly hold would make the standard error meaningless, of any estimator.
        assert np.exp(InvertibleGaussian(loc, np.exp(log_scale)).logits).min() > 0.05

        def gradient(estimator, replicates):
            parameters = [tf.constant(np.broadcast_to(array, (replicates, 2, 2))) for array in (loc, log_scale)]
            with tf.GradientTape() as tape:
                tape.watch(parameters)
                q = InvertibleGaussian(parameters[0], tf.exp(parameters[1]))
                cost = cost_in(tf, np.broadcast_to(PARAMETERS[:1], (replicates, 2, 2, 3)))
                value = estimator.estimate(q, cost, seed=list(SEED)).value
            return np.stack(tape.gradient(value, parameters), axis=1)

        assert_mean_is(gradient(Enumeration(), 1)[0], gradient(randomized(REBAR()), 2_000))


class TestEvaluations:
    @pytest.mark.parametrize(("name", "expected"), [("rebar", 2), ("relax", 2), ("black box", 1)])
    def test_of_the_cost_are_one_of_the_hard_samples_and_then_one_of_as_many_relaxed_ones(self, name, expected):
        points = []

        def cost(z):
            points.append(z.numpy())
            return tf.reduce_sum(tf.square(z), axis=[-2, -1])

        estimate, _ = draw(VARIANTS[name](num_samples=3), cost, LOGITS, SEED)
        assert [z.shape for z in points] == [(3, 4, 2, 3)] * expected
        np.testing.assert_array_equal(points[0], estimate.sample)
        for relaxed in points[1:]:
            np.testing.assert_allclose(relaxed.sum(axis=-1), 1.0, rtol=1e-6)
            assert (relaxed.max(axis=-1) < 1.0).all()
            np.testing.assert_array_equal(relaxed.argmax(axis=-1), points[0].argmax(axis=-1))

    def test_of_a_family_s_logits_are_one(self, make):
        reads = []

        class Counted(InvertibleGaussian):
            @property
            def logits(self):
                reads.append(1)
                return super().logits

        q = Counted(tf.zeros([4, 2, 2]), tf.ones([4, 2, 2]))
        make().estimate(q, lambda z: tf.reduce_sum(tf.square(z), axis=[-2, -1]), seed=list(SEED))
        assert len(reads) == 1


def rounded(z):
    return tf.reduce_sum(tf.round(z), axis=[-2, -1])


def of_numpy(z):
    return tf.ensure_shape(tf.numpy_function(lambda z: z.sum((-2, -1)), [z], z.dtype), z.shape[:-2])


def without_registered_gradient(z):
    pixels = tf.reshape(z, [-1, 1, 3])
    return tf.reshape(tf.reduce_sum(tf.raw_ops.AdjustHue(images=pixels, delta=0.1), [-2, -1]), [1, -1, 2])[..., 0]


class TestRequirements:
    @pytest.mark.parametrize("name", ["rebar", "relax"])
    @pytest.mark.parametrize("cost", [rounded, of_numpy, without_registered_gradient])
    def test_a_cost_without_a_gradient_on_the_simplex_is_refused(self, name, cost):
        with pytest.raises(InputError, match=r"needs the cost's gradient.*'score_function'"):
            draw(VARIANTS[name](), cost, LOGITS.astype("float32"), SEED)

    @pytest.mark.parametrize("cost", [rounded, of_numpy, without_registered_gradient])
    def test_a_black_box_is_not(self, cost):
        assert np.isfinite(draw(VARIANTS["black box"](), cost, LOGITS.astype("float32"), SEED)[1]).all()

    @pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), "cold", None])
    def test_a_temperature_must_be_positive(self, make, temperature):
        with pytest.raises(InputError, match="temperature must be a positive finite number"):
            make(temperature=temperature)

    def test_training_starts_at_the_temperature_that_is_given(self, make):
        estimator = make(temperature=0.3)
        estimator.build((None, 2, 3))
        assert np.exp(estimator.log_temperature.numpy()) == pytest.approx(0.3)


class TestVariance:
    @pytest.mark.parametrize("seed", range(3))
    def test_of_a_cost_with_an_offset_falls_far_below_that_of_the_score_function(self, seed):
        problem = random_problem(quadratic, 3, 4, seed)
        cost = quadratic_with_offset(problem.parameters)
        rebar, logits = REBAR(), problem.logits.astype("float32")
        Training(rebar, cost, logits, train_logits=False).run(300)
        assert variance(rebar, cost, logits) < 0.1 * variance(ScoreFunction("none"), cost, logits)

    def test_training_lowers_it(self):
        problem = random_problem(quadratic, 3, 4)
        cost, logits = quadratic_with_offset(problem.parameters), problem.logits.astype("float32")
        rebar = REBAR(temperature=3.0)
        rebar.build((None, 3, 4))
        before = variance(rebar, cost, logits)
        Training(rebar, cost, logits, train_logits=False).run(300)
        assert variance(rebar, cost, logits) < 0.8 * before

    def test_of_a_cost_that_relaxes_badly_returns_to_that_of_the_score_function(self):
        """(y - 0.49)^2 lies below both bits' 0.24 and 0.26 between them: at such temperatures its weight is near 0."""
        rebar = REBAR()
        training = Training(rebar, one_bit, np.zeros((1, 2))).run(2000)
        assert abs(rebar.eta.numpy()) < 0.2
        ratio = variance(rebar, one_bit, training.logits) / variance(ScoreFunction("none"), one_bit, training.logits)
        assert 0.9 < ratio < 1.1
        assert softmax(training.logits)[0, 0] > 0.9

    def test_of_such_a_cost_falls_too_where_the_relaxation_is_a_constant_whose_weight_is_learned(self):
        """At a high temperature f(y) is f(1/2) = 1e-4 for all noise, and a weight of 2,500 makes it the baseline."""
        rebar = REBAR(temperature=1000.0)
        training = Training(rebar, one_bit, np.zeros((1, 2)), own_learning_rate=10.0).run(2000)
        assert 2000 < rebar.eta.numpy() < 3000
        assert rebar.log_temperature.numpy() > np.log(100.0)
        ratio = variance(rebar, one_bit, training.logits) / variance(ScoreFunction("none"), one_bit, training.logits)
        assert ratio < 0.01
        assert softmax(training.logits)[0, 0] > 0.9


class TestModel:
    @staticmethod
    def make_vae(estimator, jit_compile):
        encoder, decoder = make_networks(
            "linear", data_shape=(6,), parameter_shape=(6,), num_latents=2, num_categories=3
        )
        vae = DiscreteVAE(encoder, decoder, estimator=estimator, seed=1)
        vae.compile(keras.optimizers.Adam(0.01), jit_compile=jit_compile, steps_per_execution=1)
        return vae

    @pytest.mark.parametrize(
        ("name", "jit_compile"),
        [
            ("rebar", False),
            ("relax", False),
            ("black box", False),
            *(pytest.param(name, True, marks=pytest.mark.slow) for name in VARIANTS),
        ],
    )
    def test_trains_the_control_variate_and_saves_it(self, name, jit_compile, tmp_path):
        x = (np.random.default_rng(0).random((64, 6)) < 0.4).astype("float32")
        vae = self.make_vae(VARIANTS[name](), jit_compile)
        start = [variable.numpy() for variable in vae.trainable_variables]
        history = vae.fit(x, epochs=2, batch_size=16, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        for variable, value in zip(vae.trainable_variables, start, strict=True):
            assert np.isfinite(variable.numpy()).all()
            assert (variable.numpy() != value).any(), variable.path
        vae.save(tmp_path / "vae.keras")
        loaded = keras.saving.load_model(tmp_path / "vae.keras")
        assert len(loaded.estimator.trainable_variables) == len(vae.estimator.trainable_variables)
        for variable, other in zip(loaded.variables, vae.variables, strict=True):
            np.testing.assert_array_equal(variable, other)


@pytest.mark.parametrize("temperature", [1e-30, 1e-7, 1e7])
@pytest.mark.parametrize("make", [REBAR, RELAX])
def test_temperatures_that_float32_does_not_hold_are_refused(make, temperature):
    with pytest.raises(InputError, match="temperature must be from 1e-06 to 1e"):
        make(temperature=temperature)


@pytest.mark.parametrize("learned", [-200.0, 200.0])
def test_a_learned_temperature_stays_within_the_same_limits(learned):
    rebar, logits = REBAR(), tf.constant([[[0.3, -0.2, 0.1]]])
    rebar.build((None, 1, 3))
    rebar.log_temperature.assign(learned)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        estimate = rebar.estimate(
            ProductCategorical(logits), lambda z: tf.reduce_sum(z**2 * [1.0, 2.0, 4.0], axis=[-2, -1]), seed=[0, 1]
        )
    assert np.isfinite(tape.gradient(estimate.value, logits)).all()
    assert np.isfinite(estimate.auxiliary)
