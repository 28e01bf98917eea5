import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.layers import LookupFreeQuantizer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6)).astype("float32")


def probabilities(x, temperature):
    """p(c|x) of all codes, `[B, 2^D]`, from the distances to each."""
    codes = np.array(list(itertools.product([-1.0, 1.0], repeat=x.shape[-1])))
    distances = ((x[:, None].astype("float64") - codes) ** 2).sum(-1)
    return scipy.special.softmax(-distances / temperature, axis=-1)


def test_the_code_is_the_sign_and_the_index_its_bits():
    layer = LookupFreeQuantizer(6)
    result = layer(X)
    np.testing.assert_array_equal(result.code, np.where(X > 0, 1.0, -1.0))
    np.testing.assert_array_equal(result.index, ((X > 0) * 2 ** np.arange(6)).sum(-1))
    np.testing.assert_array_equal(layer.decode(result.index), result.code)
    np.testing.assert_array_equal(layer(np.zeros((1, 6))).code, -np.ones((1, 6)))


def test_index_and_code_are_a_bijection():
    layer = LookupFreeQuantizer(6)
    layer.build((None, 6))
    codes = layer.decode(np.arange(64))
    assert len(np.unique(codes, axis=0)) == 64
    np.testing.assert_array_equal(layer(codes).index, np.arange(64))


@pytest.mark.parametrize("temperature", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("group_bits", [6, 16])
def test_entropies_are_those_of_all_codes_enumerated(temperature, group_bits):
    p = probabilities(X, temperature)
    certain, diverse = LookupFreeQuantizer(6, temperature=temperature, group_bits=group_bits).entropies(tf.constant(X))
    np.testing.assert_allclose(certain, scipy.stats.entropy(p, axis=-1).mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(diverse, scipy.stats.entropy(p.mean(axis=0)), rtol=1e-4)


@pytest.mark.parametrize("group_bits", [1, 2, 4])
def test_the_mean_s_entropy_over_groups_is_their_sum_and_a_bound_from_above(group_bits):
    layer = LookupFreeQuantizer(6, group_bits=group_bits, temperature=0.5)
    x = X[:10]
    groups = [
        scipy.stats.entropy(probabilities(x[:, i : i + group_bits], 0.5).mean(axis=0)) for i in range(0, 6, group_bits)
    ]
    np.testing.assert_allclose(layer.entropies(tf.constant(x))[1], sum(groups), rtol=1e-4)
    assert sum(groups) > scipy.stats.entropy(probabilities(x, 0.5).mean(axis=0)) + 0.01


def test_the_loss_weighs_entropies_and_commitment():
    layer = LookupFreeQuantizer(6, entropy_cost=0.3, diversity=0.7, commitment_cost=0.2, temperature=0.5, group_bits=6)
    p = probabilities(X, 0.5)
    expected = 0.3 * (scipy.stats.entropy(p, axis=-1).mean() - 0.7 * scipy.stats.entropy(p.mean(axis=0)))
    expected += 0.2 * ((X - np.where(X > 0, 1, -1)) ** 2).mean()
    np.testing.assert_allclose(layer(X).loss, expected, rtol=1e-4)


def test_the_gradient_of_the_code_is_the_identity_and_that_of_the_loss_finite_differences():
    layer, x = LookupFreeQuantizer(6, dtype="float64"), tf.constant(X[:5], tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        result = layer(x)
    upstream = RNG.normal(size=x.shape)
    np.testing.assert_array_equal(tape.gradient(result.code, x, output_gradients=tf.constant(upstream)), upstream)
    gradient = tape.gradient(result.loss, x).numpy()
    for row, column in [(0, 0), (2, 3), (4, 5)]:
        step = np.zeros(x.shape)
        step[row, column] = 1e-6
        slope = (layer(x + step).loss - layer(x - step).loss) / 2e-6
        np.testing.assert_allclose(gradient[row, column], slope, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e4, 1e30])
def test_entropies_and_gradients_are_finite_at_the_edges(scale):
    layer, x = LookupFreeQuantizer(6, temperature=0.01), tf.constant(scale * np.sign(X), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        certain, diverse = layer.entropies(x)
        difference = certain - diverse
    assert np.isfinite([certain, diverse]).all()
    assert np.isfinite(tape.gradient(difference, x)).all()
    np.testing.assert_allclose(certain, 6 * np.log(2) if scale < 1 else 0.0, rtol=1e-5)


def test_training_on_the_loss_makes_codes_certain_and_used():
    layer, x = LookupFreeQuantizer(4, group_bits=4, commitment_cost=0.0), tf.Variable(0.1 * X[:, :4] + 0.3)
    layer.build(x.shape)
    before = len(np.unique(layer(x).index))
    for _ in range(300):
        with tf.GradientTape() as tape:
            loss = layer(x).loss
        x.assign_sub(50.0 * tape.gradient(loss, x))
    certain, diverse = layer.entropies(x)
    assert certain < 0.1
    assert diverse > 0.9 * 4 * np.log(2)
    assert len(np.unique(layer(x).index)) == 16 > before


def test_thirty_bits_work_and_their_perplexity_is_that_of_the_bits():
    layer, x = LookupFreeQuantizer(30), RNG.normal(size=(200, 30)).astype("float32") + 0.3
    result = layer(x, training=True)
    assert (result.index.numpy() >= 0).all()
    np.testing.assert_array_equal(layer.decode(result.index), result.code)
    p = (x > 0).mean(axis=0)
    np.testing.assert_allclose(layer.perplexity.result(), np.exp(scipy.stats.entropy([p, 1 - p]).mean()), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_bits": 0}, "num_bits must be an integer of at least 1"),
        ({"num_bits": 31}, "num_bits must be an integer of at least 1 and at most 30"),
        ({"entropy_cost": -1}, "entropy_cost must be a finite number of at least 0"),
        ({"diversity": -1}, "diversity must be a finite number of at least 0"),
        ({"commitment_cost": None}, "commitment_cost must be a finite number of at least 0"),
        ({"temperature": 0.0}, "temperature must be a positive finite number"),
        ({"group_bits": 17}, "group_bits must be an integer of at least 1 and at most 16"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        LookupFreeQuantizer(**{"num_bits": 4, **options})


def test_inputs_of_another_dimension_are_refused():
    with pytest.raises(InputError, match=r"inputs must have shape \[..., D\] with D = 4, the `num_bits`"):
        LookupFreeQuantizer(4)(np.zeros((4, 3)))


def test_every_argument_is_kept():
    layer = LookupFreeQuantizer(4, entropy_cost=0.3, diversity=2.0, commitment_cost=1.0, temperature=0.1, group_bits=2)
    assert LookupFreeQuantizer.from_config(layer.get_config()).get_config() == layer.get_config()
