import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import InputError
from tfdiscrete.layers import InvertibleGaussian
from tfdiscrete.ops import normal, step_seed

tfd = tfp.distributions

RNG = np.random.default_rng(0)
LOC = RNG.normal(size=(16, 4, 3))
LOG_SCALE = RNG.normal(scale=0.5, size=(16, 4, 3))
INPUTS = np.concatenate([LOC, LOG_SCALE], axis=-1).astype("float32")
FLOWS = ["none", "planar", "stick_breaking"]
every_flow = pytest.mark.parametrize("flow", FLOWS)


def built(flow="none", **options):
    """A layer whose planar weights are of the size of a trained one's."""
    layer = InvertibleGaussian(flow=flow, **{"seed": 7, **options})
    layer.build(INPUTS.shape)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def noise_of(shape, seed=7, step=0, purpose="layer"):
    return normal(shape, step_seed(seed, tf.constant(step, tf.int64), purpose)).numpy().astype("float64")


def flowed(layer, y):
    """The layer's flow by NumPy, one for each latent variable."""
    if layer.flow == "planar":
        u, w, b = (np.asarray(weight, "float64") for weight in (layer.u, layer.w, layer.b))
        wu = (w * u).sum(-1, keepdims=True)
        shift = u + (np.log1p((np.e - 1.0) * np.exp(wu)) - 1.0 - wu) * w / (w**2).sum(-1, keepdims=True)
        return y + shift * np.tanh((w * y).sum(-1) + b)[..., None]
    if layer.flow == "stick_breaking":
        shares = scipy.special.expit(y)
        left = np.cumprod(np.concatenate([np.ones_like(y[..., :1]), 1.0 - shares[..., :-1]], axis=-1), axis=-1)
        return shares * left
    return y


def simplex(v, temperature, delta):
    padded = np.concatenate([v / temperature, np.full((*v.shape[:-1], 1), np.log(delta))], axis=-1)
    return scipy.special.softmax(padded, axis=-1)


def hard_of(v):
    return np.eye(v.shape[-1] + 1)[np.where(v.max(-1) > 0, v.argmax(-1), v.shape[-1])]


def perturbed(layer, step=0):
    return flowed(layer, LOC + np.exp(LOG_SCALE) * noise_of(LOC.shape, step=step))


