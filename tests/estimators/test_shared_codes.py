"""The costs of codes that all examples share, against those of the codes of each example."""

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical, ProductMixed, ProductNormal
from tfdiscrete.estimators import DirectArgMax, Enumeration, LocalExpectation, Problem, check
from tfdiscrete.estimators.base import CheckedCost
from tfdiscrete.estimators.compare import prepare

SEED = [0, 1]
RNG = np.random.default_rng(0)


def checked(cost):
    return CheckedCost(cost, tf.identity, "Test")


class Decoder:
    """The squared distance of each example from a decoded code, and the shapes of the codes that were decoded."""

    def __init__(self, batch, latents, categories, size=3):
        self.weights = tf.constant(RNG.normal(size=(latents, categories, size)))
        self.x = tf.constant(RNG.normal(size=(*batch, size)))
        self.decoded = []

    def __call__(self, z):
        self.decoded.append(tuple(z.shape))
        decoded = tf.tanh(tf.einsum("...nk,nkh->...h", z, self.weights))
        return tf.reduce_sum((self.x - decoded) ** 2, axis=-1)


class Shared(Decoder):
    def shared(self, z):
        return self(z)


def gradients(estimator, cost, latents, categories):
    logits = tf.constant(np.random.default_rng(1).normal(size=(*cost.x.shape[:-1], latents, categories)))
    with tf.GradientTape() as tape:
        tape.watch([logits, cost.weights])
        value = estimator.estimate(ProductCategorical(logits), cost, seed=SEED).value
    return value, *tape.gradient(value, [logits, cost.weights])


@pytest.mark.parametrize("batch", [(4,), (2, 3)], ids=str)
@pytest.mark.parametrize(("latents", "categories"), [(1, 5), (3, 2)])
def test_enumeration_decodes_each_code_once_and_has_the_same_gradients(latents, categories, batch):
    cost = Shared(batch, latents, categories)
    quick = gradients(Enumeration(), cost, latents, categories)
    assert cost.decoded == [(categories**latents, *[1] * len(batch), latents, categories)]
    plain = Decoder(batch, latents, categories)
    plain.weights, plain.x = cost.weights, cost.x
    for one, other in zip(quick, gradients(Enumeration(), plain, latents, categories), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    assert plain.decoded == [(categories**latents, *batch, latents, categories)]


@pytest.mark.parametrize("make", [LocalExpectation, lambda: DirectArgMax(epsilon=0.3)], ids=["local", "direct"])
@pytest.mark.parametrize("batch", [(4,), (2, 3)], ids=str)
def test_the_neighbours_of_one_variable_are_its_codes(make, batch):
    cost = Shared(batch, 1, 5)
    quick = gradients(make(), cost, 1, 5)
    assert cost.decoded == [(1, *batch, 1, 5), (5, *[1] * len(batch), 1, 5)]
    plain = Decoder(batch, 1, 5)
    plain.weights, plain.x = cost.weights, cost.x
    for one, other in zip(quick, gradients(make(), plain, 1, 5), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_codes_beside_which_gaussian_variables_are_drawn_are_not_shared():
    asked = []

    def cost(z):
        return tf.reduce_sum(z**2, axis=-1)

    cost.shared = asked.append
    q = ProductMixed(
        ProductCategorical(tf.zeros([4, 1, 3], tf.float64)),
        ProductNormal(tf.zeros([4, 2], tf.float64), tf.ones([4, 2], tf.float64)),
    )
    for estimator in (Enumeration(), LocalExpectation()):
        assert estimator.estimate(q, cost, seed=SEED).value.shape == (4,)
    assert not asked


def test_no_gradient_passes_through_the_neighbours_of_one_variable():
    cost = Shared((4,), 1, 5)
    y = tf.one_hot(tf.zeros([2, 4, 1], tf.int32), 5, dtype=tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(cost.weights)
        table = checked(cost).neighbours(y)
    assert table.shape == (2, 4, 1, 5)
    assert tape.gradient(table, cost.weights) is None


@pytest.mark.parametrize("wrong", [lambda z: z[:, 0, 0, 0], lambda z: None], ids=["shape", "none"])
def test_costs_of_another_shape_are_refused(wrong):
    cost = Decoder((4,), 1, 5)
    cost.shared = wrong
    with pytest.raises(InputError, match=r"the cost's `shared` must .* \(5, 4\)\. Received: (\(5,\)|None)"):
        gradients(Enumeration(), cost, 1, 5)


@pytest.mark.parametrize("change", [lambda z: z[..., ::-1], lambda z: 0.5 * z], ids=["order", "half"])
def test_costs_that_are_those_of_other_codes_are_found(change):
    cost = Shared((4,), 2, 3)
    q = ProductCategorical(tf.zeros([4, 2, 3], tf.float64))
    check(q, cost, "enumeration", seed=SEED)
    cost.shared = lambda z: cost(change(z))
    with pytest.raises(InputError, match="the cost's `shared` must give the costs themselves"):
        check(q, cost, "enumeration", seed=SEED)


def test_shared_codes_are_counted_once_for_each_example():
    cost = Shared((2,), 2, 3)
    problem = Problem("shared", np.zeros([2, 3]), ProductCategorical, cost)
    sampler = prepare(problem, Enumeration())
    assert (sampler.evaluations, sampler.with_gradient) == (9, 0)
