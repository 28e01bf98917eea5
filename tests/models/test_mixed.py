"""`DiscreteVAE` with discrete latent variables beside Gaussian ones, against enumeration and quadrature."""

import itertools

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.estimators.problems import assert_mean_is
from tests.priors.arbitrary import randomize
from tfdiscrete import InputError, estimators, priors
from tfdiscrete.families import Bernoulli, Categorical, Mixed, TruncatedCounts
from tfdiscrete.metrics import posterior_usage
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.objectives import FreeBits, ImportanceWeighted
from tfdiscrete.objectives.relaxed_rate import relaxed_log_prob, relaxed_point
from tfdiscrete.ops import fold_in
from tfdiscrete.serving.export import export_saved_model

PIXELS, N, K, M = 5, 2, 3, 2
X = (np.random.default_rng(0).random((24, PIXELS)) < 0.4).astype("float32")
FAMILIES = {
    "categorical": lambda: Mixed(Categorical(K), num_discrete=N),
    "bernoulli": lambda: Mixed(Bernoulli(), num_discrete=N),
    "counts": lambda: Mixed(TruncatedCounts(prior=1.0, tolerance=0.05, explicit=True), num_discrete=N),
}
# A score function, two relaxed ones, one of them with a hard sample, and direct optimization.
ESTIMATORS = ["score_function", "gumbel_softmax", "relax", "straight_through_gumbel_softmax", "direct_arg_max"]


def one_and_slowly_the_others(name):
    return [name, *(pytest.param(other, marks=pytest.mark.slow) for other in ESTIMATORS if other != name)]


def make_vae(estimator=None, family="categorical", *, spread=0.4, jit_compile=False, **options):
    """The user's own networks."""
    family = FAMILIES[family]()
    parameters, code = family.parameters_shape(N + M), family.codes_shape(N + M)
    seeds = (keras.initializers.RandomNormal(stddev=spread, seed=seed) for seed in itertools.count())

    def dense(units, activation=None):
        return keras.layers.Dense(units, activation, kernel_initializer=next(seeds), bias_initializer=next(seeds))

    encoder = keras.Sequential([keras.Input((PIXELS,)), dense(*parameters)])
    decoder = keras.Sequential(
        [
            keras.Input(code),
            dense(4, "tanh"),
            dense(PIXELS),
        ]
    )
    vae = DiscreteVAE(encoder, decoder, family=family, estimator=estimator, **{"seed": 1, **options})
    vae.compile(keras.optimizers.Adam(0.02), jit_compile=jit_compile, steps_per_execution=1)
    return vae


# The answer, in float64: sums over all codes, and Gauss-Hermite quadrature over the Gaussian variables.

CODES = np.eye(K)[list(itertools.product(range(K), repeat=N))]
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
NOISE = np.array(list(itertools.product(NODES, repeat=M)))
NOISE_WEIGHTS = np.prod(list(itertools.product(NODE_WEIGHTS / NODE_WEIGHTS.sum(), repeat=M)), axis=-1)


def log_likelihood(x, c, decoder_weights):
    """log p(x|d, c) at all codes, points `[B, P, M]`: `[B, codes, P]`."""
    kernel, bias, second_kernel, second_bias = decoder_weights
    of_code = CODES.reshape(len(CODES), -1) @ kernel[: N * K]
    hidden = tf.tanh(of_code[:, None] + tf.einsum("bpm,mh->bph", c, kernel[N * K :])[:, None] + bias)
    logits = hidden @ second_kernel + second_bias
    return tf.reduce_sum(x[:, None, None] * logits - tf.math.softplus(logits), axis=-1)


def rate_and_distortion(x, encoder_weights, decoder_weights):
    """`[B]` each, under the prior of uniform and standard normal variables."""
    parameters = x @ encoder_weights[0] + encoder_weights[1]
    log_pi = tf.nn.log_softmax(tf.reshape(parameters[:, : N * K], [-1, N, K]))
    mean, log_scale = tf.unstack(tf.reshape(parameters[:, N * K :], [-1, M, 2]), axis=-1)
    rate = tf.reduce_sum(tf.exp(log_pi) * (log_pi + np.log(K)), axis=[-2, -1])
    rate += tf.reduce_sum(0.5 * (tf.exp(2 * log_scale) + mean**2 - 1) - log_scale, axis=-1)
    c = mean[:, None] + tf.exp(log_scale)[:, None] * NOISE
    weights = tf.exp(tf.einsum("cnk,bnk->bc", CODES, log_pi))[..., None] * NOISE_WEIGHTS
    return rate, -tf.reduce_sum(weights * log_likelihood(x, c, decoder_weights), axis=[-2, -1])


