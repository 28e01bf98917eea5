import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete import InputError
from tfdiscrete.layers import GumbelSoftmax
from tfdiscrete.ops import gumbel_noise, step_seed

LOGITS = np.random.default_rng(0).normal(size=(64, 4, 3)).astype("float32")
PROBABILITIES = scipy.special.softmax(LOGITS.astype("float64"), axis=-1)


def assert_one_hot(y):
    y = np.asarray(y)
    np.testing.assert_array_equal(np.unique(y), [0.0, 1.0])
    np.testing.assert_array_equal(y.sum(-1), np.ones(y.shape[:-1]))


class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__()
        self.dense = keras.layers.Dense(12)
        self.reshape = keras.layers.Reshape((4, 3))
        self.sample = GumbelSoftmax(**options)

    def call(self, x, training=False):
        return self.sample(self.reshape(self.dense(x)), training=training)


def sequential(**options):
    return keras.Sequential([keras.layers.Dense(12), keras.layers.Reshape((4, 3)), GumbelSoftmax(**options)])


def functional(**options):
    x = keras.Input((5,))
    return keras.Model(x, GumbelSoftmax(**options)(keras.layers.Reshape((4, 3))(keras.layers.Dense(12)(x))))


class TestTraining:
    @pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
    def test_relaxed_samples_are_those_of_numpy_on_the_layer_s_noise(self, temperature):
        layer = GumbelSoftmax(temperature, seed=7)
        for step in range(2):
            noise = (
                gumbel_noise(LOGITS.shape, step_seed(7, tf.constant(step, tf.int64), "layer")).numpy().astype("float64")
            )
            expected = scipy.special.softmax((LOGITS + noise) / temperature, axis=-1)
            np.testing.assert_allclose(layer(LOGITS, training=True), expected, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("hard", [True, False])
    def test_argmax_has_the_frequencies_of_the_softmax(self, hard):
        layer, logits = GumbelSoftmax(0.5, hard=hard, seed=7), LOGITS[0, 0]
        y = layer(np.broadcast_to(logits, (100_000, 3)), training=True).numpy()
        expected = 100_000 * scipy.special.softmax(logits.astype("float64"))
        assert scipy.stats.chisquare(np.bincount(y.argmax(-1), minlength=3), expected).pvalue > 1e-3

    def test_hard_samples_are_exactly_one_hot_with_the_relaxed_gradient(self):
        weights = tf.random.stateless_normal(LOGITS.shape, [1, 2])
        gradients = []
        for hard in (True, False):
            layer, logits = GumbelSoftmax(0.5, hard=hard, seed=7), tf.constant(LOGITS)
            with tf.GradientTape() as tape:
                tape.watch(logits)
                y = layer(logits, training=True)
            gradients.append(tape.gradient(y, logits, output_gradients=weights).numpy())
            if hard:
                assert_one_hot(y)
        assert np.abs(gradients[0]).max() > 0.01
        np.testing.assert_allclose(*gradients, rtol=1e-6, atol=1e-8)

    def test_every_call_and_every_seed_draws_new_noise_and_a_seed_repeats_it(self):
        first, twin, other = (GumbelSoftmax(seed=seed) for seed in (7, 7, 8))
        draws = [layer(LOGITS, training=True).numpy() for layer in (first, first, twin, twin, other)]
        np.testing.assert_array_equal(draws[0], draws[2])
        np.testing.assert_array_equal(draws[1], draws[3])
        noise = [np.log(draw).ravel() for draw in (draws[0], draws[1], draws[4])]
        noise = [values - np.log(PROBABILITIES).ravel() for values in noise]
        assert abs(np.corrcoef(noise) - np.eye(3)).max() < 4.5 / np.sqrt(LOGITS.size)

    def test_a_layer_without_a_seed_keeps_the_one_it_drew(self):
        first, second = GumbelSoftmax(), GumbelSoftmax()
        assert first.seed != second.seed
        assert GumbelSoftmax.from_config(first.get_config()).seed == first.seed

    def test_schedule_counts_training_calls_only(self):
        schedule = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=1, decay_rate=0.5)
        scheduled = GumbelSoftmax(schedule, seed=7)
        for _ in range(3):
            scheduled(LOGITS, training=True)
            scheduled(LOGITS, training=False)
        assert scheduled.step.numpy() == 3
        constant = GumbelSoftmax(2.0 * 0.5**3, seed=7)
        constant.build(LOGITS.shape)
        constant.step.assign(3)
        np.testing.assert_allclose(
            scheduled(LOGITS, training=True), constant(LOGITS, training=True), rtol=1e-5, atol=1e-7
        )

    @pytest.mark.parametrize("hard", [True, False])
    def test_eager_graph_and_xla_agree(self, hard):
        def run(jit_compile):
            layer = GumbelSoftmax(0.5, hard=hard, seed=7)
            layer.build(LOGITS.shape)
            call = tf.function(lambda x: layer(x, training=True), jit_compile=jit_compile)
            return [call(LOGITS).numpy() for _ in range(2)]

        layer = GumbelSoftmax(0.5, hard=hard, seed=7)
        eager = [layer(LOGITS, training=True).numpy() for _ in range(2)]
        np.testing.assert_allclose(run(False), eager, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(run(True), eager, rtol=1e-4, atol=1e-6)

    def test_replicas_draw_different_noise(self):
        strategy = two_replicas()
        with strategy.scope():
            layer = GumbelSoftmax(seed=7)
            layer.build(LOGITS.shape)

        @tf.function
        def step():
            return strategy.experimental_local_results(strategy.run(lambda: layer(LOGITS, training=True)))

        noise = [(np.log(y) - np.log(PROBABILITIES)).ravel() for y in (*step(), *step())]
        assert abs(np.corrcoef(noise) - np.eye(4)).max() < 4.5 / np.sqrt(LOGITS.size)
        assert layer.step.numpy() == 2


class TestInference:
    def test_mode_is_the_one_hot_most_likely_category_and_the_default(self):
        layer = GumbelSoftmax(0.5)
        y = layer(LOGITS)
        assert_one_hot(y)
        np.testing.assert_array_equal(tf.argmax(y, axis=-1), LOGITS.argmax(-1))
        np.testing.assert_array_equal(layer(LOGITS), y)

    @pytest.mark.parametrize("temperature", [0.1, 3.0])
    def test_probabilities_are_the_softmax_at_any_temperature(self, temperature):
        y = GumbelSoftmax(temperature, inference="mean")(LOGITS)
        np.testing.assert_allclose(y, PROBABILITIES, rtol=1e-5)

    def test_probabilities_are_the_mean_of_the_hard_samples(self):
        hard = GumbelSoftmax(0.5, hard=True, inference="mean", seed=7)
        logits = np.broadcast_to(LOGITS[0], (20_000, 4, 3))
        mean, error = hard(logits, training=True).numpy().mean(axis=0), np.sqrt(PROBABILITIES[0] / 20_000)
        assert (np.abs(mean - hard(LOGITS)[0]) < 4.5 * error).all()

    @pytest.mark.parametrize("hard", [True, False])
    def test_sample_draws_from_the_law_of_training_and_leaves_its_noise(self, hard):
        layer = GumbelSoftmax(0.5, hard=hard, inference="sample", seed=7)
        logits = np.broadcast_to(LOGITS[0], (20_000, 4, 3))
        index = tf.argmax(layer(logits), axis=-1).numpy()
        frequencies = np.stack([(index == category).mean(axis=0) for category in range(3)], axis=-1)
        error = np.sqrt(PROBABILITIES[0] * (1 - PROBABILITIES[0]) / 20_000)
        assert (abs(frequencies - PROBABILITIES[0]) < 4.5 * error).all()
        assert (layer(logits).numpy() != layer(logits).numpy()).any()
        assert layer.step.numpy() == 0
        twin = GumbelSoftmax(0.5, hard=hard, seed=7)
        np.testing.assert_array_equal(layer(LOGITS, training=True), twin(LOGITS, training=True))

    def test_samples_of_one_prediction_differ_between_its_batches(self):
        model = keras.Sequential([keras.Input((4, 3)), GumbelSoftmax(0.5, inference="sample", seed=7)])
        y = model.predict(np.zeros((20, 4, 3), "float32"), batch_size=10, verbose=0)
        assert (y[:10] != y[10:]).any()

    def test_predict_and_evaluate_do_not_train(self):
        model = functional(seed=7)
        model.compile("sgd", "mse")
        x = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
        assert_one_hot(model.predict(x, verbose=0))
        model.evaluate(x, np.zeros((8, 4, 3)), verbose=0)
        assert model.layers[-1].step.numpy() == 0


class TestUse:
    @pytest.mark.parametrize("make", [sequential, functional, Subclassed])
    def test_models_of_every_kind_train_through_the_layer(self, make):
        keras.utils.set_random_seed(0)
        model = make(temperature=0.7, hard=True, seed=7)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(64, 5)).astype("float32")
        target = np.eye(3)[rng.integers(3, size=4)] * np.ones((64, 1, 1))
        model.compile(keras.optimizers.Adam(0.1), "mse")
        losses = model.fit(x, target, epochs=15, batch_size=16, verbose=0).history["loss"]
        assert losses[-1] < 0.5 * losses[0]
        np.testing.assert_array_equal(model.predict(x, verbose=0).argmax(-1), target.argmax(-1))

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    @pytest.mark.parametrize("hard", [True, False])
    @pytest.mark.parametrize("inference", ["mode", "mean", "sample"])
    def test_mixed_precision_keeps_the_compute_dtype_and_finite_gradients(self, inference, hard, policy):
        layer, logits = GumbelSoftmax(1e-3, hard=hard, inference=inference, dtype=policy, seed=7), tf.constant(LOGITS)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = layer(100.0 * logits, training=True)
        gradient = tape.gradient(y, logits, output_gradients=tf.cast(LOGITS, y.dtype))
        assert y.dtype == layer.compute_dtype == layer(LOGITS, training=False).dtype
        assert layer.step.dtype == "int64"
        assert np.isfinite(gradient).all()
        np.testing.assert_allclose(tf.reduce_sum(tf.cast(y, tf.float32), axis=-1), 1.0, atol=0.02)

    def test_batch_size_may_be_unknown_when_traced(self):
        layer = GumbelSoftmax(0.5, seed=7)
        layer.build((None, 4, 3))
        shapes = []

        @tf.function(input_signature=[tf.TensorSpec([None, 4, 3])])
        def traced(logits):
            results = layer(logits, training=True), layer(logits)
            shapes.extend(result.shape.as_list() for result in results)
            return results

        for batch in (2, 5):
            assert [result.shape for result in traced(LOGITS[:batch])] == [(batch, 4, 3)] * 2
        assert shapes == [[None, 4, 3]] * 2

    def test_output_shape_is_the_input_s(self):
        assert GumbelSoftmax().compute_output_shape((None, 4, 3)) == (None, 4, 3)
        assert functional().output_shape == (None, 4, 3)

    @pytest.mark.parametrize("training", [True, False])
    @pytest.mark.parametrize("hard", [True, False])
    def test_a_single_category_is_certain(self, hard, training):
        np.testing.assert_array_equal(GumbelSoftmax(hard=hard)(np.ones((2, 1)), training=training), np.ones((2, 1)))

    @pytest.mark.parametrize("temperature", [1e-3, 0.1, 10.0])
    def test_ten_thousand_categories_with_extreme_logits_give_finite_results(self, temperature):
        signs = np.where(np.arange(10_000) % 2, 100.0, -100.0)
        logits = tf.constant(np.stack([signs, np.zeros(10_000)]), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = GumbelSoftmax(temperature, seed=7)(logits, training=True)
        weights = tf.random.stateless_normal(y.shape, [1, 2])
        assert np.isfinite(y).all()
        assert np.isfinite(tape.gradient(y, logits, output_gradients=weights)).all()


class TestSaving:
    @pytest.mark.parametrize("make", [sequential, functional])
    @pytest.mark.parametrize(
        "temperature", [0.7, keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=1, decay_rate=0.9)]
    )
    def test_a_loaded_model_goes_on_with_the_noise_that_comes_next(self, make, temperature, tmp_path):
        model, x = make(temperature=temperature), np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
        draws = [model(x, training=True).numpy() for _ in range(3)]
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.layers[-1].seed == model.layers[-1].seed
        assert loaded.layers[-1].step.numpy() == 3
        following = loaded(x, training=True).numpy()
        np.testing.assert_array_equal(following, model(x, training=True))
        assert all((following != draw).any() for draw in draws)

    def test_weights_carry_the_counter(self, tmp_path):
        model, x = functional(seed=7), np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
        for _ in range(3):
            model(x, training=True)
        model.save_weights(tmp_path / "model.weights.h5")
        twin = functional(seed=7)
        twin.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_array_equal(twin(x, training=True), model(x, training=True))

    def test_checkpoint_carries_the_counter(self, tmp_path):
        model, x = functional(seed=7), np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
        for _ in range(3):
            model(x, training=True)
        path = tf.train.Checkpoint(model=model).save(tmp_path / "checkpoint")
        twin = functional(seed=7)
        tf.train.Checkpoint(model=twin).restore(path).assert_existing_objects_matched()
        np.testing.assert_array_equal(twin(x, training=True), model(x, training=True))


class TestRefusals:
    @pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), float("inf"), "cold", None])
    def test_a_temperature_that_is_not_positive_is_refused(self, temperature):
        with pytest.raises(InputError, match="temperature must be a positive"):
            GumbelSoftmax(temperature)

    def test_an_unknown_inference_rule_is_refused_and_the_nearest_named(self):
        with pytest.raises(InputError, match=r"unknown inference rule 'samples'\. Did you mean 'sample'"):
            GumbelSoftmax(inference="samples")

    @pytest.mark.parametrize("shape", [(), (None,), (4, None), (4, 0)])
    def test_logits_without_a_static_number_of_categories_are_refused(self, shape):
        with pytest.raises(InputError, match=r"logits must have shape \[\.\.\., K\] with K >= 1 static"):
            GumbelSoftmax().build(shape)
