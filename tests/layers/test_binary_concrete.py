import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.layers import BinaryConcrete
from tfdiscrete.ops import logistic_noise, step_seed

LOGITS = np.random.default_rng(0).normal(size=(64, 4, 3)).astype("float32")
PROBABILITIES = scipy.special.expit(LOGITS.astype("float64"))


@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_relaxed_samples_are_those_of_numpy_on_the_layer_s_noise(temperature):
    layer = BinaryConcrete(temperature, seed=7)
    for step in range(2):
        noise = logistic_noise(LOGITS.shape, step_seed(7, tf.constant(step, tf.int64), "layer")).numpy()
        expected = scipy.special.expit((LOGITS.astype("float64") + noise) / temperature)
        np.testing.assert_allclose(layer(LOGITS, training=True), expected, rtol=1e-4, atol=1e-6)


def test_hard_samples_are_zero_or_one_with_the_frequencies_of_the_sigmoid():
    layer, count = BinaryConcrete(0.5, hard=True, seed=7), 20_000
    y = layer(np.broadcast_to(LOGITS[0], (count, 4, 3)), training=True).numpy()
    np.testing.assert_array_equal(np.unique(y), [0.0, 1.0])
    error = np.sqrt(PROBABILITIES[0] * (1 - PROBABILITIES[0]) / count)
    assert (abs(y.mean(axis=0) - PROBABILITIES[0]) < 4.5 * error).all()


def test_hard_samples_are_the_rounded_relaxed_ones_with_their_gradient():
    results = []
    for hard in (True, False):
        layer, logits = BinaryConcrete(0.5, hard=hard, seed=7), tf.constant(LOGITS)
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = layer(logits, training=True)
        results.append((y.numpy(), tape.gradient(y, logits, output_gradients=LOGITS).numpy()))
    (hard, gradient), (soft, expected) = results
    np.testing.assert_array_equal(hard, soft >= 0.5)
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("temperature", [0.1, 3.0])
def test_inference_takes_the_mode_or_the_mean_of_the_hard_samples(temperature):
    np.testing.assert_array_equal(BinaryConcrete(temperature)(LOGITS), LOGITS >= 0)
    np.testing.assert_allclose(BinaryConcrete(temperature, inference="mean")(LOGITS), PROBABILITIES, rtol=1e-5)


def test_schedule_counts_training_calls():
    schedule = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=1, decay_rate=0.5)
    scheduled, constant = BinaryConcrete(schedule, seed=7), BinaryConcrete(2.0 * 0.5**2, seed=7)
    for layer in (scheduled, constant):
        for _ in range(2):
            layer(LOGITS, training=True)
    np.testing.assert_allclose(scheduled(LOGITS, training=True), constant(LOGITS, training=True), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float32"])
@pytest.mark.parametrize("temperature", [1e-3, 10.0])
def test_extreme_logits_give_finite_values_and_gradients(temperature, dtype):
    logits = tf.constant([-100.0, -1.0, 0.0, 1.0, 100.0] * 50)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        y = BinaryConcrete(temperature, dtype=dtype, seed=7)(logits, training=True)
    assert np.isfinite(np.asarray(y, "float32")).all()
    assert np.isfinite(tape.gradient(y, logits)).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_rounds_the_samples_of_float32(policy):
    layer = BinaryConcrete(0.3, dtype=policy, seed=7)
    logits = tf.cast(LOGITS, layer.compute_dtype)
    expected = BinaryConcrete(0.3, seed=7)(tf.cast(logits, tf.float32), training=True)
    np.testing.assert_array_equal(layer(logits, training=True), tf.cast(expected, layer.compute_dtype))


def test_a_model_trains_through_the_layer():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    model = keras.Sequential([keras.layers.Dense(4), BinaryConcrete(0.5, hard=True, seed=7)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    target = np.broadcast_to([0.0, 1.0, 1.0, 0.0], (64, 4))
    losses = model.fit(x, target, epochs=15, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_a_temperature_that_is_not_positive_is_refused():
    with pytest.raises(InputError, match="temperature must be a positive"):
        BinaryConcrete(-1.0)
