import json

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tests.models.label_problem import (
    CLASSES,
    PIXELS,
    STYLE,
    cost_of_label,
    examples,
    log_classifier,
    log_evidence,
    make_model,
    style_law,
)
from tests.replicas import two_replicas
from tfdiscrete import InputError
from tfdiscrete.estimators import DirectArgMax
from tfdiscrete.models import SemiSupervisedVAE, make_label_networks
from tfdiscrete.objectives import CrossEntropy, TaskLoss
from tfdiscrete.ops import normal, split_seed
from tfdiscrete.priors import Conditional, Fixed, Learned, Prior, VampPrior
from tfdiscrete.serving import export_saved_model

X, Y, PARTIAL = examples()
SEED = [5, 7]
ATTRIBUTES = (2, 3)  # two labels of three classes
PAIRS = np.stack([Y, (Y + X[:, 0].astype(int)) % 3], axis=-1)
# Each row another pattern of what is known.
PARTIAL_PAIRS = np.where(np.array([[1, 1], [1, 0], [0, 1], [0, 0]] * 6) == 1, PAIRS, -1)
EYE = np.eye(CLASSES)


def weights(model):
    return [np.asarray(variable) for variable in model.variables]


def assert_same(first, second):
    for one, other in zip(weights(first), weights(second), strict=True):
        np.testing.assert_array_equal(one, other)


def fit(model, x, y, epochs=1, batch_size=8):
    return model.fit(x, y, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=0).history


def loss_of(model, x, y, *, seed=SEED, training=True):
    """`[B]`, for integer labels."""
    y = tf.constant(np.reshape(y, (len(x), -1)), tf.int32)
    return model.terms((tf.constant(x), y), seed=tf.constant(seed), training=training).loss


def style_noise(seed, count):
    """What `terms` draws for the styles, `[B, D]`."""
    return normal([1, 1, count, STYLE], split_seed(tf.constant(seed), 2)[1]).numpy()[0, 0].astype(np.float64)


def bound_in_numpy(model, x, y, noise, log_prior):
    """U(x) where y is -1 and L(x, y) - log p(y) where it is not, `[B]`."""
    costs = np.stack([cost_of_label(model, x, np.tile(EYE[k], (len(x), 1)), noise) for k in range(CLASSES)], axis=-1)
    log_q = log_classifier(model, x)
    unknown = (np.exp(log_q) * (costs + log_q - log_prior)).sum(-1)
    rows = np.arange(len(x))
    return np.where(y < 0, unknown, costs[rows, y] - log_prior[y])


class Alike(Prior):
    """Two labels of three classes, alike with probability 2 / 3: no closed-form KL."""

    def log_prob(self, z):
        return tf.reduce_sum(z[..., 0, :] * z[..., 1, :], axis=-1) * np.log(4.0) - np.log(18.0)

    def sample(self, num_samples, seed):
        return tf.one_hot(tf.zeros([num_samples, 2], tf.int32), 3)


