"""A Gaussian layer above a discrete one, against sums over the codes and Gauss-Hermite quadrature above each."""

import json
from typing import NamedTuple

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.models.deep_problem import PIXELS, SEED, X, all_one_hot, flat, loss_and_gradient, shared_variables
from tfdiscrete import InputError
from tfdiscrete.estimators import Enumeration, Pathwise, ScoreFunction
from tfdiscrete.families import Categorical, Gaussian
from tfdiscrete.models import DeepDiscreteVAE, make_deep_networks
from tfdiscrete.objectives import BetaELBO

CODES = all_one_hot(3)
NODES, MASSES = np.polynomial.hermite_e.hermegauss(80)
LOG_MASSES = np.log(MASSES / MASSES.sum())


def make_networks(num_gaussians=1):
    return make_deep_networks(
        "linear",
        data_shape=(PIXELS,),
        parameter_shape=(PIXELS,),
        num_latents=(2, num_gaussians),
        family=[Categorical(3), Gaussian()],
    )


def make_model(num_gaussians=1, **options):
    """A compiled model of two variables of three categories below Gaussian ones, with weights far from 0."""
    options = {"families": ["categorical", "gaussian"], "prior": "learned", "seed": 3, **options}
    model = DeepDiscreteVAE(*make_networks(num_gaussians), **options)
    rng = np.random.default_rng(1)
    for variable in shared_variables(model):
        variable.assign(rng.normal(scale=0.6, size=variable.shape))
    model.compile(keras.optimizers.Adam(0.03), jit_compile=False, steps_per_execution=1)
    return model


class Exact(NamedTuple):
    loss: np.ndarray
    """Distortion plus `beta` times the rate, `[B]`."""
    rate: np.ndarray
    """`[B]`."""
    evidence: np.ndarray
    """log p(x), `[B]`."""
    gradient: list[np.ndarray]
    """Of the mean loss, as `shared_variables`."""


def log_mass(parameters):
    """Of parameters `[..., 6]` the log probabilities of all codes, `[..., 9]`."""
    rows = tf.reshape(parameters, [*parameters.shape[:-1], 2, 3])
    return tf.einsum("...nk,mnk->...m", tf.nn.log_softmax(rows, axis=-1), CODES)


def exact(model, beta=1.0):
    """In float64, of one Gaussian variable."""
    variables = [tf.Variable(np.asarray(v), dtype=tf.float64) for v in shared_variables(model)]
    codes = CODES.reshape(9, -1)
    with tf.GradientTape() as tape:
        first, second, above, below = [(variables[2 * i], variables[2 * i + 1]) for i in range(4)]
        log_q = log_mass(X @ first[0] + first[1])
        mean, log_scale = tf.unstack(codes @ second[0] + second[1], axis=-1)
        prior_mean, prior_log_scale = tf.unstack(variables[8][0])
        z = mean[:, None] + tf.exp(log_scale)[:, None] * NODES
        log_p = tf.einsum("mqm->mq", log_mass(z[..., None] @ above[0] + above[1]))
        square = tf.exp(2 * log_scale) + (mean - prior_mean) ** 2
        kl = prior_log_scale - log_scale + 0.5 * (square * tf.exp(-2 * prior_log_scale) - 1)
        ratio = log_q + kl - tf.reduce_sum(np.exp(LOG_MASSES) * log_p, axis=-1)
        likelihood = tf.reduce_sum(tf.math.log_sigmoid((2.0 * X[:, None] - 1.0) * (codes @ below[0] + below[1])), -1)
        rate = tf.reduce_sum(tf.exp(log_q) * ratio, axis=-1)
        loss = beta * rate - tf.reduce_sum(tf.exp(log_q) * likelihood, axis=-1)
        mean_loss = tf.reduce_mean(loss)
    z = prior_mean + tf.exp(prior_log_scale) * NODES
    log_prior = scipy.special.logsumexp(LOG_MASSES[:, None] + log_mass(z[:, None] @ above[0] + above[1]), axis=0)
    evidence = scipy.special.logsumexp(log_prior + likelihood, axis=-1)
    gradient = tape.gradient(mean_loss, variables)
    return Exact(loss.numpy(), rate.numpy(), evidence, [np.asarray(part) for part in gradient])