class TestTraining:
    @every_flow
    @pytest.mark.parametrize(("temperature", "delta"), [(0.3, 1.0), (1.0, 0.2), (5.0, 3.0)])
    def test_relaxed_samples_are_those_of_numpy_on_the_layer_s_noise(self, temperature, delta, flow):
        layer = built(flow, temperature=temperature, delta=delta)
        for step in range(2):
            expected = simplex(perturbed(layer, step), temperature, delta)
            np.testing.assert_allclose(layer(INPUTS, training=True), expected, rtol=2e-4, atol=1e-6)

    @every_flow
    def test_hard_samples_are_the_limit_with_the_relaxed_gradient(self, flow):
        weights = tf.random.stateless_normal((*LOC.shape[:-1], 4), [1, 2])
        gradients = []
        for hard in (True, False):
            layer, inputs = built(flow, temperature=0.7, delta=2.0, hard=hard), tf.constant(INPUTS)
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                y = layer(inputs, training=True)
            gradients.append(tape.gradient(y, inputs, output_gradients=weights).numpy())
            if hard:
                np.testing.assert_array_equal(y, hard_of(perturbed(layer)))
        assert np.abs(gradients[0]).max() > 0.01
        np.testing.assert_allclose(*gradients, rtol=1e-6, atol=1e-8)

    def test_hard_samples_have_the_exact_law(self):
        layer, inputs = InvertibleGaussian(hard=True, seed=7), np.broadcast_to(INPUTS[0, 0], (50_000, 6))
        counts = layer(inputs, training=True).numpy().sum(0)
        expected = 50_000 * layer.distribution(tf.constant(INPUTS[0, 0])).discretize().probs_parameter().numpy()
        assert scipy.stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3

    def test_sticks_never_give_the_last_category(self):
        layer = InvertibleGaussian(flow="stick_breaking", hard=True, seed=7)
        inputs = np.broadcast_to(np.float32([-5, -5, -5, 0, 0, 0]), (5_000, 6))
        assert layer(inputs, training=True).numpy()[:, -1].max() == 0.0
        assert layer(inputs).numpy()[:, -1].max() == 0.0

    @every_flow
    def test_fit_trains_through_the_layer_and_its_flow(self, flow):
        keras.utils.set_random_seed(0)
        layer = InvertibleGaussian(0.5, flow=flow, seed=7)
        model = keras.Sequential([keras.layers.Dense(24), keras.layers.Reshape((4, 6)), layer])
        rng = np.random.default_rng(0)
        x = rng.normal(size=(64, 5)).astype("float32")
        target = np.eye(4)[rng.integers(3, size=4)] * np.ones((64, 1, 1))
        model.build((None, 5))
        before = [weight.numpy() for weight in layer.trainable_weights]
        model.compile(keras.optimizers.Adam(0.1), "mse")
        losses = model.fit(x, target, epochs=15, batch_size=16, verbose=0).history["loss"]
        assert losses[-1] < 0.6 * losses[0]
        np.testing.assert_array_equal(model.predict(x, verbose=0).argmax(-1), target.argmax(-1))
        assert [weight.name for weight in layer.trainable_weights] == (["u", "w", "b"] if flow == "planar" else [])
        assert all((old != new.numpy()).all() for old, new in zip(before, layer.trainable_weights, strict=True))

    def test_gradients_of_the_planar_weights_are_those_of_finite_differences(self):
        layer, step = built("planar", temperature=0.8, dtype="float64"), 1e-5
        cost = np.random.default_rng(2).normal(size=(*LOC.shape[:-1], 4))

        def value():
            layer.step.assign(0)
            return tf.reduce_sum(cost * layer(np.asarray(INPUTS, "float64"), training=True))

        with tf.GradientTape() as tape:
            total = value()
        gradients = tape.gradient(total, layer.trainable_variables)
        for weight, gradient in zip(layer.trainable_variables, gradients, strict=True):
            start = weight.numpy()
            for index in list(np.ndindex(start.shape))[::5]:
                ends = []
                for sign in (1.0, -1.0):
                    moved = start.copy()
                    moved[index] += sign * step
                    weight.assign(moved)
                    ends.append(value())
                weight.assign(start)
                np.testing.assert_allclose(gradient[index], (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7)

    def test_a_planar_flow_is_made_for_each_latent_variable(self):
        layer = built("planar")
        assert [tuple(weight.shape) for weight in (layer.u, layer.w, layer.b)] == [(4, 3), (4, 3), (4,)]
        alone = InvertibleGaussian(flow="planar", seed=7)
        alone.build((None, 6))
        assert [tuple(weight.shape) for weight in (alone.u, alone.w, alone.b)] == [(3,), (3,), ()]
        assert (alone.u.numpy() != alone.w.numpy()).all()

    def test_scales_are_kept_within_what_floats_hold(self):
        inputs, layer = tf.constant([[0.0, 0.0, 1e4, -1e4]]), built()
        np.testing.assert_allclose(layer.distribution(inputs).scale, np.exp([[20.0, -20.0]]), rtol=1e-5)


class TestInference:
    @every_flow
    def test_mode_is_the_hard_outcome_at_the_mean_of_the_gaussian(self, flow):
        layer = built(flow)
        np.testing.assert_array_equal(layer(INPUTS), hard_of(flowed(layer, LOC)))
        np.testing.assert_array_equal(layer(INPUTS), layer(INPUTS, training=False))
        assert layer.step.numpy() == 0

    @pytest.mark.parametrize("temperature", [0.1, 3.0])
    def test_mean_is_the_law_of_the_hard_samples_at_any_temperature(self, temperature):
        layer = built(inference="mean", temperature=temperature, delta=temperature)
        y = layer(INPUTS).numpy()
        draws = np.random.default_rng(0).normal(LOC[0], np.exp(LOG_SCALE[0]), size=(100_000, 4, 3))
        frequencies = hard_of(draws).mean(axis=0)
        error = np.sqrt(frequencies * (1.0 - frequencies) / 100_000)
        assert (np.abs(y[0] - frequencies) < 4.5 * error + 1e-6).all()
        np.testing.assert_allclose(y.sum(-1), np.ones(y.shape[:-1]), atol=1e-5)

    @every_flow
    def test_sample_draws_as_in_training_with_noise_of_its_own(self, flow):
        layer = built(flow, inference="sample", temperature=0.6)
        noise = noise_of(LOC.shape, purpose="layer at inference")
        expected = simplex(flowed(layer, LOC + np.exp(LOG_SCALE) * noise), 0.6, 1.0)
        np.testing.assert_allclose(layer(INPUTS), expected, rtol=2e-4, atol=1e-6)
        assert (layer.step.numpy(), layer.inference_draws.numpy()) == (0, 1)
        np.testing.assert_allclose(
            layer(INPUTS, training=True), simplex(perturbed(layer), 0.6, 1.0), rtol=2e-4, atol=1e-6
        )


class TestDistribution:
    @every_flow
    def test_distribution_is_that_of_the_samples(self, flow):
        layer = built(flow, temperature=0.6, delta=2.0)
        relaxed = layer.distribution(tf.constant(INPUTS))
        expected = relaxed.sample([], seed=step_seed(7, tf.constant(0, tf.int64), "layer"))
        assert relaxed.batch_shape == (16, 4)
        np.testing.assert_allclose(layer(INPUTS, training=True), expected, rtol=1e-5, atol=1e-6)

    def test_kl_between_the_distributions_of_one_layer_without_a_flow_has_a_closed_form(self):
        layer = built(temperature=0.6)
        q, p = layer.distribution(tf.constant(INPUTS)), layer.distribution(tf.zeros(INPUTS.shape))
        expected = np.sum(0.5 * (np.exp(2 * LOG_SCALE) + LOC**2 - 1.0) - LOG_SCALE, axis=-1)
        np.testing.assert_allclose(tfd.kl_divergence(q, p), expected, rtol=1e-4)


class TestSaving:
    @every_flow
    def test_a_loaded_model_goes_on_with_its_schedule_noise_and_weights(self, flow, tmp_path):
        schedule = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=1, decay_rate=0.5)
        x = keras.Input((4, 6))
        model = keras.Model(x, InvertibleGaussian(schedule, delta=0.5, flow=flow, hard=False, inference="sample")(x))
        for _ in range(3):
            model(INPUTS, training=True)
        model(INPUTS)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        layer = loaded.layers[-1]
        assert (layer.flow, layer.delta, layer.step.numpy(), layer.inference_draws.numpy()) == (flow, 0.5, 3, 1)
        assert layer.current_temperature().numpy() == 0.25
        for training in (True, False):
            np.testing.assert_array_equal(loaded(INPUTS, training=training), model(INPUTS, training=training))
        assert layer.current_temperature().numpy() == 0.125