class TestLoss:
    @pytest.mark.parametrize("probabilities", [None, [0.5, 0.3, 0.2]])
    @pytest.mark.parametrize("y", [PARTIAL, Y, np.full_like(Y, -1)], ids=["both", "labelled", "unlabelled"])
    def test_enumeration_is_the_loss_by_hand(self, y, probabilities):
        model = make_model(supervision=CrossEntropy(7.0), prior=Fixed(probabilities))
        log_prior = np.log(probabilities or np.full(CLASSES, 1 / CLASSES))
        expected = bound_in_numpy(model, X, y, style_noise(SEED, len(X)), log_prior)
        expected -= 7.0 * np.where(y < 0, 0.0, log_classifier(model, X)[np.arange(len(X)), y])
        np.testing.assert_allclose(loss_of(model, X, y), expected, rtol=1e-5)

    def test_task_loss_is_expected_under_the_classifier_and_the_label_stays_latent(self):
        model = make_model(supervision=TaskLoss(7.0))
        missing = np.full_like(PARTIAL, -1)
        expected = bound_in_numpy(model, X, missing, style_noise(SEED, len(X)), np.full(CLASSES, -np.log(CLASSES)))
        hit = np.exp(log_classifier(model, X))[np.arange(len(X)), PARTIAL]
        expected += np.where(PARTIAL < 0, 0.0, 7.0 * (1 - hit))
        np.testing.assert_allclose(loss_of(model, X, PARTIAL), expected, rtol=1e-5)

    def test_of_attributes_those_that_are_known_are_given_and_the_others_summed_over(self):
        model = make_model(ATTRIBUTES, supervision=CrossEntropy(2.0), prior=Fixed([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]]))
        log_p = np.log([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
        log_q = scipy.special.log_softmax(log_classifier(model, X).reshape(-1, 2, 3), axis=-1)
        noise, expected = style_noise(SEED, len(X)), np.zeros(len(X))
        for i, (first, second) in enumerate(PARTIAL_PAIRS):
            for a in range(CLASSES) if first < 0 else [first]:
                for b in range(CLASSES) if second < 0 else [second]:
                    label = np.concatenate([EYE[a], EYE[b]])[None]
                    log_mass = sum(
                        log_q[i, n, k] for n, (k, given) in enumerate([(a, first), (b, second)]) if given < 0
                    )
                    cost = cost_of_label(model, X[i : i + 1], label, noise[i : i + 1])[0]
                    expected[i] += np.exp(log_mass) * (cost + log_mass - log_p[0, a] - log_p[1, b])
            expected[i] -= 2.0 * sum(log_q[i, n, k] for n, k in enumerate((first, second)) if k >= 0)
        np.testing.assert_allclose(loss_of(model, X, PARTIAL_PAIRS), expected, rtol=1e-5)

    def test_a_prior_of_dependent_labels_is_taken_too(self):
        model, plain = make_model(ATTRIBUTES, prior=Alike(), seed=1), make_model(ATTRIBUTES, seed=1)
        difference = loss_of(plain, X, PAIRS).numpy() - loss_of(model, X, PAIRS).numpy()
        alike = PAIRS[:, 0] == PAIRS[:, 1]
        np.testing.assert_allclose(difference, np.log(np.where(alike, 4.0, 1.0) / 18.0) + np.log(9.0), atol=1e-4)
        # Where nothing is known: the sum over both, weighted by q.
        q = np.exp(scipy.special.log_softmax(log_classifier(model, X).reshape(-1, 2, 3), axis=-1))
        same = (q[:, 0] * q[:, 1]).sum(-1)
        missing = np.full_like(PAIRS, -1)
        difference = loss_of(plain, X, missing).numpy() - loss_of(model, X, missing).numpy()
        np.testing.assert_allclose(difference, same * np.log(4.0) - np.log(18.0) + np.log(9.0), atol=1e-4)


class TestBound:
    def test_evaluation_is_a_bound_on_the_evidence_whatever_labels_it_is_given(self):
        model = make_model()
        fit(model, X, PARTIAL, epochs=3)
        evidence = log_evidence(model, X)
        draws = loss_of(model, np.repeat(X, 200, axis=0), np.repeat(PARTIAL, 200), training=False)
        draws = draws.numpy().reshape(len(X), 200)
        error = draws.std(1) / np.sqrt(200)
        assert (draws.mean(1) > -evidence - 3 * error).all()
        gap = draws.mean() + evidence.mean()
        assert 5 * np.sqrt((error**2).mean() / len(X)) < gap < 2.0
        unlabelled = loss_of(model, X, np.full_like(Y, -1), training=False)
        np.testing.assert_array_equal(loss_of(model, X, Y, training=False), unlabelled)

    def test_evaluate_reports_the_bound_and_the_accuracy_of_known_labels(self):
        model = make_model()
        results = model.evaluate(X, PARTIAL, batch_size=5, verbose=0, return_dict=True)
        assert sorted(results) == ["accuracy", "cross_entropy", "loss"]
        known = PARTIAL >= 0
        log_q = log_classifier(model, X)
        assert results["accuracy"] == pytest.approx((log_q.argmax(-1) == Y)[known].mean())
        expected = -log_q[np.arange(len(X)), Y][known].mean()
        assert results["cross_entropy"] == pytest.approx(expected, rel=1e-5)
        whole = model.evaluate(X, batch_size=5, verbose=0, return_dict=True)
        assert whole["loss"] == results["loss"]
        assert np.isnan(whole["accuracy"])


class TestFit:
    @pytest.mark.parametrize(
        "estimator",
        [
            "direct_arg_max",
            "enumeration",
            *(pytest.param(e, marks=pytest.mark.slow) for e in ("gumbel_softmax", "relax")),
        ],
    )
    def test_few_labels_are_learned_and_the_bound_improves(self, estimator):
        model = make_model(estimator=estimator, jit_compile=estimator == "relax", steps=3)
        before = model.evaluate(X, verbose=0, return_dict=True)["loss"]
        history = fit(model, X, PARTIAL, epochs=40)
        assert sorted(history) == ["accuracy", "cross_entropy", "loss"]
        assert history["accuracy"][-1] > 0.8
        after = model.evaluate(X, Y, verbose=0, return_dict=True)
        assert after["loss"] < before - 0.3
        assert after["accuracy"] > 0.75
        assert (model.predict(X, verbose=0).argmax(-1) == Y).mean() == pytest.approx(after["accuracy"])

    def test_every_weight_is_trained(self):
        model = make_model(features="own", prior=Learned(), estimator="relax")
        before = [np.asarray(w) for w in model.trainable_variables]
        fit(model, X, PARTIAL)
        assert all((np.asarray(w) != b).any() for w, b in zip(model.trainable_variables, before, strict=True))

    @pytest.mark.parametrize("kind", ["whole floats", "data set"])
    def test_labels_may_be_integers_of_any_kind(self, kind):
        model, reference = make_model(), make_model()
        if kind == "data set":
            model.fit(tf.data.Dataset.from_tensor_slices((X, Y.astype("uint8"))).batch(8), shuffle=False, verbose=0)
        else:
            fit(model, X, Y.astype("float64"))
        fit(reference, X, Y)
        assert_same(model, reference)

    def test_validation_data_may_have_labels_or_not(self):
        model, plain = make_model(), make_model()
        options = {"batch_size": 8, "shuffle": False, "verbose": 0}
        history = model.fit(X, PARTIAL, validation_data=(X, Y), **options).history
        assert {"val_loss", "val_accuracy", "val_cross_entropy"} < set(history)
        plain.fit(X, PARTIAL, validation_data=(X,), **options)
        assert_same(model, plain)

    def test_attributes_of_which_some_are_missing_are_learned(self):
        model = make_model(ATTRIBUTES, optimizer=keras.optimizers.Adam(0.05))
        history = fit(model, X, PARTIAL_PAIRS, epochs=30)
        assert history["accuracy"][-1] > 0.9
        probabilities = model.predict(X, verbose=0)
        assert probabilities.shape == (len(X), 2, 3)
        np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)

    @pytest.mark.parametrize(
        ("name", "policy", "jit_compile"),
        [
            ("dense", "mixed_float16", False),
            pytest.param("conv", "mixed_bfloat16", False, marks=pytest.mark.slow),
            pytest.param("dense", "mixed_bfloat16", True, marks=pytest.mark.slow),
            pytest.param("conv", "mixed_float16", True, marks=pytest.mark.slow),
        ],
    )
    def test_named_networks_train_in_mixed_precision(self, name, policy, jit_compile):
        x = np.repeat(np.repeat(X.reshape(-1, 2, 2), 2, axis=1), 2, axis=2)
        keras.config.set_dtype_policy(policy)
        try:
            networks = make_label_networks(
                name, data_shape=(4, 4), parameter_shape=(4, 4), num_classes=CLASSES, style_size=STYLE
            )
            model = SemiSupervisedVAE(*networks, seed=0)
        finally:
            keras.config.set_dtype_policy("float32")
        model.compile(keras.optimizers.Adam(0.01), jit_compile=jit_compile, steps_per_execution=3)
        losses = fit(model, x, PARTIAL, epochs=6)["loss"]
        assert losses[-1] < losses[0]
        assert {w.dtype for w in model.trainable_variables} == {"float32"}

    def test_two_replicas_train_as_one_device_does_and_one_may_have_no_share(self):
        single = make_model(optimizer=keras.optimizers.SGD(0.0))
        strategy = two_replicas()
        with strategy.scope():
            model = make_model(optimizer=keras.optimizers.SGD(0.0))
        x, y = X[:17], PARTIAL[:17]
        history, expected = (fit(m, x, y, epochs=2) for m in (model, single))
        np.testing.assert_allclose(history["accuracy"], expected["accuracy"])
        np.testing.assert_allclose(history["cross_entropy"], expected["cross_entropy"], rtol=1e-5)
        # Replicas draw other noise for the styles.
        np.testing.assert_allclose(history["loss"], expected["loss"], rtol=0.2)
        assert not np.array_equal(history["loss"], expected["loss"])
        assert all(np.isfinite(w).all() for w in weights(model))


class TestGeneration:
    def test_a_picture_s_rows_are_labels_and_its_columns_styles(self):
        model = make_model()
        rows = model.rows(4, SEED)
        assert rows.shape == (CLASSES, 4, PIXELS)
        style = normal([4, STYLE], SEED)
        for k in range(CLASSES):
            logits = np.concatenate([np.tile(EYE[k], (4, 1)), style], axis=-1) @ model.decoder.get_weights()[0]
            expected = scipy.special.expit(logits + model.decoder.get_weights()[1])
            np.testing.assert_allclose(rows[k], expected, rtol=1e-4)
            np.testing.assert_allclose(model.decode([k] * 4, style), expected, rtol=1e-4)
        assert make_model(ATTRIBUTES).rows(2, SEED).shape == (9, 2, PIXELS)
        assert make_model(ATTRIBUTES).rows(2, SEED, labels=[[0, 1]]).shape == (1, 2, PIXELS)

    def test_samples_are_a_function_of_the_seed_and_follow_the_prior(self):
        model = make_model(prior=Fixed([0.98, 0.01, 0.01]))
        model.decoder.set_weights([np.r_[10 * EYE, np.zeros((STYLE, 3))] @ np.eye(3, PIXELS), np.full(PIXELS, -5.0)])
        samples = model.sample(500, SEED).numpy()
        np.testing.assert_array_equal(samples, model.sample(500, SEED))
        assert (samples != model.sample(500, [0, 0]).numpy()).any()
        np.testing.assert_allclose(samples[:, :3].round().mean(0), [0.98, 0.01, 0.01], atol=0.02)

    def test_a_label_that_is_none_is_refused(self):
        with pytest.raises(InputError, match=r"integers from 0 to 2. Received: 3 at index \(1,\)"):
            make_model().decode([0, 3], np.zeros((2, STYLE), np.float32))
        with pytest.raises(InputError, match=r"integers from 0 to 2. Received: -1 at index \(0,\)"):
            make_model().rows(1, SEED, labels=[-1])

    def test_the_style_of_an_example_is_the_mean_of_its_law(self):
        model = make_model()
        np.testing.assert_allclose(model.encode_style(X, Y), style_law(model, X, EYE[Y])[0], rtol=1e-4, atol=1e-5)


SAVED = {
    "attributes": {"label_shape": ATTRIBUTES},
    "learned prior": {"prior": "learned", "estimator": "relax"},
    "task loss": {"supervision": TaskLoss(3.0), "estimator": DirectArgMax(0.3, sign=-1)},
    "xla": {"jit_compile": True, "steps": 3},
}


class TestSaving:
    @pytest.mark.parametrize(
        "options",
        [pytest.param(o, id=name, marks=pytest.mark.slow if name == "xla" else ()) for name, o in SAVED.items()],
    )
    def test_a_loaded_model_predicts_the_same_and_trains_on_bit_for_bit(self, options, tmp_path):
        y = PARTIAL_PAIRS if "label_shape" in options else PARTIAL
        options = {k: type(v).from_config(v.get_config()) if hasattr(v, "step") else v for k, v in options.items()}
        model = make_model(**options)
        fit(model, X, y)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert_same(loaded, model)
        assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())
        np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
        assert fit(loaded, X, y) == fit(model, X, y)
        assert_same(loaded, model)

    @pytest.mark.parametrize("label_shape", [(CLASSES,), ATTRIBUTES])
    def test_the_exported_signatures_give_the_model_s_numbers(self, label_shape, tmp_path):
        model = make_model(label_shape)
        signatures = tf.saved_model.load(str(export_saved_model(model, tmp_path))).signatures
        assert set(signatures) == {"serving_default", "classify", "decode", "sample"}
        labels, style = (PAIRS if label_shape == ATTRIBUTES else Y), np.ones((len(X), STYLE), np.float32)
        for name in ("serving_default", "classify"):
            outputs = signatures[name](x=tf.constant(X))
            np.testing.assert_allclose(outputs["probabilities"], model.predict(X, verbose=0), rtol=1e-5)
            np.testing.assert_array_equal(outputs["index"], model.predict(X, verbose=0).argmax(-1))
            assert outputs["index"].dtype == tf.int32
        decoded = signatures["decode"](label=tf.constant(labels, tf.int32), style=tf.constant(style))
        np.testing.assert_allclose(decoded["reconstruction"], model.decode(labels, style), rtol=1e-5)
        samples = signatures["sample"](seed=tf.constant(SEED), n=tf.constant(5))["samples"]
        np.testing.assert_allclose(samples, model.sample(5, SEED), rtol=1e-5)


