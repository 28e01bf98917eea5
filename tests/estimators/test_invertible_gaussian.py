"""The estimator of the invertible Gaussian: the points of evaluation and the gradient, by NumPy on its own noise."""

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError, estimators
from tfdiscrete.bijectors import PlanarFlow, StickBreaking
from tfdiscrete.distributions import InvertibleGaussian as Distribution
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import InvertibleGaussian
from tfdiscrete.ops import normal

SEED = [1, 2]
LOC = np.random.default_rng(0).normal(size=(4, 2, 3))
SCALE = np.exp(0.3 * np.random.default_rng(1).normal(size=(4, 2, 3)))
VALUES = np.random.default_rng(2).normal(size=(2, 4))
DELTA = 2.5


def planar():
    return PlanarFlow(*(tf.constant(value, tf.float64) for value in ([0.5, 1.2, 0.7], [0.9, -0.5, 0.4], 0.2)))


FLOWS = {"none": lambda: None, "planar": planar, "stick_breaking": StickBreaking}
every_flow = pytest.mark.parametrize("flow", FLOWS.values(), ids=FLOWS)


def cost(z):
    return tf.reduce_sum(z * VALUES, axis=[-2, -1]) ** 2


def slope(z):
    return 2 * (z * VALUES).sum((-2, -1), keepdims=True) * VALUES


def estimate_and_gradients(flow=lambda: None, **options):
    loc, scale = tf.constant(LOC), tf.constant(SCALE)
    with tf.GradientTape() as tape:
        tape.watch([loc, scale])
        q = Distribution(loc, scale, temperature=7.0, delta=DELTA, flow=flow())
        estimate = InvertibleGaussian(**options).estimate(q, cost, seed=SEED)
    return estimate, tape.gradient(estimate.value, [loc, scale])


def by_hand(temperature, num_samples):
    """The noise, v, y = softmax++(v / tau), and dy_i / dv_j, `[S, 4, 2, 4, 3]`, without a flow."""
    noise = normal([num_samples, *LOC.shape], SEED, dtype=tf.float64).numpy()
    v = LOC + SCALE * noise
    weights = np.concatenate([np.exp(v / temperature), np.full((*v.shape[:-1], 1), DELTA)], axis=-1)
    y = weights / weights.sum(-1, keepdims=True)
    jacobian = y[..., None] * (np.eye(4)[:, :3] - y[..., None, :3]) / temperature
    return noise, v, y, jacobian


@pytest.mark.parametrize("straight_through", [False, True])
@pytest.mark.parametrize("num_samples", [1, 3])
def test_value_and_gradients_are_those_of_numpy_at_the_estimator_s_temperature(num_samples, straight_through):
    estimate, gradients = estimate_and_gradients(
        temperature=0.5, num_samples=num_samples, straight_through=straight_through
    )
    noise, v, y, jacobian = by_hand(0.5, num_samples)
    if straight_through:
        y = np.eye(4)[np.where(v.max(-1) > 0, v.argmax(-1), 3)]
    np.testing.assert_allclose(estimate.sample, y, rtol=1e-9)
    np.testing.assert_allclose(estimate.value, cost(y).numpy().mean(axis=0), rtol=1e-9)
    of_v = np.einsum("sbni,sbnij->sbnj", slope(y), jacobian)
    np.testing.assert_allclose(gradients[0], of_v.mean(axis=0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gradients[1], (of_v * noise).mean(axis=0), rtol=1e-9, atol=1e-12)


@every_flow
def test_hard_samples_are_those_of_the_family_and_the_limit_of_the_relaxed_ones(flow):
    hard = estimate_and_gradients(flow, num_samples=500, straight_through=True)[0].sample
    cold = estimate_and_gradients(flow, num_samples=500, temperature=1e-4)[0].sample
    q = Distribution(tf.constant(LOC), tf.constant(SCALE), delta=DELTA, flow=flow())
    np.testing.assert_array_equal(hard, q.sample_one_hot(SEED, 500))
    assert np.mean(np.abs(hard - cold).max(axis=-1) < 0.5) > 0.999


def test_hard_samples_are_not_the_arg_max_of_relaxed_ones_unless_delta_is_one():
    hard = estimate_and_gradients(num_samples=500, straight_through=True)[0].sample
    relaxed = estimate_and_gradients(num_samples=500)[0].sample
    assert np.mean(tf.argmax(hard, axis=-1) != tf.argmax(relaxed, axis=-1)) > 0.05


@every_flow
@pytest.mark.parametrize("straight_through", [False, True])
def test_gradients_pass_through_every_flow(flow, straight_through):
    _, gradients = estimate_and_gradients(flow, straight_through=straight_through)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).min() > 0


def test_needs_are_those_of_where_the_cost_is_evaluated():
    assert InvertibleGaussian().needs == {"relaxed", "gradient"}
    assert InvertibleGaussian(straight_through=True).needs == {"hard", "gradient"}


def test_another_family_is_refused():
    with pytest.raises(
        InputError, match="InvertibleGaussian takes a distributions.InvertibleGaussian. Received: .*ProductCategorical"
    ):
        InvertibleGaussian().estimate(ProductCategorical(tf.zeros([4, 2, 3])), cost, seed=SEED)


@pytest.mark.parametrize("name", ["score_function", "reinmax", "rebar", "enumeration"])
def test_behind_a_flow_an_estimator_that_needs_logits_says_which_do_without(name):
    q = Distribution(tf.constant(LOC), tf.constant(SCALE), flow=StickBreaking())
    with pytest.raises(
        InputError, match="behind a flow, here StickBreaking.* that do without them are 'gumbel_softmax'"
    ):
        estimators.get(name).estimate(q, lambda z: tf.reduce_sum(z, axis=[-2, -1]), seed=[0, 1])


@pytest.mark.parametrize(
    "name",
    ["gumbel_softmax", "straight_through_gumbel_softmax", "invertible_gaussian", "generalized_gumbel_softmax"],
)
def test_and_these_do(name):
    loc = tf.Variable(LOC)
    weights = tf.constant([1.0, -1.0, 2.0, 0.5], LOC.dtype)[: LOC.shape[-1] + 1]
    with tf.GradientTape() as tape:
        q = Distribution(loc, tf.constant(SCALE), flow=StickBreaking())
        value = estimators.get(name).estimate(q, lambda z: tf.reduce_sum(z * weights, axis=[-2, -1]), seed=[0, 1]).value
    assert np.abs(tape.gradient(value, loc)).max() > 0
