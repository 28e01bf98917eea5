"""The check of a cost: everything that it finds, and that it passes what is sound."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

from tests.estimators.problems import distribution_for
from tfdiscrete import InputError, estimators
from tfdiscrete.distributions import ProductCategorical, Truncated
from tfdiscrete.estimators import check

tfd = tfp.distributions

SEED = [1, 2]
VALUES = np.random.default_rng(1).normal(size=(2, 2)).astype("float32")
Q = ProductCategorical(tf.constant(np.random.default_rng(0).normal(size=(5, 2, 2)), tf.float32))
GAUSSIAN = distribution_for(estimators.Pathwise(), Q.logits)


def score(z):
    return tf.reduce_sum(z * VALUES, axis=[-2, -1])


def sound(z):
    return tf.tanh(score(z)) + 3.0


@pytest.mark.parametrize("name", sorted(estimators.REGISTRY))
def test_a_sound_cost_passes_with_every_estimator_and_its_state_is_left_alone(name):
    estimator = estimators.get(name)
    assert check(distribution_for(estimator, Q.logits), sound, estimator, seed=SEED, context=Q.logits) is None
    assert not estimator.built
    assert estimator.step.numpy() == 0


@pytest.mark.parametrize("q", [Q, GAUSSIAN, Truncated(tfd.Poisson(tf.fill([5, 2], 1.0)), high=4)], ids=repr)
def test_a_sound_cost_passes_alone(q):
    check(q, lambda z: tf.reduce_sum(tf.reshape(z, [z.shape[0], 5, -1]) ** 2, axis=-1), seed=SEED)


def test_a_decoder_in_half_precision_passes():
    dense = keras.layers.Dense(50, "relu", dtype="mixed_float16")
    check(Q, lambda z: tf.reduce_sum(tf.cast(dense(tf.reshape(z, [-1, 5, 4])), tf.float32), axis=-1), seed=SEED)


def test_a_cost_of_the_wrong_shape_is_found():
    with pytest.raises(InputError, match=r"one value per sample and example, \(2, 5\)\. Received: \(2, 5, 2\)"):
        check(Q, lambda z: tf.reduce_sum(z, axis=-1), seed=SEED)


def test_noise_drawn_inside_is_found():
    with pytest.raises(InputError, match="must give the same value for the same z: draw its noise outside"):
        check(Q, lambda z: score(z) + 0.01 * tf.random.normal([z.shape[0], 5]), seed=SEED)


def test_dropout_is_found():
    dropout = keras.layers.Dropout(0.5, seed=0)
    with pytest.raises(InputError, match="must give the same value for the same z.* no dropout"):
        check(Q, lambda z: score(dropout(z, training=True)), seed=SEED)


@pytest.mark.parametrize(
    "cost",
    [
        lambda z: score(z) - tf.reduce_mean(score(z), axis=0),
        lambda z: score(z) + tf.cumsum(score(z), axis=0),
        lambda z: score(z) + tf.random.stateless_normal([z.shape[0], 5], [3, 4]),
        lambda z: score(z) * z.shape[0],
    ],
    ids=["mean", "sum of those before", "stateless noise", "number of samples"],
)
def test_dependence_between_samples_is_found(cost):
    with pytest.raises(InputError, match=r"depend on that sample alone: .* between S=2 and S=1"):
        check(Q, cost, seed=SEED)


def test_nan_is_found():
    with pytest.raises(InputError, match="check needs a cost that is finite wherever it is evaluated"):
        check(Q, lambda z: score(z) * np.nan, seed=SEED)


def test_infinite_costs_are_found():
    with pytest.raises(InputError, match="NaN or infinity at 10 of 10 places"):
        check(Q, lambda z: score(z) + np.inf, seed=SEED)


def test_an_error_of_the_cost_itself_is_not_hidden():
    with pytest.raises(KeyError, match="mine"):
        check(Q, lambda z: {}["mine"], seed=SEED)


def at_outcomes_alone(z):
    """A look-up by the index of the category, which is no number between outcomes."""
    if not np.isin(z, (0.0, 1.0)).all():
        raise ValueError("not one-hot")
    return sound(z)


def log_of_corners(z):
    return sound(z) + tf.reduce_sum(tf.math.sqrt(2.0 * tf.abs(z - 0.5) - 1.0), axis=[-2, -1])


@pytest.mark.parametrize(
    ("cost", "received"),
    [(at_outcomes_alone, "not one-hot"), (log_of_corners, "NaN or infinity at")],
    ids=["raises", "nan"],
)
@pytest.mark.parametrize("name", ["gumbel_softmax", "generalized_gumbel_softmax"])
def test_a_cost_that_is_not_defined_at_relaxed_points_is_found(name, cost, received):
    match = rf"fails at relaxed z\. Values at outcomes alone are enough for .*score_function.* Received: .*{received}"
    with pytest.raises(InputError, match=match):
        check(Q, cost, name, seed=SEED)


@pytest.mark.parametrize("name", ["score_function", "direct_arg_max", "enumeration"])
def test_it_passes_with_estimators_that_need_values_at_outcomes_alone(name):
    check(Q, at_outcomes_alone, name, seed=SEED)


WITHOUT_DERIVATIVE = {
    "arg max": lambda z: tf.gather(tf.constant([1.0, 2.0]), tf.argmax(z[..., 0, :], axis=-1)),
    "stop_gradient": lambda z: sound(tf.stop_gradient(z)),
    "sign": lambda z: tf.sign(z[..., 0, 0] - 0.5) + 0.0 * score(z),
}


@pytest.mark.parametrize("cost", WITHOUT_DERIVATIVE.values(), ids=WITHOUT_DERIVATIVE)
@pytest.mark.parametrize(
    ("name", "kind"), [("gumbel_softmax", "relaxed"), ("straight_through", "hard"), ("reinmax", "hard")]
)
def test_a_cost_without_a_derivative_is_found_where_one_is_needed(name, kind, cost):
    match = rf"needs the cost's gradient with respect to {kind} z\. Values at outcomes alone .* Received: (none|0)"
    with pytest.raises(InputError, match=match):
        check(Q, cost, name, seed=SEED)
    check(Q, cost, "score_function", seed=SEED)


@pytest.mark.parametrize("name", ["rebar", "gumbel_softmax", "straight_through"])
def test_a_cost_that_has_a_derivative_for_some_variables_alone_is_found(name):
    def cost(z):
        return sound(z[..., :1, :]) + tf.gather(tf.constant([1.0, 2.0]), tf.argmax(z[..., 1, :], axis=-1))

    with pytest.raises(InputError, match="none that tells categories apart for variables 1, on which the cost depends"):
        check(Q, cost, name, seed=SEED)
    check(Q, lambda z: sound(z[..., :1, :]), name, seed=SEED)


def test_a_slope_that_is_zero_at_some_outcomes_alone_is_none_of_an_arg_max():
    q = ProductCategorical(tf.constant([[[0.0, 9.0, 0.0]]]))
    check(q, lambda z: (tf.linalg.matvec(z, [0.0, 1.0, 2.0])[..., 0] - 1.0) ** 2, "straight_through", seed=SEED)
    smooth = lambda z: tf.reduce_sum(z[..., 1] ** 2 * (3.0 - 2.0 * z[..., 1]), axis=-1)  # noqa: E731
    for name in ("rebar", "mu_prop"):
        check(Q, smooth, name, seed=SEED)


def test_a_derivative_that_is_not_finite_at_outcomes_is_found():
    with pytest.raises(InputError, match=r"gradient with respect to hard z\..* not finite at 13 of 40 places"):
        check(Q, lambda z: tf.reduce_sum(tf.sqrt(z[..., 0]), axis=-1), "straight_through", seed=[1, 7])


def test_a_cost_that_does_not_vary_needs_no_derivative():
    check(Q, lambda z: 0.0 * score(z) + 2.0, "gumbel_softmax", seed=SEED)


def test_a_missing_context_is_found():
    with pytest.raises(InputError, match=r"has a baseline of the input: call estimate\(\.\.\., context=x\)"):
        check(Q, sound, "nvil", seed=SEED)
    check(Q, sound, "nvil", seed=SEED, context=Q.logits)


def test_too_large_a_space_is_found():
    with pytest.raises(InputError, match="more than max_terms=2"):
        check(Q, sound, estimators.Enumeration(max_terms=2), seed=SEED)


@pytest.mark.parametrize(
    ("q", "name", "message"),
    [
        (GAUSSIAN, "score_function", "ScoreFunction takes a distributions.Family"),
        (Q, "pathwise", "Pathwise takes a Gaussian"),
        (Q, "invertible_gaussian", "InvertibleGaussian takes a distributions.InvertibleGaussian"),
        (tfd.Gamma(1.0, 1.0), None, "Pathwise takes a Gaussian"),
        (None, None, "Pathwise takes a Gaussian"),
    ],
)
def test_a_distribution_that_is_not_taken_is_found(q, name, message):
    with pytest.raises(InputError, match=message):
        check(q, sound, name, seed=SEED)


def with_neighbours(change):
    def cost(z):
        return sound(z)

    def neighbours(z):
        total = tf.reduce_sum(z * VALUES, axis=[-2, -1], keepdims=True)
        return change(tf.tanh(total - tf.reduce_sum(z * VALUES, axis=-1, keepdims=True) + VALUES) + 3.0)

    cost.neighbours = neighbours
    return cost


def test_neighbours_that_are_not_the_costs_are_found():
    check(Q, with_neighbours(lambda table: table), "direct_arg_max", seed=SEED)
    for change in (lambda table: table[..., ::-1], lambda table: -table, lambda table: table[..., ::-1, :]):
        with pytest.raises(InputError, match="`neighbours` must give the costs themselves"):
            check(Q, with_neighbours(change), "direct_arg_max", seed=SEED)


def test_neighbours_that_are_right_for_z_itself_alone_are_found():
    cost = with_neighbours(lambda table: table)
    cost.neighbours = lambda z: tf.broadcast_to(sound(z)[..., tf.newaxis, tf.newaxis], z.shape)
    with pytest.raises(InputError, match="`neighbours` must give the costs themselves"):
        check(Q, cost, "direct_arg_max", seed=SEED)


def test_names_and_classes_are_checked_as_get_does():
    with pytest.raises(InputError, match=r"unknown estimator 'reinforce'"):
        check(Q, sound, "reinforce", seed=SEED)


def test_it_is_refused_inside_a_traced_function():
    with pytest.raises(InputError, match="call it eagerly, outside of tf.function"):
        tf.function(lambda: check(Q, sound, seed=SEED))()


def test_a_cost_normalized_over_the_batch_is_found():
    def cost(z):
        total = sound(z)
        return (total - tf.reduce_mean(total, axis=1, keepdims=True)) ** 2

    with pytest.raises(InputError, match="each example's cost must depend on that example's z alone"):
        check(Q, cost, seed=SEED)


def test_a_seed_need_not_be_given():
    check(Q, sound, "score_function")
    with pytest.raises(InputError, match="the cost must give the same value for the same z"):
        check(Q, lambda z: sound(z) + tf.random.uniform([]))
