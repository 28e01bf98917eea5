"""Every prior inside of a `DiscreteVAE`: its bound, its training, and that it is saved with it."""

import zipfile

import h5py
import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.priors.arbitrary import randomize
from tests.priors.models import LATENTS, PIXELS, bits, exact, fit, make_vae
from tests.replicas import two_replicas
from tfdiscrete import InputError, families, priors
from tfdiscrete.distributions import ProductCategorical, ProductMixed, ProductNormal
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.objectives.relaxed_rate import relaxed_log_prob, relaxed_point
from tfdiscrete.serving.export import export_saved_model

MAKERS = {
    "mixture": lambda: priors.Mixture(3),
    "learned vamp": lambda: priors.VampPrior(4),
    "fixed vamp": lambda: priors.VampPrior(5, bits()[0]),
    "hierarchical": lambda: priors.Hierarchical(1, hidden_units=[4]),
    "analytic compartments": lambda: priors.Compartmentalised([1, 1], [priors.Fixed([0.5, 0.3, 0.2]), "learned"]),
    "sampled compartments": lambda: priors.Compartmentalised([1, 1], ["vamp", "mixture"]),
    "conditional": lambda: priors.Conditional(3),
}


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


every = pytest.mark.parametrize("prior", MAKERS)


def make_mixed(prior, **options):
    """A label, and four values of style."""
    family = families.Mixed(families.Categorical(3), num_discrete=1)
    networks = make_networks("linear", data_shape=(PIXELS,), parameter_shape=(PIXELS,), num_latents=5, family=family)
    vae = DiscreteVAE(*networks, family=family, prior=prior, seed=3, **options)
    vae.compile(keras.optimizers.Adam(0.03), jit_compile=False, steps_per_execution=1)
    return vae


def make(name, **options):
    """ "everything": all that owns weights or reads the encoder, in one prior of four variables."""
    if name != "everything":
        return make_vae(MAKERS[name](), **options)
    parts = [priors.VampPrior(3), priors.Hierarchical(1, hidden_units=[4]), priors.Mixture(3)]
    return make_vae(priors.Compartmentalised([1, 2, 1], parts), latents=4, **options)


def weights(vae):
    return [np.asarray(variable) for variable in vae.variables]


def assert_same(first, second):
    for one, other, variable in zip(weights(first), weights(second), first.variables, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=variable.path)


@every
def test_loss_is_rate_plus_distortion_and_bounds_the_evidence(prior):
    x, _ = bits()
    vae = make_vae(MAKERS[prior](), estimator="enumeration")
    randomize(vae.prior)
    rate, distortion, negative_evidence = exact(vae, x)
    bound = vae.negative_elbo(x, seed=[0, 0], training=True)
    np.testing.assert_allclose(bound.loss, rate + distortion, rtol=1e-4)
    np.testing.assert_allclose(bound.rate, rate, rtol=1e-3, atol=1e-4)
    assert (np.asarray(bound.loss) > negative_evidence - 1e-4).all()
    np.testing.assert_allclose(vae.negative_elbo(x, seed=[0, 0]).loss, rate + distortion, rtol=1e-4)


def test_sampled_kl_of_hard_samples_averages_to_the_exact_rate_of_a_mixture():
    x = np.repeat(bits(2)[0], 4000, axis=0)
    vae = make_vae(MAKERS["mixture"]())
    bound = vae.negative_elbo(x, seed=[1, 2])
    rate, distortion, _ = exact(vae, x)
    for sampled, expected in ((bound.rate, rate), (bound.loss, rate + distortion)):
        error = np.std(sampled) / np.sqrt(len(x))
        assert np.mean(sampled) == pytest.approx(expected.mean(), abs=4.5 * error)


def test_richer_priors_train_to_a_lower_rate_than_the_fixed_one_and_a_mixture_to_a_lower_loss():
    x = np.tile(bits(100)[0], (40, 1))
    trained = {}
    for name, prior in {"fixed": "fixed", **{name: MAKERS[name]() for name in ("mixture", "learned vamp")}}.items():
        vae = make_vae(prior, estimator="enumeration")
        fit(vae, x, batch_size=20)
        rate, distortion, _ = exact(vae, x[:100])
        trained[name] = rate.mean(), (rate + distortion).mean()
    assert trained["mixture"][0] < trained["fixed"][0] - 0.01
    assert trained["mixture"][1] < trained["fixed"][1] - 0.05
    assert trained["learned vamp"][0] < trained["fixed"][0] - 0.1


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gaussian", {}),
        slow("bernoulli", {}),
        slow("truncated_counts", {}),
        slow("invertible_gaussian", {"estimator": "straight_through_gumbel_softmax"}),
    ],
)
def test_every_family_trains_under_it(family, options):
    x, _ = bits()
    vae = make("everything", family=family, **options)
    before = vae.evaluate(x, verbose=0)
    fit(vae, x, epochs=4)
    assert vae.evaluate(x, verbose=0) < before
    assert vae.sample(5, [0, 1]).shape == (5, x.shape[1])


