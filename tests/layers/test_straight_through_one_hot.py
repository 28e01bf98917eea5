import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.layers import StraightThroughOneHot
from tfdiscrete.layers.straight_through_one_hot import GRADIENTS
from tfdiscrete.ops import gumbel_noise, step_seed

LOGITS = np.random.default_rng(0).normal(size=(64, 4, 3)).astype("float32")
PROBABILITIES = scipy.special.softmax(LOGITS.astype("float64"), axis=-1)

every_gradient = pytest.mark.parametrize("gradient", GRADIENTS)


@every_gradient
def test_samples_are_the_maximum_of_the_logits_with_the_layer_s_noise(gradient):
    layer = StraightThroughOneHot(gradient, seed=7)
    for step in range(2):
        noise = gumbel_noise(LOGITS.shape, step_seed(7, tf.constant(step, tf.int64), "layer")).numpy()
        np.testing.assert_array_equal(layer(LOGITS, training=True), np.eye(3)[(LOGITS + noise).argmax(-1)])


@every_gradient
@pytest.mark.parametrize("rule", [{"training": True}, {}])
def test_samples_have_the_frequencies_of_the_softmax(rule, gradient):
    layer, logits = StraightThroughOneHot(gradient, inference="sample", seed=7), LOGITS[0, 0]
    counts = layer(np.broadcast_to(logits, (100_000, 3)), **rule).numpy().sum(axis=0)
    assert counts.sum() == 100_000
    assert scipy.stats.chisquare(counts, 100_000 * scipy.special.softmax(logits.astype("float64"))).pvalue > 1e-3


def gradients_of_samples(layer, f, count):
    """The gradient at each of `count` samples, `[count, 3]`."""
    logits = tf.constant(np.broadcast_to(LOGITS[0, 0].astype("float64"), (count, 3)))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = f(layer(logits, training=True))
    return tape.gradient(value, logits).numpy()


def exact_gradient(f):
    """Of sum_k pi_k f(e_k), in the logits."""
    pi = scipy.special.softmax(LOGITS[0, 0].astype("float64"))
    return (np.diag(pi) - np.outer(pi, pi)) @ f(tf.eye(3, dtype=tf.float64)).numpy()


def linear(z):
    return tf.linalg.matvec(z, np.array([1.5, -2.0, 0.7]))


def quadratic(z):
    a = np.random.default_rng(1).normal(size=(3, 3))
    return tf.einsum("sj,jk,sk->s", z, a, z) + linear(z)


def test_gradient_of_every_sample_is_exact_for_a_linear_function():
    gradients = gradients_of_samples(StraightThroughOneHot(dtype="float64", seed=7), linear, 100)
    np.testing.assert_allclose(gradients, np.broadcast_to(exact_gradient(linear), (100, 3)), rtol=1e-10)


@pytest.mark.parametrize(("gradient", "unbiased"), [("reinmax", True), ("probabilities", False)])
def test_mean_gradient_of_a_quadratic_function_is_exact_for_reinmax_alone(gradient, unbiased):
    gradients = gradients_of_samples(StraightThroughOneHot(gradient, dtype="float64", seed=7), quadratic, 100_000)
    error = gradients.std(axis=0) / np.sqrt(len(gradients))
    within = abs(gradients.mean(axis=0) - exact_gradient(quadratic)) < 4.5 * error
    assert within.all() == unbiased


@every_gradient
def test_inference_takes_the_mode_or_the_mean(gradient):
    np.testing.assert_array_equal(StraightThroughOneHot(gradient)(LOGITS), np.eye(3)[LOGITS.argmax(-1)])
    np.testing.assert_allclose(StraightThroughOneHot(gradient, inference="mean")(LOGITS), PROBABILITIES, rtol=1e-5)


@every_gradient
@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float32"])
@pytest.mark.parametrize("categories", [1, 10_000])
def test_many_categories_with_extreme_logits_give_finite_results(categories, dtype, gradient):
    signs = np.where(np.arange(categories) % 2, 100.0, -100.0)
    logits = tf.constant(np.stack([signs, np.zeros(categories)]), tf.float32)
    for rule in ({"training": True}, {"training": False}):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            y = StraightThroughOneHot(gradient, inference="mean", dtype=dtype, seed=7)(logits, **rule)
        weights = tf.cast(tf.random.stateless_normal(y.shape, [1, 2]), y.dtype)
        np.testing.assert_allclose(np.asarray(y, "float32").sum(-1), 1.0, atol=0.01)
        assert np.isfinite(tape.gradient(y, logits, output_gradients=weights)).all()


@every_gradient
def test_a_model_trains_through_the_layer(gradient):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 5)).astype("float32")
    sample = StraightThroughOneHot(gradient, seed=7)
    model = keras.Sequential([keras.layers.Dense(12), keras.layers.Reshape((4, 3)), sample])
    model.compile(keras.optimizers.Adam(0.1), "mse")
    target = np.eye(3)[rng.integers(3, size=4)] * np.ones((64, 1, 1))
    losses = model.fit(x, target, epochs=15, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


def test_an_unknown_gradient_is_refused_and_the_nearest_named():
    with pytest.raises(InputError, match=r"unknown gradient 'rainmax'\. Did you mean 'reinmax'"):
        StraightThroughOneHot("rainmax")


@pytest.mark.parametrize("shape", [(), (None,), (4, None), (4, 0)])
def test_logits_without_a_static_number_of_categories_are_refused(shape):
    with pytest.raises(InputError, match=r"logits must have shape \[\.\.\., K\] with K >= 1 static"):
        StraightThroughOneHot().build(shape)