def float64(network):
    return [tf.constant(weight, tf.float64) for weight in network.get_weights()]


def exact(vae, x=X):
    both = rate_and_distortion(x.astype("float64"), float64(vae.encoder), float64(vae.decoder))
    return [part.numpy() for part in both]


def evidence(vae, x=X):
    """log p(x), `[B]`."""
    log_p = log_likelihood(x.astype("float64"), tf.constant(NOISE[None]), float64(vae.decoder)).numpy()
    return scipy.special.logsumexp(log_p + np.log(NOISE_WEIGHTS), axis=(-2, -1)) - N * np.log(K)


def mean_over_seeds(function, count):
    """The values of a function of a seed, `[count, ...]`."""
    traced = tf.function(function, autograph=False)
    return [traced(fold_in(tf.constant([5, 6]), number)) for number in range(count)]


def test_bounds_average_to_those_of_enumeration_and_quadrature():
    vae = make_vae()
    rate, distortion = exact(vae)
    draws = mean_over_seeds(lambda seed: vae.bounds(X, seed=seed, num_samples=20), 300)
    np.testing.assert_allclose(draws[0].rate, rate, rtol=1e-4)
    assert_mean_is(-(rate + distortion), np.stack([draw.elbo for draw in draws]))
    log_p = evidence(vae)
    assert (log_p > -(rate + distortion)).all()
    # The mean of the weights has no bias, and the gap of its logarithm falls with the number of samples.
    assert_mean_is(np.ones(len(X)), np.exp(np.stack([draw.importance_weighted for draw in draws]) - log_p))
    vae = make_vae(spread=0.2)
    log_p = evidence(vae)
    gaps = [
        (log_p - np.asarray(vae.bounds(X, seed=[1, 2], num_samples=samples).importance_weighted)).mean()
        for samples in (1, 30, 10_000)
    ]
    assert gaps[0] > gaps[1] > abs(gaps[2])
    assert abs(gaps[2]) < 0.005


@pytest.mark.parametrize("estimator", ["enumeration", "score_function"])
def test_what_evaluate_reports_averages_to_rate_and_distortion(estimator):
    vae = make_vae(estimator)
    rate, distortion = exact(vae)
    draws = mean_over_seeds(lambda seed: vae.negative_elbo(X, seed=seed), 400)
    assert_mean_is(rate + distortion, np.stack([draw.loss for draw in draws]))
    loss, reported, _ = vae.evaluate(X, verbose=0)
    assert loss == pytest.approx((rate + distortion).mean(), abs=0.6)
    assert reported == pytest.approx(rate.mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("estimator", "seeds"), [("enumeration", 150), pytest.param("relax", 1000, marks=pytest.mark.slow)]
)
def test_mean_gradient_of_all_weights_is_that_of_the_quadrature_bound(estimator, seeds):
    vae = make_vae(estimator)
    x = X[:4]
    weights = [*float64(vae.encoder), *float64(vae.decoder)]
    with tf.GradientTape() as tape:
        tape.watch(weights)
        bound = sum(map(tf.reduce_mean, rate_and_distortion(x.astype("float64"), weights[:2], weights[2:])))
    expected = tape.gradient(bound, weights)
    variables = [*vae.encoder.trainable_variables, *vae.decoder.trainable_variables]
    many = np.tile(x, (20, 1))

    def gradient(seed):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(vae.negative_elbo(many, seed=seed, training=True).loss)
        return tape.gradient(loss, [variable.value for variable in variables])

    draws = mean_over_seeds(gradient, seeds)
    for number, each in enumerate(expected):
        assert_mean_is(each.numpy(), np.stack([draw[number] for draw in draws]).astype("float64"))


@pytest.mark.parametrize("estimator", one_and_slowly_the_others("score_function"))
def test_training_improves_the_bound(estimator):
    vae = make_vae(estimator, spread=0.2)
    before = sum(part.mean() for part in exact(vae))
    history = vae.fit(X, epochs=25, batch_size=7, verbose=0).history
    assert set(history) == {"loss", "rate", "distortion"}
    assert sum(part.mean() for part in exact(vae)) < before - 0.3
    assert -evidence(vae).mean() < vae.evaluate(X, verbose=0)[0] + 0.3


@pytest.mark.slow
@pytest.mark.parametrize("family", ["bernoulli", "counts"])
def test_other_discrete_families_train_by_default_settings_under_xla(family):
    vae = make_vae(family=family, jit_compile=True, spread=0.2)
    before = vae.bounds(X, seed=[0, 1], num_samples=500)
    vae.fit(X, epochs=25, batch_size=7, verbose=0)
    after = vae.bounds(X, seed=[0, 1], num_samples=500)
    assert tf.reduce_mean(after.elbo - before.elbo) > 0.3
    assert tf.reduce_mean(after.importance_weighted - after.elbo) > 0.0


