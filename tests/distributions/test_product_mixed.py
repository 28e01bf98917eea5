import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import InputError
from tfdiscrete.distributions import (
    ProductBernoulli,
    ProductCategorical,
    ProductMixed,
    ProductNormal,
    Truncated,
    is_family,
)

tfd = tfp.distributions
RNG = np.random.default_rng(0)
# As many Gaussian variables as logits: noise of one seed would be the same for both.
LOGITS, LOC, SCALE = RNG.normal(size=(5, 2, 3)), RNG.normal(size=(5, 6)), RNG.uniform(0.5, 2.0, (5, 6))
DISCRETE = {
    "categorical": lambda: ProductCategorical(tf.constant(LOGITS)),
    "bernoulli": lambda: ProductBernoulli(tf.constant(LOGITS[..., 0])),
}
every = pytest.mark.parametrize("name", DISCRETE)


def mixed(name="categorical", rows=slice(None)):
    discrete = ProductCategorical(LOGITS[rows]) if name == "categorical" else DISCRETE[name]()
    return ProductMixed(discrete, ProductNormal(tf.constant(LOC[rows]), tf.constant(SCALE[rows])))


def one_hot(index):
    return np.eye(3)[index]


@every
def test_events_hold_the_flattened_discrete_outcomes_and_then_the_continuous_ones(name):
    q = mixed(name)
    d, c = DISCRETE[name]().sample(7, seed=[1, 2]), tf.constant(np.random.default_rng(1).normal(size=(7, 5, 6)))
    z = q.join(d, c)
    size = np.prod(d.shape[2:])
    assert z.shape == (7, 5, size + 6)
    assert q.event_shape == tuple(q.event_shape_tensor()) == (size + 6,)
    assert q.batch_shape == tuple(q.batch_shape_tensor()) == (5,)
    np.testing.assert_array_equal(z[..., :size], np.reshape(d, (7, 5, size)))
    np.testing.assert_array_equal(z[..., size:], c)
    for part, expected in zip(q.split(z), (d, c), strict=True):
        np.testing.assert_array_equal(part, expected)


def test_log_prob_is_that_of_scipy():
    index, c = np.random.default_rng(1).integers(3, size=(7, 5, 2)), np.random.default_rng(2).normal(size=(7, 5, 6))
    log_pi = scipy.special.log_softmax(LOGITS, axis=-1)
    expected = (one_hot(index) * log_pi).sum((-2, -1)) + scipy.stats.norm(LOC, SCALE).logpdf(c).sum(-1)
    q = mixed()
    np.testing.assert_allclose(q.log_prob(q.join(tf.constant(one_hot(index)), tf.constant(c))), expected, rtol=1e-12)


def test_entropy_is_that_of_scipy():
    pi = scipy.special.softmax(LOGITS, axis=-1)
    expected = -(pi * np.log(pi)).sum((-2, -1)) + scipy.stats.norm(LOC, SCALE).entropy().sum(-1)
    np.testing.assert_allclose(mixed().entropy(), expected, rtol=1e-12)


@every
def test_kl_is_the_sum_of_both_parts_and_agrees_with_sampling(name):
    q = mixed(name)
    standard = ProductNormal(tf.zeros([5, 6], tf.float64), tf.ones([5, 6], tf.float64))
    p = ProductMixed(DISCRETE[name](), standard)
    gaussian = -np.log(SCALE) + 0.5 * (SCALE**2 + LOC**2 - 1)
    np.testing.assert_allclose(q.kl_divergence(p), gaussian.sum(-1), rtol=1e-9)
    if name == "categorical":
        p = ProductMixed(
            ProductCategorical(tf.zeros([2, 3], tf.float64)), ProductNormal(standard.loc[0], 1.0 * SCALE[0])
        )
        gaussian = np.log(SCALE[0] / SCALE) + 0.5 * ((SCALE**2 + LOC**2) / SCALE[0] ** 2 - 1)
        kl = q.kl_divergence(p)
        pi = scipy.special.softmax(LOGITS, axis=-1)
        np.testing.assert_allclose(kl, gaussian.sum(-1) + (pi * np.log(3 * pi)).sum((-2, -1)), rtol=1e-9)
        z = q.sample(20_000, seed=[1, 2])
        ratio = np.asarray(q.log_prob(z) - p.log_prob(z))
        assert (np.abs(ratio.mean(0) - kl) < 4.5 * ratio.std(0) / np.sqrt(len(ratio))).all()