def in_errors(values, expected):
    """How many standard errors the mean over the first axis is from what is expected."""
    return (values.mean(0) - expected) / (values.std(0, ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize(
    ("estimator", "kl", "beta"),
    [
        (Enumeration(), "analytic", 1.0),
        (Enumeration(), "sampled", 1.0),
        (ScoreFunction(), "analytic", 1.0),
        (ScoreFunction(), "analytic", 0.5),
    ],
)
def test_the_mean_gradient_is_that_of_sums_and_quadrature(estimator, kl, beta):
    estimator = type(estimator).from_config(estimator.get_config())
    model = make_model(estimator=[estimator, "pathwise"], kl=kl, objective=BetaELBO(beta))
    expected = exact(model, beta)
    x = tf.constant(np.repeat(X, 200, axis=0))
    step = tf.function(lambda seed: loss_and_gradient(model, x, tf.stack([seed, 11])), autograph=False)
    each = [step(tf.constant(number)) for number in range(40)]
    losses, gradients = np.array([loss.numpy().mean() for loss, _ in each]), np.array([flat(g) for _, g in each])
    assert abs(in_errors(losses, expected.loss.mean())) < 4.5
    errors = gradients.std(0, ddof=1) / np.sqrt(len(gradients))
    # What does not depend on the Gaussian samples is the same in each step, up to rounding.
    assert (np.abs(gradients.mean(0) - flat(expected.gradient)) < 4.5 * errors + 1e-5).all()
    assert np.linalg.norm(errors) < 0.1 * np.linalg.norm(flat(expected.gradient))


def test_evaluate_reports_an_upper_bound_on_the_negative_evidence():
    model, copies = make_model(), 4000
    expected = exact(model)
    bound = model.negative_elbo(tf.constant(np.repeat(X, copies, axis=0)), seed=SEED)
    loss, rate = (part.numpy().reshape(len(X), copies).T for part in (bound.loss, bound.rate))
    assert np.abs(in_errors(loss, expected.loss)).max() < 4.5
    assert np.abs(in_errors(rate, expected.rate)).max() < 4.5
    assert (loss.mean(0) > -expected.evidence).all()
    reported = model.evaluate(np.repeat(X, copies, axis=0), batch_size=6000, verbose=0, return_dict=True)
    assert reported["loss"] == pytest.approx(expected.loss.mean(), abs=4.5 * loss.std() / np.sqrt(loss.size))


def test_the_importance_weighted_bound_nears_the_evidence():
    model, copies = make_model(), 2000
    # Nearer to each other, or the weights' tails are too heavy for 64 samples.
    for variable in [*model.encoder_2.weights, *model.prior.weights]:
        variable.assign(0.3 * variable)
    expected = exact(model)
    x = tf.constant(np.repeat(X, copies, axis=0))
    one, many = (
        model.bounds(x, seed=SEED, num_samples=size).importance_weighted.numpy().reshape(len(X), copies).T
        for size in (1, 64)
    )
    assert np.abs(in_errors(one, -expected.loss)).max() < 4.5
    assert (in_errors(many, expected.evidence) < 4.5).all()
    assert (expected.evidence - many.mean(0) < 0.2 * (expected.evidence + expected.loss)).all()


def test_samples_follow_the_generative_model():
    model, count = make_model(), 4000
    # So that the codes tell where z2 is, and how far it spreads.
    model.prior.set_weights([np.array([[0.5, 0.4]])])
    model.decoder_2.set_weights([4.0 * weight for weight in model.decoder_2.get_weights()])
    samples = model.sample(count, [1, 2]).numpy()
    (kernel, bias), (prior,) = model.decoders[0].get_weights(), model.prior.get_weights()
    z = prior[0, 0] + np.exp(prior[0, 1]) * NODES
    mass = np.exp(LOG_MASSES) @ np.exp(log_mass(tf.constant(z[:, None] @ kernel + bias)))
    kernel, bias = model.decoders[1].get_weights()
    distances = np.abs(samples[:, None] - scipy.special.expit(CODES.reshape(9, -1) @ kernel + bias)).max(-1)
    assert distances.min(-1).max() < 1e-5
    counts = np.bincount(distances.argmin(-1), minlength=9)
    assert scipy.stats.chisquare(counts, mass / mass.sum() * count).pvalue > 1e-3


@pytest.mark.parametrize("prior", ["learned", pytest.param("vamp", marks=pytest.mark.slow)])
def test_a_loaded_model_is_the_same(prior, tmp_path):
    model = make_model(3, prior=prior, estimator=None)
    assert type(model.estimator_2) is Pathwise
    before = [np.array(variable) for variable in model.trainable_variables]
    x = np.tile(X, (8, 1))
    model.fit(x, batch_size=12, epochs=2, verbose=0)
    assert all((old != np.asarray(v)).any() for old, v in zip(before, model.trainable_variables, strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
    outputs = model.predict(x, verbose=0)
    assert {name: outputs[name].shape[1:] for name in outputs if name.endswith("_2")} == {
        "mean_2": (3,),
        "scale_2": (3,),
        "code_2": (3,),
    }
    tf.nest.map_structure(np.testing.assert_array_equal, loaded.predict(x, verbose=0), outputs)
    np.testing.assert_array_equal(loaded.sample(5, SEED), model.sample(5, SEED))
    assert loaded.evaluate(x, verbose=0) == model.evaluate(x, verbose=0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("families", "received"),
        [
            ("gaussian", "layer 1 of 2 of Gaussian"),
            (["gaussian", "categorical"], "layer 1 of 2 of Gaussian"),
            (["categorical", "invertible_gaussian"], "layer 2 of 2 of InvertibleGaussian"),
        ],
    )
    def test_other_continuous_layers_than_a_gaussian_top(self, families, received):
        with pytest.raises(InputError, match=f"only the top one above others may be 'gaussian'.* Received: {received}"):
            DeepDiscreteVAE(*make_networks(), families=families)

    def test_a_single_gaussian_layer(self):
        encoders, decoders = make_networks()
        with pytest.raises(InputError, match="layer 1 of 1 of Gaussian variables.*; use DiscreteVAE"):
            DeepDiscreteVAE(encoders[:1], decoders[1:], families="gaussian")

    @pytest.mark.parametrize(
        ("estimator", "message"),
        [
            ("relax", "layer 2 is of Gaussian variables, whose estimators are 'pathwise'. Received: RELAX; a list has"),
            (["pathwise", "relax"], "layer 1 is of Categorical variables, whose estimators are 'arm', .*: Pathwise"),
        ],
    )
    def test_estimators_of_another_layer_s_variables(self, estimator, message):
        with pytest.raises(InputError, match=message):
            DeepDiscreteVAE(*make_networks(), families=["categorical", "gaussian"], estimator=estimator)
