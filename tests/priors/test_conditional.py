import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.priors.arbitrary import SEED, all_codes, arbitrary, build, indices_of, make_family
from tests.priors.models import bits, exact, fit, make_vae
from tfdiscrete import InputError
from tfdiscrete.priors import Conditional
from tfdiscrete.serving import export_saved_model

PROBABILITIES = np.array([0.1, 0.2, 0.3, 0.4])  # of `arbitrary`


def given(prior, family):
    """p(z|y) of all codes and classes, `[codes, C]`."""
    parameters = prior.parameters()
    laws = family.hard(family.distribution(parameters))
    return np.exp(np.asarray(laws.log_prob(all_codes(family)[:, None]), np.float64))


@pytest.mark.parametrize("family", ["categorical", "explicit counts"])
def test_given_classes_it_has_their_law_and_without_them_the_mixture(family):
    family = make_family(family)
    prior, codes = arbitrary("conditional", family), all_codes(family)
    expected = given(prior, family)
    for y in range(4):
        np.testing.assert_allclose(np.exp(prior.log_prob(codes, condition=y)), expected[:, y], rtol=1e-4)
    classes = np.arange(len(codes)) % 4
    own = expected[np.arange(len(codes)), classes]
    np.testing.assert_allclose(np.exp(prior.log_prob(codes, condition=classes)), own, rtol=1e-4)
    np.testing.assert_allclose(np.exp(prior.log_prob(codes)), expected @ PROBABILITIES, rtol=1e-4)


@pytest.mark.parametrize("family", ["categorical", "gaussian", "planar"])
def test_kl_given_classes_has_a_closed_form(family):
    family = make_family(family)
    prior, classes = arbitrary("conditional", family), np.array([0, 3, 2, 2, 1])
    shape = (5, *family.prior_parameters().shape)
    q = family.distribution(np.random.default_rng(0).normal(size=shape).astype("float32"))
    assert prior.given(classes).has_analytic_kl
    assert not prior.has_analytic_kl
    z = family.hard(q).sample(20_000, seed=SEED)
    ratios = np.asarray(family.hard(q).log_prob(z) - prior.log_prob(z, condition=classes))
    errors = ratios.std(0) / np.sqrt(len(ratios))
    assert (np.abs(ratios.mean(0) - prior.kl_divergence(q, condition=classes)) < 4.5 * errors).all()


def test_samples_follow_the_class_and_the_classes_their_probabilities():
    family = make_family("categorical")
    prior = arbitrary("conditional", family)
    expected = given(prior, family)
    for condition, p in ((2, expected[:, 2]), (np.repeat([0, 3], 10_000), expected[:, [0, 3]].mean(1))):
        counts = np.bincount(indices_of(prior.sample(20_000, SEED, condition=condition)), minlength=len(p))
        assert scipy.stats.chisquare(counts, p / p.sum() * 20_000).pvalue > 1e-3
    drawn = prior.sample(4, SEED, condition=[0, 1, 2, 3])
    for y in range(4):
        assert drawn[y].shape == (3, 3)


def test_each_sample_is_of_its_own_class():
    family = make_family("categorical")
    prior = build(Conditional(3), family)
    prior.set_weights([40.0 * np.eye(3)[:, None] * np.ones([1, 3, 1])])
    classes = np.array([2, 0, 1, 1, 0])
    np.testing.assert_array_equal(
        prior.sample(5, SEED, condition=classes).numpy().argmax(-1), classes[:, None] * [1, 1, 1]
    )