WRONG = [
    (None, r"labels y are needed: integers \[B\], from 0 to 2, and -1 .* DiscreteVAE. Received: y=None"),
    (np.where(Y == 2, 3, Y), r"from 0 to 2, or -1 where one is missing. Received: 3 at index \(2,\)"),
    (Y - 2, r"from 0 to 2, or -1 where one is missing. Received: -2 at index \(0,\)"),
    (Y + 0.5, r"labels must be integers, -1 where one is missing. Received: 0.5"),
    (np.where(Y == 1, np.nan, Y), r"labels must be integers, -1 where one is missing. Received: nan"),
    (np.array(["a"] * len(Y)), r"labels must be integers, -1 where one is missing. Received: <U1"),
    (EYE[Y], r"must have shape \[B\]. Received: \(24, 3\). One-hot labels become integers by argmax"),
    (Y[:, None], r"must have shape \[B\]. Received: \(24, 1\)"),
    (np.full_like(Y, -1), r"no label is known, all are -1: label at least one .* DiscreteVAE"),
    (np.where(Y == 1, 1, -1), r"all known values of the label are 1, .* label examples of another class"),
]


class TestRefusals:
    @pytest.mark.parametrize(("y", "message"), WRONG)
    def test_labels_that_cannot_be_learned_from_are_refused(self, y, message):
        with pytest.raises(InputError, match=message):
            make_model().fit(X, y, verbose=0)

    @pytest.mark.parametrize(("y", "message"), WRONG[1:8])
    def test_evaluation_and_validation_refuse_them_too(self, y, message):
        model = make_model()
        with pytest.raises(InputError, match=message):
            model.evaluate(X, y, verbose=0)
        with pytest.raises(InputError, match=message):
            model.fit(X, Y, validation_data=(X, y), verbose=0)

    def test_one_class_may_be_evaluated_alone(self):
        assert np.isfinite(make_model().evaluate(X[Y == 1], Y[Y == 1], verbose=0)).all()

    def test_attributes_are_refused_by_name(self):
        wrong = PAIRS.copy()
        wrong[:, 1] = 2
        with pytest.raises(InputError, match="all known values of attribute 1 are 2"):
            make_model(ATTRIBUTES).fit(X, wrong, verbose=0)
        with pytest.raises(InputError, match=r"must have shape \[B, 2\]. Received: \(24,\)"):
            make_model(ATTRIBUTES).fit(X, Y, verbose=0)

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            ((X,), r"learns from \(x, y\).* Received: x alone"),
            ((X, Y.astype("float32")), r"must be of an integer type: map them with tf.cast"),
            ((X, EYE[Y].astype(int)), r"must have shape \[B\]. Received: \(None, 3\). One-hot"),
            ((X, Y, np.ones(len(X))), "takes no sample weights"),
        ],
    )
    def test_data_sets_of_other_kinds_are_refused(self, parts, message):
        with pytest.raises(InputError, match=message):
            make_model().fit(tf.data.Dataset.from_tensor_slices(parts).batch(8), shuffle=False, verbose=0)

    def test_a_label_of_a_data_set_that_is_too_large_shows_in_the_loss(self):
        model, wrong = make_model(), np.where(Y == 2, 3, Y)
        losses = tf.function(lambda: loss_of(model, X, wrong))()
        np.testing.assert_array_equal(np.isnan(losses), Y == 2)

    def test_data_outside_of_the_likelihood_s_domain_are_refused(self):
        with pytest.raises(InputError, match="zeros and ones"):
            make_model().fit(X * 0.5, Y, verbose=0)

    def test_networks_of_other_shapes_are_refused(self):
        encoder, style_encoder, decoder = make_model().encoder, make_model().style_encoder, make_model().decoder
        x = keras.Input((PIXELS,))
        one = keras.Model(x, keras.layers.Dense(3)(x))
        with pytest.raises(InputError, match=r"two outputs.*keras.Model\(x, \[logits, x\]\)"):
            SemiSupervisedVAE(one, style_encoder, decoder)
        flat = keras.Model(x, [keras.layers.Dense(1)(x), x])
        with pytest.raises(InputError, match=r"of one label of C >= 2 classes.*Received: \(None, 1\)"):
            SemiSupervisedVAE(flat, style_encoder, decoder)
        odd = keras.Model(style_encoder.inputs, keras.layers.Dense(3)(style_encoder.output))
        with pytest.raises(InputError, match=r"style encoder must output \[B, 2 D\].*Received.*\(None, 3\)"):
            SemiSupervisedVAE(encoder, odd, decoder)
        with pytest.raises(InputError, match=r"Gaussian likelihood needs a decoder that outputs \(4, 2\)"):
            SemiSupervisedVAE(encoder, style_encoder, decoder, likelihood="gaussian")

    def test_more_attributes_than_can_be_summed_over_are_refused(self):
        networks = make_label_networks("dense", data_shape=(4,), parameter_shape=(4,), num_classes=2, num_attributes=13)
        with pytest.raises(InputError, match=r"more than max_terms=4096. Use a sampling estimator"):
            SemiSupervisedVAE(*networks)
        with pytest.raises(InputError, match=r"13 attributes of 2 classes have 8192 labels: say which in `labels`"):
            SemiSupervisedVAE(*networks, estimator="score_function").rows(1, SEED)

    @pytest.mark.parametrize(
        ("option", "received", "nearest"),
        [("estimator", "enumerate", "enumeration"), ("supervision", "crossentropy", "cross_entropy")],
    )
    def test_an_unknown_name_is_refused_and_the_nearest_named(self, option, received, nearest):
        with pytest.raises(InputError, match=f"unknown {option} '{received}'. Did you mean '{nearest}'"):
            make_model(**{option: received})


@pytest.mark.parametrize("prior", [VampPrior(3), Conditional(3)], ids=["vamp", "conditional"])
def test_a_prior_that_depends_on_data_or_a_class_is_no_law_of_the_label(prior):
    with pytest.raises(InputError, match=r"p\(y\) is a law of the label alone, such as 'fixed' or 'learned'"):
        make_model(prior=prior)