@pytest.mark.parametrize("family", ["categorical", "invertible_gaussian"])
@pytest.mark.parametrize("prior", ["mixture", "learned vamp", "conditional"])
def test_relaxed_kl_compares_the_densities_of_the_relaxed_samples(prior, family):
    x, _ = bits(4)
    estimator = "invertible_gaussian" if family == "invertible_gaussian" else "gumbel_softmax"
    family = families.InvertibleGaussian(3) if family == "invertible_gaussian" else families.Categorical(3)
    vae = make_vae(MAKERS[prior](), family, estimator=estimator, kl="relaxed")
    randomize(vae.prior)
    q = vae.posterior(x)
    point = relaxed_point(q, [0, 1], 5, 0.7)
    log_weights, parameters = vae.prior.log_weights().numpy(), vae.prior.parameters()
    each = [relaxed_log_prob(family.distribution(row), point, 0.7) for row in parameters]
    expected = scipy.special.logsumexp(np.stack(each, axis=-1) + log_weights, axis=-1)
    np.testing.assert_allclose(relaxed_log_prob(vae.prior, point, 0.7), expected, rtol=1e-4)
    assert np.isfinite(vae.negative_elbo(x, seed=[0, 1], training=True).loss).all()


def test_relaxed_kl_compares_the_densities_of_both_kinds_of_variables():
    x, _ = bits(4)
    family = families.Mixed(families.Categorical(3), num_discrete=1)
    networks = make_networks(
        "linear", data_shape=x.shape[1:], parameter_shape=x.shape[1:], num_latents=3, family=family
    )
    vae = DiscreteVAE(*networks, family=family, prior="mixture", estimator="gumbel_softmax", kl="relaxed", seed=3)
    randomize(vae.prior)
    point = relaxed_point(vae.posterior(x), [0, 1], 5, 0.7)
    log_weights, laws = vae.prior.components()
    each = []
    for c in range(log_weights.shape[-1]):
        discrete = ProductCategorical(laws.discrete.logits[c])
        continuous = ProductNormal(laws.continuous.loc[c], laws.continuous.scale[c])
        each.append(relaxed_log_prob(ProductMixed(discrete, continuous), point, 0.7) + log_weights[c])
    expected = scipy.special.logsumexp(np.stack(each, axis=-1), axis=-1)
    np.testing.assert_allclose(relaxed_log_prob(vae.prior, point, 0.7), expected, rtol=1e-4)
    assert np.isfinite(vae.negative_elbo(x, seed=[0, 1], training=True).loss).all()


def label_and_style():
    return priors.Compartmentalised([1, 4], ["learned", priors.Mixture(3)])


@pytest.mark.parametrize(
    ("prior", "estimator"),
    [
        (label_and_style, "relax"),
        slow(label_and_style, "gumbel_softmax"),
        slow(
            lambda: priors.Compartmentalised([1, 2, 2], [priors.Conditional(3), "vamp", "hierarchical"]), "enumeration"
        ),
        slow(MAKERS["hierarchical"], "score_function"),
    ],
    ids=["mixture", "mixture relaxed", "others", "hierarchical"],
)
def test_a_label_and_a_style_train_are_saved_and_exported_under_a_prior_each(prior, estimator, tmp_path):
    x, _ = bits()
    vae = make_mixed(prior(), estimator=estimator)
    before = vae.evaluate(x, verbose=0)[0]
    start = [np.array(weight) for weight in vae.prior.trainable_weights]
    fit(vae, x, epochs=8)
    assert vae.evaluate(x, verbose=0)[0] < before
    for old, weight in zip(start, vae.prior.trainable_weights, strict=True):
        assert np.abs(old - weight).max() > 1e-3, weight.path
    vae.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert loaded.evaluate(x, verbose=0) == vae.evaluate(x, verbose=0)
    drawn = vae.sample(7, [0, 1])
    np.testing.assert_array_equal(loaded.sample(7, [0, 1]), drawn)
    signatures = tf.saved_model.load(str(export_saved_model(vae, tmp_path / "exported"))).signatures
    served = signatures["sample"](seed=tf.constant([0, 1]), n=tf.constant(7))["samples"]
    np.testing.assert_allclose(served, drawn, rtol=1e-5, atol=1e-6)


