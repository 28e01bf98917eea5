"""Every estimator of discrete variables, given some that have Gaussian ones beside them, against quadrature.

The exact expectation is the sum over all codes of Gauss-Hermite quadrature over the Gaussian variables; its gradient,
with respect to the logits, means, log scales and what the cost closes over, is automatic.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.estimators.problems import assert_mean_is
from tfdiscrete import InputError, estimators
from tfdiscrete.distributions import Family, ProductCategorical, ProductMixed, ProductNormal
from tfdiscrete.estimators import Estimate, check
from tfdiscrete.ops import log_mean_exp

NAMES = sorted(name for name, cls in estimators.REGISTRY.items() if cls.takes is Family)
UNBIASED = [name for name in NAMES if estimators.REGISTRY[name].unbiased]
# Those whose cost is evaluated at outcomes: the other variables' gradient has no bias, whatever that of the logits.
AT_OUTCOMES = [name for name in NAMES if "hard" in estimators.REGISTRY[name].needs]
N, K, M, SEED, REPLICATES = 2, 3, 2, [3, 5], 20_000
RNG = np.random.default_rng(0)
LOGITS, LOC, LOG_SCALE, WEIGHTS = (RNG.normal(size=shape) for shape in ((N, K), (M,), (M,), (2, N * K + M)))
PARAMETERS = (LOGITS, LOC, 0.3 * LOG_SCALE, WEIGHTS)


def cost(z, weights):
    """Neither additive nor a product in the two kinds: `[S, B, E]` and `[B, 2, E]` to `[S, B]`."""
    first, second = tf.unstack(tf.einsum("sbe,bwe->sbw", z, weights), axis=-1)
    return tf.tanh(first) + 0.3 * tf.square(second - 0.5)


def law(logits, loc, log_scale):
    return ProductMixed(ProductCategorical(logits), ProductNormal(loc, tf.exp(log_scale)))


def points(logits, loc, log_scale, nodes):
    """All codes with a grid of the Gaussian variables, `[R, E]`, and the logarithm of their weights, `[R]`."""
    latents, categories = logits.shape
    codes = np.eye(categories)[list(itertools.product(range(categories), repeat=latents))]
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    noise = np.array(list(itertools.product(at, repeat=len(loc))))
    log_weights = np.log(np.array(list(itertools.product(weights / weights.sum(), repeat=len(loc))))).sum(-1)
    log_q = tf.reduce_sum(codes * tf.nn.log_softmax(logits), axis=[-2, -1])
    c = loc + tf.exp(log_scale) * noise
    z = tf.concat([np.repeat(codes.reshape(len(codes), -1), len(noise), axis=0), tf.tile(c, [len(codes), 1])], axis=-1)
    return z, tf.reshape(log_q[:, None] + log_weights, [-1])


def exact(parameters, nodes=20, reduce=None):
    """The expectation and its gradient, each parameter's; with `reduce`, of two independent samples."""
    variables = [tf.constant(array) for array in parameters]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        logits, loc, log_scale, weights = variables
        z, log_mass = points(logits, loc, log_scale, nodes)
        costs = cost(z[:, None], weights[None])[:, 0]
        if reduce is not None:
            pairs = np.array(list(itertools.product(range(len(costs)), repeat=2))).T
            log_mass = tf.reduce_sum(tf.gather(log_mass, pairs), axis=0)
            costs = reduce(tf.gather(costs, pairs))
        value = tf.reduce_sum(tf.exp(log_mass) * costs)
    return value.numpy(), [gradient.numpy() for gradient in tape.gradient(value, variables)]


def estimated(estimator, parameters=PARAMETERS, replicates=REPLICATES, seed=SEED, **options):
    """The estimate, and each parameter's gradient of each example, `[B, ...]`."""
    variables = [tf.constant(np.broadcast_to(array, (replicates, *array.shape))) for array in parameters]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        logits, loc, log_scale, weights = variables
        context = tf.reshape(logits, [-1, logits.shape[1] * logits.shape[2]])
        estimate = estimator.estimate(
            law(logits, loc, log_scale), lambda z: cost(z, weights), seed=seed, context=context, **options
        )
    return estimate, tape.gradient(estimate.value, variables, unconnected_gradients="zero")