@pytest.mark.parametrize("estimator", ["vimco", pytest.param("gumbel_softmax", marks=pytest.mark.slow)])
def test_the_importance_weighted_bound_is_trained_and_lies_between_the_elbo_and_the_evidence(estimator):
    vae = make_vae(estimators.get(estimator, num_samples=5), objective=ImportanceWeighted())
    losses = mean_over_seeds(lambda seed: vae.negative_elbo(X, seed=seed).loss, 200)
    assert sum(part.mean() for part in exact(vae)) > np.mean(losses) > -evidence(vae).mean()


def test_relaxed_kl_and_free_bits_count_both_kinds():
    vae = make_vae("gumbel_softmax", kl="relaxed")
    assert np.isfinite(vae.negative_elbo(X, seed=[0, 1], training=True).loss).all()
    # Its densities are taken where the estimator's cost is.
    q = vae.posterior(X)
    point = relaxed_point(q, [0, 1], 1, vae.estimator.annealed_value())
    sample = vae.estimator.estimate(q, lambda z: tf.reduce_sum(z, axis=-1), seed=[0, 1]).sample
    (log_y, c), (y, same) = q.split(point), q.split(sample)
    np.testing.assert_array_equal(c, same)
    np.testing.assert_allclose(np.exp(log_y), y, rtol=1e-5)
    density = scipy.stats.norm(q.continuous.loc, q.continuous.scale).logpdf(c).sum(-1)
    expected = relaxed_log_prob(q.discrete, log_y, 0.7) + density
    np.testing.assert_allclose(relaxed_log_prob(q, point, 0.7), expected, rtol=1e-4)
    rate, _ = exact(vae)
    for nats, expected in ((0.0, rate), (50.0, np.full(len(X), 50.0 * (N + M)))):
        free = make_vae("enumeration", objective=FreeBits(nats)).negative_elbo(X, seed=[0, 1], training=True)
        np.testing.assert_allclose(free.loss - free.distortion, expected, rtol=1e-4)
        np.testing.assert_allclose(free.rate, rate, rtol=1e-4)


def test_relaxed_elbo_is_the_bound_where_the_temperature_is_low():
    vae = make_vae("gumbel_softmax")
    rate, distortion = exact(vae)
    draws = mean_over_seeds(lambda seed: vae.relaxed_elbo(X, seed=seed, num_samples=20, temperature=1e-3), 200)
    assert_mean_is(-(rate + distortion), np.stack(draws))


@pytest.mark.parametrize(
    ("prior", "labels"),
    [
        (lambda: "learned", False),
        (lambda: priors.Fixed([0.5, 0.3, 0.2]), False),
        (lambda: priors.Mixture(3), False),
        (lambda: priors.VampPrior(4), False),
        (lambda: priors.Conditional(3), True),
    ],
    ids=["learned", "given", "mixture", "vamp", "conditional"],
)
def test_priors_of_the_family_s_laws_have_their_log_prob_and_gradients(prior, labels):
    vae = make_vae("straight_through_gumbel_softmax", prior=prior())
    randomize(vae.prior)
    condition = np.arange(len(X)) % 3 if labels else None
    with tf.GradientTape() as tape:
        bound = vae.negative_elbo(X, seed=[0, 1], training=True, condition=condition)
    assert np.isfinite(bound.loss).all()
    own = vae.prior.trainable_variables
    for gradient in tape.gradient(bound.loss, [each.value for each in own]):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 0
    z = vae.prior.sample(50, [0, 1])
    parameters = np.atleast_2d(vae.prior.parameters())
    log_weights = vae.prior.log_weights().numpy() if hasattr(vae.prior, "log_weights") else [0.0]
    each = [
        np.asarray(vae.family.distribution(tf.constant(row)).log_prob(z)) + w
        for row, w in zip(parameters, log_weights, strict=True)
    ]
    np.testing.assert_allclose(vae.prior.log_prob(z), scipy.special.logsumexp(each, axis=0), rtol=1e-4)
    q = vae.posterior(X)
    if vae.prior.has_analytic_kl:
        z = q.sample(4000, seed=[2, 3])
        assert_mean_is(vae.prior.kl_divergence(q).numpy(), q.log_prob(z) - vae.prior.log_prob(z))
    assert vae.sample(6, [0, 1]).shape == (6, PIXELS)
    if labels:
        assert vae.sample(3, [0, 1], condition=[0, 1, 2]).shape == (3, PIXELS)
        of_class = vae.family.distribution(tf.constant(parameters[2]))
        d, c = of_class.split(vae.prior.sample(4000, [0, 1], condition=2))
        assert_mean_is(np.asarray(of_class.discrete.mean()), d)
        assert_mean_is(np.asarray(of_class.continuous.mean()), c)
        np.testing.assert_allclose(vae.prior.log_prob(z, condition=2), of_class.log_prob(z), rtol=1e-5)
        of_each = vae.family.distribution(tf.constant(parameters[condition]))
        np.testing.assert_allclose(
            vae.prior.kl_divergence(q, condition=condition), vae.family.kl_divergence(q, of_each), rtol=1e-5
        )