def test_sampled_kl_of_a_label_and_a_style_averages_to_the_sum_of_both_closed_forms():
    x = np.repeat(bits(2)[0], 4000, axis=0)
    vae = make_mixed(priors.Compartmentalised([1, 4], ["learned", priors.Mixture(1)]), estimator="score_function")
    randomize(vae.prior)
    q = vae.posterior(x[:1])
    label = vae.prior.part_0.kl_divergence(q.discrete)
    style = q.continuous.kl_divergence(vae.family.continuous.distribution(vae.prior.part_1.parameters()[0]))
    rate = vae.negative_elbo(x, seed=[1, 2], training=True).rate[:4000]
    error = np.std(rate) / np.sqrt(len(rate))
    assert np.mean(rate) == pytest.approx((label + style).numpy().item(), abs=4.5 * error)


@pytest.mark.parametrize("prior", ["hierarchical", "everything"])
def test_importance_weights_of_relaxed_samples_are_sampled_under_priors_without_a_relaxed_density(prior):
    x, _ = bits()
    vae = make(prior, estimator="gumbel_softmax", objective="importance_weighted")
    assert np.isfinite(fit(vae, x)["loss"]).all()


@pytest.mark.parametrize("prior", ["everything", slow("fixed vamp"), slow("conditional")])
def test_a_saved_model_is_the_same_and_trains_on_bit_for_bit(prior, tmp_path):
    x, _ = bits()
    whole, first = make(prior), make(prior)
    fit(whole, x, epochs=2)
    fit(first, x)
    first.save(tmp_path / "vae.keras")
    loaded = keras.saving.load_model(tmp_path / "vae.keras")
    assert_same(loaded, first)
    assert loaded.evaluate(x, verbose=0) == first.evaluate(x, verbose=0)
    np.testing.assert_array_equal(loaded.sample(7, [0, 1]), first.sample(7, [0, 1]))
    fit(loaded, x)
    assert_same(loaded, whole)


@pytest.mark.parametrize("prior", ["everything", slow("fixed vamp")])
def test_a_checkpoint_carries_every_weight_over(prior, tmp_path):
    x, _ = bits()
    first, twin = make(prior), make(prior, seed=4)
    fit(first, x)
    for vae in (first, twin):
        vae.optimizer.build(vae.trainable_variables)
    path = tf.train.Checkpoint(model=first).save(tmp_path / "checkpoint")
    tf.train.Checkpoint(model=twin).restore(path).assert_existing_objects_matched()
    assert_same(twin, first)


def test_the_encoder_is_the_model_s_and_saved_once(tmp_path):
    vae = make("everything")
    assert len({id(weight) for weight in vae.weights}) == len(vae.weights)
    own = {id(weight) for weight in vae.prior.weights}
    assert not own & {id(weight) for weight in vae.encoder.weights}
    vae.save(tmp_path / "vae.keras")
    with zipfile.ZipFile(tmp_path / "vae.keras") as archive:
        archive.extract("model.weights.h5", tmp_path)
    shapes = []
    with h5py.File(tmp_path / "model.weights.h5") as file:
        file.visititems(lambda name, item: shapes.append(item.shape) if isinstance(item, h5py.Dataset) else None)
    kernel = tuple(vae.encoder.weights[0].shape)
    assert shapes.count(kernel) == 1


def test_mixed_precision_trains():
    x, _ = bits()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        vae = make("everything")
    finally:
        keras.config.set_dtype_policy("float32")
    before = vae.evaluate(x, verbose=0)
    fit(vae, x, epochs=4)
    assert vae.evaluate(x, verbose=0) < before
    assert {weight.dtype for weight in vae.trainable_variables} == {"float32"}


@pytest.mark.slow
def test_it_trains_under_xla():
    x, _ = bits()
    vae = make("everything", jit_compile=True)
    before = vae.evaluate(x, verbose=0)
    fit(vae, x, epochs=4)
    assert vae.evaluate(x, verbose=0) < before