def warm(estimator):
    for step in range(3):
        estimator.update(estimated(estimator, replicates=2, seed=[step, 9])[0])
    rng = np.random.default_rng(4)
    for variable in estimator.trainable_variables:
        variable.assign(variable.value + 0.3 * rng.normal(size=variable.shape).astype(variable.dtype))
    return estimator


@pytest.mark.parametrize("name", sorted({*UNBIASED, *AT_OUTCOMES}))
def test_value_and_gradient_average_to_those_of_enumeration_and_quadrature(name):
    estimate, gradients = estimated(warm(estimators.get(name)))
    value, exact_gradients = exact(PARAMETERS)
    assert_mean_is(value, estimate.value)
    start = 0 if name in UNBIASED else 1
    for gradient, expected in list(zip(gradients, exact_gradients, strict=True))[start:]:
        assert_mean_is(expected, gradient)


def negative_log_mean_exp(costs):
    return -log_mean_exp(-costs, axis=0)


def test_another_reduction_has_independent_samples_of_both_kinds():
    rng = np.random.default_rng(1)
    parameters = [rng.normal(size=shape) for shape in ((1, 3), (1,), (1,), (2, 4))]
    value, exact_gradients = exact(parameters, nodes=16, reduce=negative_log_mean_exp)
    estimate, gradients = estimated(
        estimators.VIMCO(num_samples=2), parameters, replicates=60_000, reduce=negative_log_mean_exp
    )
    assert_mean_is(value, estimate.value)
    for gradient, expected in zip(gradients, exact_gradients, strict=True):
        assert_mean_is(expected, gradient)


EXECUTED = ("gumbel_softmax", "score_function")


@pytest.mark.parametrize(
    "name", [name if name in EXECUTED else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_graph_and_xla_give_the_eager_values(name):
    estimator = warm(estimators.get(name))

    def run():
        return estimated(estimator, replicates=3)

    eager = tf.nest.flatten(run())
    assert all(np.abs(gradient).max() > 0 for gradient in eager[3:])
    for jit_compile in (False, True):
        for value, expected in zip(tf.nest.flatten(tf.function(run, jit_compile=jit_compile)()), eager, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_evaluation_has_hard_samples_and_no_gradient_for_the_law(name):
    estimate, gradients = estimated(estimators.get(name), replicates=50, training=False)
    codes = estimate.sample.numpy()[..., : N * K].reshape(-1, N, K)
    np.testing.assert_array_equal(np.unique(codes), [0.0, 1.0])
    np.testing.assert_array_equal(codes.sum(-1), np.ones(codes.shape[:-1]))
    for gradient in gradients[:3]:
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))
    assert np.abs(gradients[3]).max() > 0


@pytest.mark.parametrize(("name", "own"), [("enumeration", False), ("direct_arg_max", False), ("vimco", True)])
def test_all_codes_of_an_example_share_their_noise_unless_samples_may_be_reduced_otherwise(name, own):
    estimate, _ = estimated(estimators.get(name, **({"num_samples": 3} if name != "enumeration" else {})), replicates=4)
    c = estimate.sample.numpy()[..., N * K :]
    assert len(np.unique(c)) == (c.size if own else c[0].size)


def test_a_cost_with_a_layer_below_has_its_auxiliary_added():
    def nested(z):
        return Estimate(tf.reduce_sum(z, axis=-1), z, tf.constant(2.0, tf.float64))

    logits, loc, log_scale = (tf.constant(array[None]) for array in PARAMETERS[:3])
    estimate = estimators.ScoreFunction().estimate(law(logits, loc, log_scale), nested, seed=SEED)
    assert estimate.auxiliary.numpy() == 2.0


def test_estimators_of_other_laws_refuse_it():
    for name in ("pathwise", "invertible_gaussian"):
        with pytest.raises(InputError, match="takes a"):
            estimated(estimators.get(name), replicates=2)


def test_a_cost_is_checked_at_both_kinds():
    q = law(*(tf.constant(array[None]) for array in PARAMETERS[:3]))
    check(q, lambda z: tf.reduce_sum(z, axis=-1), "relax", seed=SEED)
    with pytest.raises(InputError, match="gradient"):
        check(q, lambda z: tf.reduce_sum(tf.round(z), axis=-1), "relax", seed=SEED)