def test_a_prior_of_categorical_variables_is_refused():
    with pytest.raises(InputError, match="one of categorical variables. Received: Mixed"):
        make_vae().fit_prior(X, priors.Autoregressive(num_blocks=1, width=8), epochs=1)


def test_predict_and_sample_have_the_shapes_of_both_kinds():
    vae = make_vae()
    shapes = {key: value.shape[1:] for key, value in vae.predict(X, verbose=0).items()}
    assert shapes == {
        "probabilities": (N, K),
        "index": (N,),
        "mean": (M,),
        "scale": (M,),
        "code": (N * K + M,),
        "reconstruction": (PIXELS,),
    }
    assert vae.sample(7, [0, 1]).shape == (7, PIXELS)
    usage = posterior_usage(vae.predict(X, verbose=0))
    assert (usage.num_latents, usage.num_codes) == (N + M, N * K)
    assert usage.active_units == N + M


@pytest.mark.parametrize("estimator", one_and_slowly_the_others("straight_through_gumbel_softmax"))
def test_a_loaded_model_gives_the_same_and_trains_on_to_the_bit(tmp_path, estimator):
    vae = make_vae(estimator, prior="learned")
    vae.fit(X, epochs=2, batch_size=8, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert isinstance(loaded.family, Mixed)
    for key, value in vae.predict(X, verbose=0).items():
        np.testing.assert_array_equal(loaded.predict(X, verbose=0)[key], value)
    for model in (vae, loaded):
        model.fit(X, epochs=2, batch_size=8, shuffle=False, verbose=0)
    for one, other in zip(vae.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_exported_signatures_take_the_flat_code(tmp_path):
    vae = make_vae()
    signatures = tf.saved_model.load(str(export_saved_model(vae, tmp_path))).signatures
    outputs = vae.predict(X, verbose=0)
    encoded = signatures["encode"](x=tf.constant(X))
    assert set(encoded) == set(outputs) - {"reconstruction"}
    for key, value in encoded.items():
        np.testing.assert_allclose(value, outputs[key], rtol=1e-5, atol=1e-6)
    decoded = signatures["decode"](code=encoded["code"])["reconstruction"]
    np.testing.assert_allclose(decoded, outputs["reconstruction"], rtol=1e-5, atol=1e-6)
    assert signatures["sample"](seed=tf.constant([0, 1]), n=tf.constant(7))["samples"].shape == (7, PIXELS)


@pytest.mark.parametrize("estimator", one_and_slowly_the_others("direct_arg_max"))
def test_mixed_precision_trains_every_weight(estimator):
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        vae = make_vae(estimator, prior="learned")
        before = [np.array(variable) for variable in vae.trainable_variables]
        vae.fit(X, epochs=3, batch_size=8, verbose=0)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    for old, variable in zip(before, vae.trainable_variables, strict=True):
        assert np.isfinite(variable).all()
        assert (np.asarray(variable) != old).any(), variable.path


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_networks_by_name_have_room_for_both_kinds(name):
    family = FAMILIES["categorical"]()
    encoder, decoder = make_networks(name, data_shape=(8, 8), parameter_shape=(8, 8), num_latents=N + M, family=family)
    assert encoder.output_shape == (None, N * K + 2 * M)
    assert decoder.input_shape == (None, N * K + M)
    vae = DiscreteVAE(encoder, decoder, family=family, estimator="direct_arg_max", seed=0)
    x = np.random.default_rng(0).integers(2, size=(6, 8, 8)).astype("float32")
    assert np.isfinite(vae.negative_elbo(x, seed=[0, 1], training=True).loss).all()
    assert vae.predict(x, verbose=0)["reconstruction"].shape == (6, 8, 8)


def test_an_encoder_without_room_for_the_gaussian_variables_is_refused():
    networks = make_networks("linear", data_shape=(PIXELS,), parameter_shape=(PIXELS,), num_latents=N, num_categories=K)
    with pytest.raises(InputError, match=r"outputs \[B, 6 \+ 2 M\].* Received: an output of shape \(None, 2, 3\)"):
        DiscreteVAE(*networks, family=FAMILIES["categorical"]())