def test_two_replicas_train_as_one_device_does():
    x, _ = bits(48)
    strategy = two_replicas()
    with strategy.scope():
        replicated = make_vae(priors.VampPrior(4), estimator="enumeration", optimizer=keras.optimizers.SGD(3.0))
    single = make_vae(priors.VampPrior(4), estimator="enumeration", optimizer=keras.optimizers.SGD(3.0))
    for vae in (replicated, single):
        fit(vae, x, batch_size=12)
    for one, other in zip(weights(replicated), weights(single), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    # Projected, by both.
    inputs = np.asarray(single.prior.weights[0])
    assert inputs.min() >= 0.0
    assert inputs.max() == 1.0


def test_networks_without_static_shapes_are_built_by_the_first_data():
    class Encoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense, self.reshape = keras.layers.Dense(LATENTS * 3), keras.layers.Reshape((LATENTS, 3))

        def call(self, x):
            return self.reshape(self.dense(x))

    x, _ = bits()
    donor = make_vae("fixed")
    vae = type(donor)(Encoder(), donor.decoder, prior=MAKERS["sampled compartments"](), seed=3)
    vae.compile(keras.optimizers.Adam(0.03), jit_compile=False, steps_per_execution=1)
    losses = fit(vae, x, epochs=4)["loss"]
    assert losses[-1] < losses[0]


class TestAPriorOfAnotherModel:
    """Built for one family, and given to a model of another."""

    def of_counts(self, prior):
        make_vae(prior, families.TruncatedCounts("poisson", prior=2.0), latents=2)
        return prior

    @pytest.mark.parametrize("name", ["fixed", "learned", "mixture"])
    def test_of_other_variables_is_refused(self, name):
        prior = self.of_counts(priors.get(name))
        with pytest.raises(
            InputError, match=r"built for, 2 TruncatedCounts variables.*make another one.* a model of 2 Categ"
        ):
            make_vae(prior)

    def test_of_another_number_of_variables_is_refused(self):
        prior = priors.Fixed()
        make_vae(prior, latents=1)
        with pytest.raises(
            InputError, match=r"built for, 1 Categorical variables.* Received: a model of 2 Categorical"
        ):
            make_vae(prior)

    def test_of_as_many_variables_of_its_family_is_taken(self):
        prior = priors.Learned()
        assert make_vae(prior).prior is make_vae(prior).prior is prior

    def test_settings_that_say_the_same_are_alike(self):
        prior = priors.Fixed()
        for law in (2, 2.0):
            assert make_vae(prior, families.TruncatedCounts("poisson", prior=law), latents=2).prior is prior

    def test_of_groups_that_another_model_has_is_refused(self):
        groups = priors.Compartmentalised([1, 1], ["vamp", "fixed"])
        make_vae(groups)
        with pytest.raises(InputError, match="each group needs a prior that is not built. Received: the VampPrior"):
            make_vae(priors.Compartmentalised([1, 1], [groups.parts[0], "fixed"]))

    def test_a_vamp_prior_of_other_data_is_refused(self):
        prior = priors.VampPrior(4)
        make_vae(prior)
        networks = make_networks("linear", data_shape=(5,), parameter_shape=(5,), num_latents=2, num_categories=3)
        with pytest.raises(InputError, match="a VampPrior is made of one model's posterior"):
            DiscreteVAE(*networks, prior=prior)

    def test_a_family_that_was_built_for_other_variables_is_refused(self):
        family = families.Categorical()
        make_vae("fixed", family)
        with pytest.raises(InputError, match=r"this Categorical was built for 2 variables.* outputs \(5, 3\)"):
            make_vae("fixed", family, latents=5)

    def test_a_vamp_prior_of_another_encoder_is_refused_and_stays_as_it_is(self):
        prior = priors.VampPrior(4)
        first = make_vae(prior)
        x, _ = bits()
        before = first.evaluate(x, verbose=0, return_dict=True)["loss"]
        second = keras.models.clone_model(first.encoder)
        second.set_weights([weights + 1.0 for weights in first.encoder.get_weights()])
        with pytest.raises(InputError, match="a VampPrior is made of one model's posterior: make another one"):
            DiscreteVAE(second, first.decoder, prior=prior)
        assert first.evaluate(x, verbose=0, return_dict=True)["loss"] == pytest.approx(before, rel=0.05)

    def test_a_vamp_prior_stays_with_a_model_of_the_same_encoder(self):
        vae = make_vae(priors.VampPrior(4))
        again = vae.with_prior(vae.prior)
        x, _ = bits()
        np.testing.assert_array_equal(
            again.bounds(x, seed=[0, 1], num_samples=3).elbo, vae.bounds(x, seed=[0, 1], num_samples=3).elbo
        )


def test_a_class_of_priors_is_no_prior():
    with pytest.raises(InputError, match=r"pass a prior, Learned\(...\), or its name. Received: the class itself"):
        make_vae(priors.Learned)