def assert_samples_follow_the_law(z, q, row=0):
    """Frequencies of the codes, moments of the rest, and no correlation between them."""
    d, c = (np.asarray(part)[:, row] for part in q.split(z))
    counts = np.bincount(d.argmax(-1) @ [3, 1], minlength=9)
    pi = scipy.special.softmax(LOGITS[row], axis=-1)
    expected = np.array([pi[0, i] * pi[1, j] for i, j in itertools.product(range(3), repeat=2)])
    assert scipy.stats.chisquare(counts, expected * len(d)).pvalue > 1e-3
    for m in range(6):
        assert scipy.stats.kstest(c[:, m], "norm", (LOC[row, m], SCALE[row, m])).pvalue > 1e-3
    correlation = np.corrcoef(np.concatenate([d.reshape(len(d), -1), c], axis=1).T)[:6, 6:]
    assert np.abs(correlation).max() < 4.5 / np.sqrt(len(d))


def test_samples_follow_both_laws_and_are_independent():
    q = mixed()
    z = q.sample(20_000, seed=[3, 4])
    assert z.shape == (20_000, 5, 12)
    assert_samples_follow_the_law(z, q)


def test_path_is_independent_of_what_the_discrete_law_draws_of_the_same_seed():
    q = mixed()
    c = q.path([3, 4], 20_000)
    assert_samples_follow_the_law(q.given(c).decode(q.given(c).sample_one_hot([3, 4], 20_000)), q)
    np.testing.assert_array_equal(q.path([3, 4], 20_000), c)
    assert not np.any(q.path([3, 5], 20_000) == c)


def test_path_has_the_gradient_of_the_parameters():
    loc, scale = tf.constant(LOC), tf.constant(SCALE)
    with tf.GradientTape() as tape:
        tape.watch([loc, scale])
        c = ProductMixed(ProductCategorical(LOGITS), ProductNormal(loc, scale)).path([0, 1], 1)
    of_loc, of_scale = tape.gradient(c, [loc, scale])
    np.testing.assert_array_equal(of_loc, np.ones((5, 6)))
    np.testing.assert_allclose(of_scale, (c[0] - LOC) / SCALE, rtol=1e-9)


@every
def test_given_values_of_the_continuous_variables_it_is_a_family_that_adds_them(name):
    q = mixed(name)
    shared, own = q.path([0, 1], 1), q.path([0, 1], 6)
    assert not is_family(q)
    for c in (shared, own):
        given = q.given(c)
        assert is_family(given)
        assert given.logits_shape == q.discrete.logits_shape
        np.testing.assert_array_equal(given.logits, q.discrete.logits)
        y = given.sample_one_hot([2, 3], 6)
        np.testing.assert_array_equal(y, q.discrete.sample_one_hot([2, 3], 6))
        np.testing.assert_array_equal(given.relax([2, 3], 6, 0.5), q.discrete.relax([2, 3], 6, 0.5))
        d, rest = q.split(given.decode(y))
        np.testing.assert_array_equal(d, q.discrete.decode(y))
        np.testing.assert_array_equal(rest, np.broadcast_to(c, (6, 5, 6)))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graphs_of_any_batch_size_give_the_eager_values(jit_compile):
    def run(logits, loc):
        q = ProductMixed(ProductCategorical(logits), ProductNormal(loc, tf.ones_like(loc)))
        given = q.given(q.path([0, 1], 1))
        z = q.sample(3, seed=[1, 2])
        assert z.shape[1:] == [None, 12] or z.shape == [3, 5, 12]
        return z, q.log_prob(z), given.decode(given.sample_one_hot([0, 1], 3)), q.kl_divergence(q)

    signature = [tf.TensorSpec([None, 2, 3], tf.float64), tf.TensorSpec([None, 6], tf.float64)]
    traced = tf.function(run, input_signature=signature, jit_compile=jit_compile)
    arguments = tf.constant(LOGITS), tf.constant(LOC)
    for value, expected in zip(traced(*arguments), run(*arguments), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)


def test_other_laws_are_refused():
    normal = ProductNormal(tf.zeros(4), tf.ones(4))
    for pair in ((normal, normal), (ProductCategorical(tf.zeros([2, 3])),) * 2):
        with pytest.raises(InputError, match=r"takes a Family.*ProductNormal of event \[M\].* Received: "):
            ProductMixed(*pair)
    with pytest.raises(InputError, match=r"ProductNormal of event \[M\]"):
        ProductMixed(ProductCategorical(tf.zeros([2, 3])), ProductNormal(tf.zeros([2, 4]), tf.ones([2, 4]), 2))
    rows = Truncated(tfd.Poisson(tf.ones([5, 2])), low=0, high=3)
    with pytest.raises(InputError, match="both of one batch"):
        ProductMixed(rows, ProductNormal(tf.zeros([5, 4]), tf.ones([5, 4])))
