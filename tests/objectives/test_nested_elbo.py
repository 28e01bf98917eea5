import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete import InputError, priors
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import Enumeration, RaoBlackwell, ScoreFunction
from tfdiscrete.objectives import Level, nested_bounds, nested_negative_elbo

# One variable of three categories a layer, given by tables: rows are the layer below, or the two examples.
RNG = np.random.default_rng(0)
ENCODERS, DECODERS = RNG.normal(size=(2, 3, 3)), RNG.normal(size=(2, 3, 3))
ENCODERS[0, 2] = 0.0
LIKELIHOOD = RNG.normal(size=(3, 2)) - 2.0
PRIOR = np.array([0.2, 0.5, 0.3])
X = tf.eye(3, dtype=tf.float64)[:2]


def make_levels(estimators):
    """Of 1 or 2 estimators; the data are the numbers of the examples, one-hot."""

    def level(number, estimator):
        def posterior(below):
            rows = tf.reshape(below, [-1, 3])
            return ProductCategorical((rows @ tf.constant(ENCODERS[number]))[..., tf.newaxis, :])

        def log_likelihood(below, z):
            if number == 0:
                return tf.einsum("sbk,kb->sb", z[..., 0, :], tf.constant(LIKELIHOOD))
            log_p = tf.nn.log_softmax(tf.constant(DECODERS[1]), axis=-1)
            return tf.reduce_sum((z[..., 0, :] @ log_p) * below[..., 0, :], axis=-1)

        return Level(posterior, log_likelihood, estimator)

    return [level(number, estimator) for number, estimator in enumerate(estimators)]


def make_prior(kind="fixed"):
    prior = priors.Fixed([PRIOR.tolist()])
    prior.build((1, 3))
    prior.has_analytic_kl = kind == "fixed"
    return prior


def by_hand():
    """Loss and distortion of two layers, `[B]` each, and log p(x)."""
    first = scipy.special.log_softmax(ENCODERS[0][:2], axis=-1)[:, :, None]
    second = scipy.special.log_softmax(ENCODERS[1], axis=-1)[None]
    below = scipy.special.log_softmax(DECODERS[1], axis=-1).T[None]
    joint = LIKELIHOOD.T[:, :, None] + below + np.log(PRIOR)
    q = np.exp(first + second)
    distortion = -(q * LIKELIHOOD.T[:, :, None]).sum((1, 2))
    return (q * (first + second - joint)).sum((1, 2)), distortion, scipy.special.logsumexp(joint, axis=(1, 2))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kl", ["analytic", "sampled"])
@pytest.mark.parametrize("prior", ["fixed", "without a closed form"])
def test_enumeration_gives_the_bound_and_its_parts(prior, kl, training):
    levels = make_levels([Enumeration(), Enumeration()])
    bound = nested_negative_elbo(X, levels, make_prior(prior), seed=[0, 1], kl=kl, training=training)
    loss, distortion, _ = by_hand()
    np.testing.assert_allclose(bound.loss, loss, rtol=1e-6)
    np.testing.assert_allclose(bound.distortion, distortion, rtol=1e-6)
    np.testing.assert_allclose(bound.rate, loss - distortion, rtol=1e-5)


@pytest.mark.parametrize("kl", ["analytic", "sampled"])
@pytest.mark.parametrize("weight", [0.0, 0.5, 4.0])
def test_a_weight_is_on_the_rate_of_all_layers_in_training_alone(weight, kl):
    levels, options = make_levels([Enumeration(), Enumeration()]), {"seed": [0, 1], "kl": kl}
    bound = nested_negative_elbo(X, levels, make_prior(), weight=tf.constant(weight), **options)
    loss, distortion, _ = by_hand()
    np.testing.assert_allclose(bound.loss, distortion + weight * (loss - distortion), rtol=1e-6)
    np.testing.assert_allclose(bound.rate, loss - distortion, rtol=1e-5)
    np.testing.assert_allclose(bound.distortion, distortion, rtol=1e-6)
    evaluated = nested_negative_elbo(X, levels, make_prior(), weight=tf.constant(weight), training=False, **options)
    np.testing.assert_allclose(evaluated.loss, loss, rtol=1e-6)


def test_the_distortion_weighs_the_samples_as_the_estimator_does():
    # All codes of the first layer, of unequal weights, however many samples the second one has.
    levels = make_levels([RaoBlackwell(3), ScoreFunction()])
    bound = nested_negative_elbo(X, levels, make_prior(), seed=[0, 1])
    np.testing.assert_allclose(bound.distortion, by_hand()[1], rtol=1e-6)
    assert np.abs(bound.loss - by_hand()[0]).max() > 1e-3


def test_each_layer_draws_noise_of_its_own():
    levels = make_levels([ScoreFunction(num_samples=64), ScoreFunction(num_samples=64)])
    estimates = [each.sample for _, each in nested_negative_elbo(X, levels, make_prior(), seed=[0, 1]).estimates]
    assert [tuple(sample.shape) for sample in estimates] == [(64, 2, 1, 3), (64, 64 * 2, 1, 3)]
    below, above = (tf.argmax(sample, axis=-1).numpy()[..., 0] for sample in estimates)
    # Of equal samples below the laws above are equal, but not what is drawn of them.
    first, second = np.flatnonzero(below[:, 0] == below[0, 0])[:2]
    assert (above[:, 2 * first] != above[:, 2 * second]).any()


def test_bounds_are_between_the_elbo_and_the_evidence():
    copies, levels = 4000, make_levels([Enumeration(), Enumeration()])
    x = tf.repeat(X[:1], copies, axis=0)

    def log_likelihood(below, z):
        return tf.einsum("sbk,k->sb", z[..., 0, :], tf.constant(LIKELIHOOD[:, 0]))

    levels[0] = levels[0]._replace(log_likelihood=log_likelihood)
    loss, distortion, evidence = (values[0] for values in by_hand())
    for samples in (1, 20):
        bounds = nested_bounds(x, levels, make_prior(), seed=[0, 1], num_samples=samples)
        errors = [np.std(part) / np.sqrt(copies) for part in bounds]
        assert np.mean(bounds.elbo) == pytest.approx(-loss, abs=4.5 * errors[0])
        assert np.mean(bounds.distortion) == pytest.approx(distortion, abs=4.5 * errors[3])
        assert np.mean(bounds.rate) == pytest.approx(loss - distortion, abs=4.5 * errors[2])
        assert (bounds.elbo.numpy() <= bounds.importance_weighted.numpy() + 1e-9).all()
    assert -loss + 0.5 * (evidence + loss) < np.mean(bounds.importance_weighted) < evidence + 4.5 * errors[1]


def test_another_kl_is_refused():
    with pytest.raises(InputError, match="unknown kl 'relaxed'. .*Known: analytic, sampled"):
        nested_negative_elbo(X, make_levels([Enumeration()]), make_prior(), seed=[0, 1], kl="relaxed")