class TestRefusals:
    @pytest.mark.parametrize("delta", [0, -1.0, float("nan"), float("inf"), None])
    def test_a_delta_that_is_not_positive_is_refused(self, delta):
        with pytest.raises(InputError, match="delta must be a positive finite number"):
            InvertibleGaussian(delta=delta)

    def test_an_unknown_flow_is_refused_and_the_nearest_named(self):
        with pytest.raises(InputError, match=r"unknown flow 'planer'\. Did you mean 'planar'"):
            InvertibleGaussian(flow="planer")

    @pytest.mark.parametrize("flow", ["planar", "stick_breaking"])
    def test_the_mean_behind_a_flow_is_refused(self, flow):
        with pytest.raises(InputError, match=r'inference="mean" needs flow="none".*Use inference="mode" or "sample"'):
            InvertibleGaussian(flow=flow, inference="mean")

    @pytest.mark.parametrize("shape", [(), (4, None), (4, 0), (4, 5)])
    def test_inputs_without_a_static_even_length_are_refused(self, shape):
        with pytest.raises(InputError, match=r"inputs must have shape \[\.\.\., 2 \(K-1\)\].*Received: shape"):
            InvertibleGaussian().build(shape)

    def test_a_planar_flow_of_unknown_many_latent_variables_is_refused(self):
        with pytest.raises(InputError, match=r"all dimensions of the inputs but the first must be static"):
            InvertibleGaussian(flow="planar").build((None, None, 6))


def test_the_distribution_before_the_layer_is_built_is_refused():
    with pytest.raises(InputError, match="call it on inputs first"):
        InvertibleGaussian().distribution(np.zeros((2, 4), "float32"))


def test_planar_parameters_stay_in_float32_under_mixed_precision():
    x = np.random.default_rng(0).normal(size=(4, 2, 6)).astype("float32")
    wide, mixed = (InvertibleGaussian(flow="planar", seed=7, dtype=policy) for policy in ("float32", "mixed_bfloat16"))
    for layer in (wide, mixed):
        layer.build(x.shape)
        layer.u.assign(0.1234567 * np.ones(layer.u.shape))
    exact = tf.cast(tf.cast(x, tf.bfloat16), tf.float32)
    np.testing.assert_array_equal(mixed(x, training=True), tf.cast(wide(exact, training=True), tf.bfloat16))