@pytest.mark.parametrize("wrong", [-1, 4])
def test_a_class_out_of_range_is_refused_and_nan_in_a_graph(wrong):
    family = make_family("categorical")
    prior, z = arbitrary("conditional", family), all_codes(family)[:2]
    with pytest.raises(InputError, match=rf"classes must be from 0 to 3\..* Received: {wrong}"):
        prior.log_prob(z, condition=[0, wrong])
    for jit_compile in (False, True):
        traced = tf.function(lambda y: prior.log_prob(z, condition=y), jit_compile=jit_compile)
        np.testing.assert_array_equal(np.isnan(traced(tf.constant([0, wrong]))), [False, True])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be an integer of at least 1"),
        ({"num_classes": 3, "probabilities": [0.5, 0.5]}, r"one for each of the 3 classes\. Received: shape \(2,\)"),
        ({"num_classes": 2, "probabilities": [0.5, 0.6]}, "must be positive and sum to 1"),
        ({"num_classes": 2, "seed": -1}, "seed must be"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Conditional(**options)


def test_conditions_of_another_number_than_the_samples_are_refused():
    prior = arbitrary("conditional", make_family("categorical"))
    with pytest.raises(InputError, match=r"one class, or one for each of 5 samples\. Received: 3"):
        prior.sample(5, SEED, condition=[0, 1, 2])
    with pytest.raises(InputError, match="classes must be integers. Received: float32"):
        prior.sample(1, SEED, condition=[0.5])


class TestInAModel:
    def test_labels_are_learned_from_and_lower_the_rate(self):
        x, y = bits(100)
        many, classes = np.tile(x, (25, 1)), np.tile(y, 25)
        labelled, unlabelled = (make_vae(Conditional(3), estimator="enumeration") for _ in range(2))
        fit(labelled, many, classes, batch_size=25)
        fit(unlabelled, many, batch_size=25)
        with_labels = labelled.evaluate(x, y, verbose=0, return_dict=True)
        without = unlabelled.evaluate(x, verbose=0, return_dict=True)
        assert with_labels["rate"] < without["rate"] - 0.2
        assert with_labels["loss"] < without["loss"] - 0.2

    def test_with_labels_it_bounds_the_evidence_given_the_class_and_without_that_of_x(self):
        x, _ = bits(20)
        vae = make_vae(Conditional(3, [0.2, 0.3, 0.5]), estimator="enumeration")
        codes = all_codes(vae.family)
        assert vae.kl == "auto"
        without = vae.negative_elbo(x, seed=[0, 0]).loss
        np.testing.assert_allclose(without, sum(exact(vae, x)[:2]), rtol=1e-4)
        for c in range(3):
            rate, distortion, evidence = exact(vae, x, vae.prior.log_prob(codes, condition=c))
            own = vae.negative_elbo(x, seed=[0, 0], condition=tf.fill([20], c))
            np.testing.assert_allclose(own.loss, rate + distortion, rtol=1e-4)
            assert (own.loss.numpy() > evidence - 1e-4).all()
            bounds = vae.bounds(x, seed=[0, 0], num_samples=400, condition=tf.fill([20], c))
            np.testing.assert_allclose(bounds.rate, rate, rtol=1e-3)
            assert (bounds.importance_weighted.numpy() < -evidence + 0.2).all()

    @pytest.mark.parametrize("kind", ["data set", "column"])
    def test_labels_may_come_in_a_data_set_or_a_column(self, kind):
        x, y = bits(30)
        vae, reference = make_vae(Conditional(3)), make_vae(Conditional(3))
        fit(reference, x, y)
        if kind == "column":
            fit(vae, x, y[:, None])
        else:
            vae.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(10), shuffle=False, verbose=0)
        for one, other in zip(vae.get_weights(), reference.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize(("y", "message"), [(3, "from 0 to 2. Received: 3"), (0.5, "integers. Received: float")])
    def test_labels_that_are_none_are_refused(self, y, message):
        x, _ = bits(30)
        with pytest.raises(InputError, match=f"classes must be {message}"):
            make_vae(Conditional(3)).fit(x, np.full(30, y), verbose=0)

    def test_labels_are_refused_under_another_prior_and_weights_under_this(self):
        x, y = bits(30)
        with pytest.raises(InputError, match=r"learns from x alone.*prior=Conditional\(num_classes\)"):
            make_vae("learned").fit(x, y, verbose=0)
        with pytest.raises(InputError, match="counts every example once. Received: sample_weight"):
            make_vae(Conditional(3)).fit(x, y, sample_weight=np.ones(30), verbose=0)
        with pytest.raises(InputError, match="takes no condition"):
            make_vae("learned").sample(3, SEED, condition=0)

    def test_it_is_exported_with_the_class_as_an_input_of_sample(self, tmp_path):
        vae = make_vae(Conditional(3))
        export_saved_model(vae, tmp_path)
        served = tf.saved_model.load(str(tmp_path / "1"))
        sample = served.signatures["sample"]
        assert set(sample.structured_input_signature[1]) == {"seed", "n", "condition"}
        seed, n = tf.constant(SEED), tf.constant(4)
        for condition in ([2], [0, 1, 2, 2]):
            samples = sample(seed=seed, n=n, condition=tf.constant(condition))["samples"]
            np.testing.assert_allclose(samples, vae.sample(4, SEED, condition=condition), rtol=1e-5)
        plain = make_vae("learned")
        assert len(plain.endpoints()["sample"].inputs) == 2

    def test_it_is_restored_with_its_probabilities(self, tmp_path):
        x, y = bits(30)
        vae = make_vae(Conditional(3, [0.2, 0.3, 0.5]))
        fit(vae, x, y)
        vae.save(tmp_path / "vae.keras")
        loaded = keras.saving.load_model(tmp_path / "vae.keras")
        assert loaded.prior.probabilities == [0.2, 0.3, 0.5]
        assert loaded.evaluate(x, y, verbose=0) == vae.evaluate(x, y, verbose=0)
        np.testing.assert_allclose(scipy.special.logsumexp(loaded.prior.log_weights()), 0.0, atol=1e-6)


@pytest.mark.parametrize("wrong", [12, -1, [3, 12], [[1], [-1]]])
def test_classes_out_of_range_are_refused_whatever_their_shape(wrong):
    prior = arbitrary("conditional", make_family("categorical"))
    with pytest.raises(InputError, match=r"classes must be from 0 to 3\..* Received: (12|-1)\."):
        prior.given(wrong)
    if np.min(wrong) < 0:
        with pytest.raises(InputError, match="leave all out, or use a SemiSupervisedVAE"):
            prior.given(wrong)
