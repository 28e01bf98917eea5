import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.estimators.problems import assert_mean_is
from tests.priors.arbitrary import SEED, arbitrary, build, indices_of, make_family, randomize
from tests.priors.test_mixture import descend
from tfdiscrete import InputError
from tfdiscrete.priors import Hierarchical


def test_log_prob_is_that_of_both_levels_with_the_network_in_numpy():
    family = make_family("categorical")
    prior = arbitrary("hierarchical", family)
    z = np.random.default_rng(0).dirichlet([0.3] * 3, size=(4, 5, 3))
    top = np.asarray(prior.top.parameters(), np.float64)
    (hidden_kernel, hidden_bias), (kernel, bias) = (
        [np.asarray(w, np.float64) for w in layer.weights] for layer in (prior.hidden_0, prior.readout)
    )
    hidden = np.maximum(z[..., :2, :].reshape(4, 5, 6) @ hidden_kernel + hidden_bias, 0.0)
    below = (hidden @ kernel + bias).reshape(4, 5, 1, 3)
    logits = np.concatenate([np.broadcast_to(top, (4, 5, 2, 3)), below], axis=-2)
    expected = (z * scipy.special.log_softmax(logits, axis=-1)).sum((-2, -1))
    np.testing.assert_allclose(prior.log_prob(tf.constant(z, tf.float32)), expected, rtol=1e-4)


def test_the_network_reads_counts_as_the_decoder_does():
    family = make_family("counts")
    prior = build(Hierarchical(1, hidden_units=[]), family)
    assert prior.readout.kernel.shape == (1, 2 * 3)
    randomize(prior)
    kernel, bias = (np.asarray(w, np.float64) for w in prior.readout.weights)
    for index in range(3):
        code = np.eye(3, dtype="float32")[[index, 0, 2]]
        logits = scipy.special.log_softmax((family.outcomes[index] * kernel[0] + bias).reshape(2, 3), axis=-1)
        top = scipy.special.log_softmax(np.asarray(prior.top.parameters(), np.float64)[0])[index]
        assert float(prior.log_prob(code)) == pytest.approx(top + logits[0, 0] + logits[1, 2], rel=1e-4)


def test_behind_a_flow_the_network_reads_the_hard_code():
    family = make_family.__wrapped__("planar")  # not that of the other tests
    family.u.assign(np.random.default_rng(0).normal(size=family.u.shape))
    family.w.assign(np.random.default_rng(1).normal(size=family.w.shape))
    prior = randomize(build(Hierarchical(2, hidden_units=[]), family), scale=2.0)
    z = np.random.default_rng(2).normal(scale=2.0, size=(200, 3, 1)).astype("float32")
    below = prior._below(tf.constant(z[:, :2])).loc.numpy().reshape(200)
    hard = family.harden(tf.constant(z))[:, :2].numpy().argmax(-1) @ [2, 1]
    assert len(np.unique(hard)) == 4
    for code in range(4):
        assert np.ptp(below[hard == code]) < 1e-5
    assert len(np.unique(below.round(4))) == 4


def test_gaussian_variables_depend_on_the_discrete_ones_as_numpy_says():
    family = make_family("mixed")
    prior = randomize(build(Hierarchical(2, hidden_units=[]), family))
    kernel, bias = (np.asarray(w, np.float64) for w in prior.readout.weights)
    log_pi = scipy.special.log_softmax(np.asarray(prior.top.parameters(), np.float64), axis=-1)
    codes = np.eye(3)[[[i, j] for i in range(3) for j in range(3)]].reshape(9, 6)
    log_top, parameters = codes @ log_pi.reshape(6), codes @ kernel + bias
    c = np.linspace(-2.0, 2.0, 9)
    expected = log_top + scipy.stats.norm(parameters[:, 0], np.exp(parameters[:, 1])).logpdf(c)
    z = np.concatenate([codes, c[:, None]], axis=-1).astype("float32")
    np.testing.assert_allclose(prior.log_prob(tf.constant(z)), expected, rtol=1e-4)
    drawn = prior.sample(20_000, SEED)
    # Of each code the values about its own mean.
    weights = np.exp(log_top)
    means = np.concatenate([weights @ codes, weights * parameters[:, 0]])
    which = np.asarray(drawn[:, :6]) @ codes.T == 2
    assert_mean_is(means, np.concatenate([drawn[:, :6], which * np.asarray(drawn[:, 6:])], axis=-1))


def test_it_learns_what_the_lower_variables_owe_the_top():
    family = make_family("categorical")
    prior = build(Hierarchical(1, hidden_units=[8]), family)
    z = tf.constant(np.eye(3)[[[0, 1, 2], [1, 2, 0], [2, 0, 1]]], tf.float32)
    assert descend(prior, lambda: -tf.reduce_mean(prior.log_prob(z)), 150, 0.5) < np.log(3) + 0.1
    drawn = prior.sample(300, SEED).numpy().argmax(-1)
    assert (np.diff(drawn, axis=1) % 3 == 1).mean() > 0.9


def test_both_levels_have_noise_of_their_own():
    prior = build(Hierarchical(1), make_family("categorical", num_latents=2))
    counts = np.bincount(indices_of(prior.sample(9_000, SEED)), minlength=9)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_half_of_the_variables_are_above_by_default():
    prior = build(Hierarchical(), make_family("bernoulli"))
    assert prior.top.parameters().shape == (1, 1)
    assert prior.readout.kernel.shape == (64, 2)


@pytest.mark.parametrize("num_top", [3, 4])
def test_as_many_above_as_there_are_is_refused(num_top):
    message = rf"num_top from 1 to N - 1 with N = 3 latent variables\. Received: num_top={num_top}"
    with pytest.raises(InputError, match=message):
        build(Hierarchical(num_top), make_family("categorical"))


def test_a_single_variable_is_refused():
    with pytest.raises(InputError, match="N = 1 latent variables"):
        Hierarchical().build((1, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_top": 0}, "num_top must be an integer of at least 1"),
        ({"hidden_units": [3, 0]}, "hidden_units must be an integer of at least 1"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Hierarchical(**options)
