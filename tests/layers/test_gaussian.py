import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.layers import Gaussian

LOC, LOG_SCALE = np.random.default_rng(0).normal(size=(2, 3))
INPUTS = np.concatenate([LOC, LOG_SCALE]).astype("float32")


@pytest.mark.parametrize("rule", [{"training": True}, {}])
def test_samples_have_the_gaussian_s_distribution(rule):
    z = Gaussian(inference="sample", seed=7)(np.broadcast_to(INPUTS, (5000, 6)), **rule).numpy()
    for d in range(3):
        assert scipy.stats.kstest(z[:, d], scipy.stats.norm(LOC[d], np.exp(LOG_SCALE[d])).cdf).pvalue > 1e-4


def test_gradient_is_that_of_the_path():
    inputs = tf.constant(np.broadcast_to(INPUTS, (1, 6)), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        z = Gaussian(dtype="float64", seed=7)(inputs, training=True)
        total = tf.reduce_sum(z * [1.0, 2.0, 3.0])
    expected = np.concatenate([[1.0, 2.0, 3.0], ((z - inputs[:, :3]) * [1.0, 2.0, 3.0])[0]])
    np.testing.assert_allclose(tape.gradient(total, inputs)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("inference", ["mode", "mean"])
def test_at_inference_it_is_the_mean(inference):
    np.testing.assert_allclose(Gaussian(inference=inference)(INPUTS[None])[0], LOC, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float32", "float64"])
def test_extreme_scales_have_finite_gradients(dtype):
    inputs = tf.constant([[0.0, 0.0, -1e4, 8.0]], tf.float64 if dtype == "float64" else tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        z = Gaussian(dtype=dtype, seed=7)(inputs, training=True)
    assert np.isfinite(np.asarray(z, "float64")).all()
    assert np.isfinite(tape.gradient(z, inputs)).all()


@pytest.mark.parametrize("shape", [(4, 3), (4, None)])
def test_an_odd_or_unknown_last_dimension_is_refused(shape):
    with pytest.raises(InputError, match=r"inputs must have shape \[\.\.\., 2 D\].* Received: shape"):
        Gaussian().build(shape)


def test_a_model_trains_through_the_layer():
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    model = keras.Sequential([keras.layers.Dense(8), Gaussian(seed=7), keras.layers.Dense(5)])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    losses = model.fit(x, x, epochs=30, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
