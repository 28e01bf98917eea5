"""The table of the costs of all codes that differ in one variable, against a loop."""

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.estimators.base import CheckedCost

RNG = np.random.default_rng(0)


def one_hot_codes(samples, batch, latents, categories):
    return np.eye(categories)[RNG.integers(categories, size=(samples, *batch, latents))]


def table_of_a_loop(cost, y):
    table = np.empty(y.shape)
    for n, k in np.ndindex(*y.shape[-2:]):
        changed = y.copy()
        changed[..., n, :] = np.eye(y.shape[-1])[k]
        table[..., n, k] = cost(changed)
    return table


def recorder(batch, latents, categories):
    """A cost without symmetries, and the leading sizes at which it was called."""
    values, calls = RNG.normal(size=(*batch, latents, categories)), []

    def cost(z):
        calls.append(z.shape[0])
        return tf.tanh(tf.reduce_sum(z * values, axis=[-2, -1])) + tf.reduce_prod(z[..., 0] + 0.5, axis=-1)

    return cost, calls


def checked(cost):
    return CheckedCost(cost, tf.identity, "Test")


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)], ids=str)
@pytest.mark.parametrize(("latents", "categories"), [(1, 2), (1, 5), (3, 2), (2, 4)])
def test_each_entry_is_the_cost_of_that_change(latents, categories, batch, samples):
    y = one_hot_codes(samples, batch, latents, categories)
    cost, _ = recorder(batch, latents, categories)
    table = checked(cost).neighbours(tf.constant(y))
    np.testing.assert_allclose(table, table_of_a_loop(cost, y), rtol=1e-12)


def test_other_codes_alone_are_evaluated_in_one_call_where_the_own_cost_is_known():
    y = one_hot_codes(2, (4,), 3, 5)
    cost, calls = recorder((4,), 3, 5)
    known = tf.random.stateless_normal([2, 4], [0, 1], dtype=tf.float64)
    table = checked(cost).neighbours(tf.constant(y), known).numpy()
    assert calls == [3 * 4 * 2]
    own = np.where(y == 1.0, table, 0.0).sum(-1)
    np.testing.assert_array_equal(own, np.broadcast_to(known.numpy()[..., None], own.shape))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_and_the_number_of_codes_is_still_known(jit_compile):
    values = RNG.normal(size=(2, 3))
    shapes = []

    def cost(z):
        shapes.append(z.shape)
        return tf.reduce_sum(z * values, axis=[-2, -1])

    @tf.function(jit_compile=jit_compile, input_signature=[tf.TensorSpec([3, None, 2, 3], tf.float64)])
    def traced(y):
        return checked(cost).neighbours(y)

    y = one_hot_codes(3, (5,), 2, 3)
    np.testing.assert_allclose(traced(y), table_of_a_loop(cost, y), rtol=1e-12)
    assert shapes[1].as_list() == [12, None, 2, 3]


class LinearFirst:
    """A cost whose first layer, of weights `[N, K, H]`, moves by one row for each change."""

    def __init__(self, weights, out):
        self.weights, self.out, self.calls = weights, out, []

    def __call__(self, z):
        self.calls.append("cost")
        return self.rest(tf.einsum("sbnk,nkh->sbh", z, self.weights))

    def rest(self, hidden):
        return tf.einsum("...h,h->...", tf.tanh(hidden), self.out)

    def neighbours(self, z):
        self.calls.append("neighbours")
        hidden = tf.einsum("sbnk,nkh->sbh", z, self.weights)
        own = tf.einsum("sbnk,nkh->sbnh", z, self.weights)
        return self.rest((hidden[:, :, None] - own)[..., None, :] + self.weights)


def linear_first(latents=3, categories=4):
    return LinearFirst(RNG.normal(size=(latents, categories, 6)), RNG.normal(size=6))


def test_a_cost_that_knows_its_neighbours_is_asked_for_them_alone():
    cost, y = linear_first(), one_hot_codes(2, (5,), 3, 4)
    table = checked(cost).neighbours(tf.constant(y))
    assert cost.calls == ["neighbours"]
    np.testing.assert_allclose(table, table_of_a_loop(cost, y), rtol=1e-9)
    np.testing.assert_allclose(table, checked(lambda z: cost(z)).neighbours(tf.constant(y)), rtol=1e-9)


@pytest.mark.parametrize("quick", [False, True])
def test_no_gradient_passes_to_what_the_cost_closes_over(quick):
    cost, y = linear_first(), tf.constant(one_hot_codes(2, (5,), 3, 4))
    out = cost.out = tf.constant(cost.out)
    with tf.GradientTape() as tape:
        tape.watch(out)
        table = checked(cost if quick else lambda z: cost(z)).neighbours(y)
    assert tape.gradient(table, out) is None


def test_the_cost_is_given_the_decoded_codes_and_half_types_become_float32():
    def cost(z):
        assert z.shape == (1, 5, 3)
        return tf.cast(z[..., 0], tf.float16)

    cost.neighbours = lambda z: tf.cast(z[..., tf.newaxis] + tf.range(4.0, dtype=z.dtype), tf.float16)
    y = tf.constant(one_hot_codes(1, (5,), 3, 4))
    table = CheckedCost(cost, lambda y: tf.cast(tf.argmax(y, axis=-1), tf.float64), "Test").neighbours(y)
    assert table.dtype == tf.float32
    np.testing.assert_allclose(table, np.argmax(y, axis=-1)[..., None] + np.arange(4.0), rtol=1e-6)


@pytest.mark.parametrize("wrong", [lambda z: z[..., 0], lambda z: None], ids=["shape", "none"])
def test_neighbours_of_another_shape_are_refused(wrong):
    cost = linear_first()
    cost.neighbours = wrong
    match = r"the cost's `neighbours` must .* \(2, 5, 3, 4\)\. Received: (\(2, 5, 3\)|None)"
    with pytest.raises(InputError, match=match):
        checked(cost).neighbours(tf.constant(one_hot_codes(2, (5,), 3, 4)))


def test_neighbours_that_are_nan_are_refused():
    cost = linear_first()
    cost.neighbours = lambda z: z * np.nan
    with pytest.raises(InputError, match="needs a cost that is finite wherever it is evaluated"):
        checked(cost).neighbours(tf.constant(one_hot_codes(2, (5,), 3, 4)))
