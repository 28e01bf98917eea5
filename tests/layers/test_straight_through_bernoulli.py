import itertools

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.layers import StraightThroughBernoulli
from tfdiscrete.ops import step_seed, uniform

LOGITS = np.random.default_rng(0).normal(size=(64, 4, 3)).astype("float32")
PROBABILITIES = scipy.special.expit(LOGITS.astype("float64"))


def test_samples_are_one_where_the_probability_exceeds_the_layer_s_uniforms():
    layer = StraightThroughBernoulli(seed=7)
    for step in range(2):
        u = uniform(LOGITS.shape, step_seed(7, tf.constant(step, tf.int64), "layer")).numpy()
        np.testing.assert_array_equal(layer(LOGITS, training=True), u <= PROBABILITIES)


@pytest.mark.parametrize("rule", [{"training": True}, {}])
def test_samples_have_the_frequencies_of_the_sigmoid(rule):
    layer, count = StraightThroughBernoulli(inference="sample", seed=7), 20_000
    y = layer(np.broadcast_to(LOGITS[0], (count, 4, 3)), **rule).numpy()
    np.testing.assert_array_equal(np.unique(y), [0.0, 1.0])
    error = np.sqrt(PROBABILITIES[0] * (1 - PROBABILITIES[0]) / count)
    assert (abs(y.mean(axis=0) - PROBABILITIES[0]) < 4.5 * error).all()


def test_gradient_is_exact_for_a_linear_function_of_the_samples():
    weights, logits, step = np.array([1.5, -2.0, 0.7]), LOGITS[0, 0].astype("float64"), 1e-6

    def expectation(logits):
        """sum_z p(z) w z, over all 8 outcomes."""
        p = scipy.special.expit(logits)
        codes = np.array(list(itertools.product([0, 1], repeat=3)))
        return np.sum(np.prod(np.where(codes, p, 1 - p), axis=-1) * (codes @ weights))

    exact = [(expectation(logits + d) - expectation(logits - d)) / (2 * step) for d in step * np.eye(3)]
    leaf = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(leaf)
        value = tf.reduce_sum(weights * StraightThroughBernoulli(dtype="float64", seed=7)(leaf, training=True))
    np.testing.assert_allclose(tape.gradient(value, leaf), exact, rtol=1e-6)


def test_inference_takes_the_mode_or_the_mean():
    np.testing.assert_array_equal(StraightThroughBernoulli()(LOGITS), LOGITS >= 0)
    np.testing.assert_allclose(StraightThroughBernoulli(inference="mean")(LOGITS), PROBABILITIES, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float32", "float64"])
def test_extreme_logits_are_certain_with_finite_gradients(dtype):
    logits = tf.constant([-100.0, 100.0] * 1000, tf.float64 if dtype == "float64" else tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        y = StraightThroughBernoulli(dtype=dtype, seed=7)(logits, training=True)
    np.testing.assert_array_equal(np.asarray(y, "float32"), [0.0, 1.0] * 1000)
    assert np.isfinite(tape.gradient(y, logits)).all()


def test_mixed_precision_draws_the_samples_of_float32():
    half = LOGITS.astype("float16")
    full = StraightThroughBernoulli(seed=7)(half.astype("float32"), training=True)
    np.testing.assert_array_equal(StraightThroughBernoulli(dtype="mixed_float16", seed=7)(half, training=True), full)


def test_a_model_trains_through_the_layer():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    model = keras.Sequential([keras.layers.Dense(4), StraightThroughBernoulli(seed=7)])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    target = np.broadcast_to([0.0, 1.0, 1.0, 0.0], (64, 4))
    losses = model.fit(x, target, epochs=15, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_an_unknown_inference_rule_is_refused():
    with pytest.raises(InputError, match="unknown inference rule 'samples'"):
        StraightThroughBernoulli(inference="samples")
