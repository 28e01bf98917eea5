import itertools
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete import InputError, layers
from tfdiscrete.models import CodePrior, VectorQuantizedVAE, make_grid_networks
from tfdiscrete.models.vector_quantized_vae import QUANTIZERS
from tfdiscrete.objectives import FixedGaussian, likelihoods
from tfdiscrete.priors.autoregressive import Autoregressive
from tfdiscrete.serving import export_saved_model

SIDE, SEED = 8, [1, 2]
MAKERS = {
    "ema": lambda: layers.VectorQuantizer(8, seed=3),
    "loss": lambda: layers.VectorQuantizer(8, update="loss", gradient="rotation", seed=3),
    "product": lambda: layers.VectorQuantizer(4, heads=2, seed=3),
    "residual": lambda: layers.ResidualVectorQuantizer(2, 4, quantizer_dropout=True, seed=3),
    "fsq": lambda: layers.FiniteScalarQuantizer([3, 3, 2, 2]),
    "lfq": lambda: layers.LookupFreeQuantizer(4),
}
every_quantizer = pytest.mark.parametrize("kind", MAKERS)


def images(count=60, seed=0):
    """Bars of a few places and greys, and noise."""
    rng = np.random.default_rng(seed)
    x = 0.05 * rng.random((count, SIDE, SIDE))
    for image, place, grey in zip(x, rng.integers(SIDE, size=(count, 2)), rng.random(count), strict=True):
        image[place[0]] += 0.3 + 0.6 * grey
        image[:, place[1]] += 0.3 * grey
    return np.minimum(x, 1.0).astype("float32")


def small_prior(**options):
    return Autoregressive(**{"num_blocks": 1, "num_heads": 2, "width": 16, **options})


def make_vae(kind="ema", *, likelihood="fixed_gaussian", optimizer=None, eager=True, **options):
    """A compiled model of 2x2 codes; run eagerly, since to trace these models takes longer than to train them."""
    encoder, decoder = make_grid_networks(
        "conv",
        data_shape=(SIDE, SIDE),
        parameter_shape=likelihoods.get(likelihood).parameter_shape((SIDE, SIDE)),
        dimension=4,
        channels=8,
    )
    options = {"prior": small_prior(), "seed": 3, **options}
    vae = VectorQuantizedVAE(encoder, MAKERS[kind](), decoder, likelihood=likelihood, **options)
    vae.compile(optimizer or keras.optimizers.Adam(0.01), jit_compile=False, steps_per_execution=1, run_eagerly=eager)
    return vae


def fit(vae, x, epochs=1, batch_size=20):
    return vae.fit(x, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=0).history


def evaluate(vae, x, batch_size=16):
    return vae.evaluate(x, batch_size=batch_size, verbose=0, return_dict=True)


def weights(vae):
    return [np.asarray(variable) for variable in vae.variables]


def assert_same(first, second):
    for one, other in zip(first.variables, second.variables, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


@pytest.fixture(scope="module")
def trained():
    """With a trained prior; not to be changed."""
    x, vae = images(200), make_vae()
    fit(vae, x, epochs=10)
    vae.fit_prior(x, epochs=10, batch_size=20, optimizer=keras.optimizers.Adam(0.01), verbose=0)
    return vae


class TestFit:
    @pytest.mark.parametrize(
        "kind", [pytest.param(kind, marks=[] if kind in ("ema", "fsq") else [pytest.mark.slow]) for kind in MAKERS]
    )
    def test_it_reports_what_was_counted_and_learns_under_every_quantizer(self, kind):
        x, vae = images(), make_vae(kind)
        before = evaluate(vae, x)["reconstruction_error"]
        history = fit(vae, x, epochs=8)
        assert sorted(history) == [
            "codebook_perplexity",
            "codebook_usage",
            "distortion",
            "loss",
            "quantizer_loss",
            "reconstruction_error",
        ]
        after = evaluate(vae, x)
        assert after["reconstruction_error"] < 0.8 * before
        index = vae.codes(x).reshape(len(x), *vae.index_shape)
        books = index.reshape(-1, index.shape[-1] if index.ndim == 4 else 1).T
        entropies = [scipy.stats.entropy(np.unique(book, return_counts=True)[1]) for book in books]
        assert after["codebook_perplexity"] == pytest.approx(np.exp(np.mean(entropies)), rel=1e-5)
        used = np.mean([len(np.unique(book)) for book in books]) / vae.quantizer.num_codes
        assert after["codebook_usage"] == pytest.approx(used, rel=1e-5)

    @every_quantizer
    def test_figures_are_those_of_the_reconstructions(self, kind):
        x, vae = images(), make_vae(kind)
        fit(vae, x)
        figures = evaluate(vae, x, batch_size=7)
        error = (vae.predict(x, verbose=0)["reconstruction"] - x) ** 2
        assert figures["reconstruction_error"] == pytest.approx(error.mean(), rel=1e-4)
        log_prob = scipy.stats.norm.logpdf(np.sqrt(error), scale=0.25).sum((1, 2))
        assert figures["distortion"] == pytest.approx(-log_prob.mean(), rel=1e-4)
        whole = evaluate(vae, x, batch_size=len(x))
        expected = whole["distortion"] / SIDE**2 + whole["quantizer_loss"]
        assert whole["loss"] == pytest.approx(expected, rel=1e-5)

    def test_a_step_is_the_gradient_of_the_distortion_per_value_and_the_quantizers_loss(self):
        x, vae = images(10), make_vae("loss", optimizer=keras.optimizers.SGD(1.0))
        vae.quantizer(vae.encoder(x), training=True)  # starts the codebook, at means, where its gradient is 0
        codes = vae.quantizer.codebooks[0].codes
        codes.assign(codes.numpy() + np.random.default_rng(0).normal(size=codes.shape, scale=0.05))
        variables = vae.trainable_variables
        before = [np.asarray(variable) for variable in variables]
        with tf.GradientTape() as tape:
            features = vae.encoder(x, training=True)
            quantized = vae.quantizer(features, training=True)
            squares = tf.square(vae.decoder(quantized.code, training=True) - x)
            loss = tf.reduce_mean(squares) / (2 * 0.25**2) + quantized.loss
        gradients = tape.gradient(loss, variables)
        fit(vae, x, batch_size=10)
        for variable, start, gradient in zip(variables, before, gradients, strict=True):
            assert np.abs(gradient).max() > 1e-6, variable.path
            np.testing.assert_allclose(start - variable, gradient, rtol=1e-3, atol=1e-6, err_msg=variable.path)

    @pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "categorical"])
    def test_loss_falls_under_other_likelihoods(self, likelihood):
        x = (images() > 0.3).astype("float32")
        vae = make_vae(likelihood=likelihood)
        losses = fit(vae, x, epochs=5)["loss"]
        assert losses[-1] < losses[0]

    def test_the_prior_is_left_alone_and_all_else_is_trained(self):
        x, vae = images(), make_vae("loss")
        prior = [np.asarray(w) for w in vae.prior.variables]
        before = [np.asarray(w) for w in vae.trainable_variables]
        fit(vae, x)
        for one, other in zip(vae.prior.variables, prior, strict=True):
            np.testing.assert_array_equal(one, other)
        owners = (vae.encoder, vae.decoder, vae.quantizer)
        assert len(before) == sum(len(part.trainable_variables) for part in owners)
        for variable, start in zip(vae.trainable_variables, before, strict=True):
            assert (np.asarray(variable) != start).any(), variable.path

    @pytest.mark.slow
    def test_xla_and_several_steps_at_once_train_alike(self):
        x = images(47)
        vae, plain = make_vae(), make_vae()
        vae.compile(keras.optimizers.Adam(0.01), jit_compile=True, steps_per_execution=3)
        histories = [fit(v, x, epochs=2) for v in (vae, plain)]
        assert int(vae.optimizer.iterations) == 6
        for name, values in histories[1].items():
            np.testing.assert_allclose(histories[0][name], values, rtol=1e-3, err_msg=name)

    @pytest.mark.slow
    def test_two_replicas_train_and_evaluate_as_one_device_does(self):
        x = images(48)
        alone = make_vae(optimizer=keras.optimizers.SGD(0.1), eager=False)
        strategy = two_replicas()
        with strategy.scope():
            spread = make_vae(optimizer=keras.optimizers.SGD(0.1), eager=False)
        histories = [fit(vae, x, epochs=2, batch_size=12) for vae in (alone, spread)]
        for name, values in histories[0].items():
            np.testing.assert_allclose(histories[1][name], values, rtol=1e-4, err_msg=name)
        results = [evaluate(vae, x, 12) for vae in (alone, spread)]
        for name, value in results[0].items():
            assert results[1][name] == pytest.approx(value, rel=1e-4), name

    def test_mixed_precision_trains_float32_variables(self):
        keras.config.set_dtype_policy("mixed_bfloat16")
        try:
            vae = make_vae()
        finally:
            keras.config.set_dtype_policy("float32")
        x = images()
        before = evaluate(vae, x)["reconstruction_error"]
        fit(vae, x, epochs=5)
        assert evaluate(vae, x)["reconstruction_error"] < before
        assert {w.dtype for w in vae.trainable_variables} == {"float32"}

    @pytest.mark.slow
    def test_same_seed_gives_the_same_result(self):
        x = images()
        first, twin = (VectorQuantizedVAE(*networks(), prior=None, seed=5) for _ in range(2))
        for vae in (first, twin):
            vae.compile("adam", run_eagerly=True)
            fit(vae, x)
        assert_same(first, twin)


def networks(dimension=4):
    encoder, decoder = make_grid_networks(
        "conv", data_shape=(SIDE, SIDE), parameter_shape=(SIDE, SIDE), dimension=dimension, channels=8
    )
    return encoder, "product", decoder


class TestCodes:
    @every_quantizer
    def test_predictions_are_codes_and_what_they_decode_to(self, kind):
        x, vae = images(), make_vae(kind)
        fit(vae, x)
        outputs = vae.predict(x, batch_size=16, verbose=0)
        assert outputs["index"].shape == (len(x), *vae.index_shape)
        np.testing.assert_array_equal(outputs["index"], vae.encode(x))
        np.testing.assert_allclose(outputs["reconstruction"], vae.decode(outputs["index"]), rtol=1e-4, atol=1e-5)
        expected = vae.decoder(vae.quantizer(vae.encoder(x)).code)
        np.testing.assert_allclose(outputs["reconstruction"], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(vae.codes(x, batch_size=7), outputs["index"].reshape(len(x), -1))

    def test_predictions_are_not_counted(self):
        x, vae = images(), make_vae()
        fit(vae, x)
        counts = [np.asarray(v) for m in (vae.perplexity, vae.quantizer.perplexity) for v in m.variables]
        vae.predict(x, verbose=0)
        vae.encode(x)
        after = [np.asarray(v) for m in (vae.perplexity, vae.quantizer.perplexity) for v in m.variables]
        tf.nest.map_structure(np.testing.assert_array_equal, counts, after)

    def test_a_data_set_is_encoded_as_its_array_is(self, trained):
        x = images(30)
        dataset = tf.data.Dataset.from_tensor_slices(x).batch(7)
        np.testing.assert_array_equal(trained.codes(dataset), trained.codes(x))
        assert trained.codes(x[:0]).shape == (0, 4)

    def test_interpolation_goes_from_one_reconstruction_to_the_other_through_codes(self, trained):
        x0, x1 = images(3), images(3, seed=1)
        line = trained.interpolate(x0, x1, 5).numpy()
        assert line.shape == (5, 3, SIDE, SIDE)
        for end, x in ((0, x0), (-1, x1)):
            np.testing.assert_allclose(line[end], trained(x)["reconstruction"], rtol=1e-4, atol=1e-5)
        middle = (trained.encoder(x0) + trained.encoder(x1)) / 2
        expected = trained.decode(trained.quantizer.encode(middle))
        np.testing.assert_allclose(line[2], expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", sorted(QUANTIZERS))
    def test_every_named_quantizer_fits_networks_of_its_dimension(self, name):
        encoder, _, decoder = networks({"finite_scalar": 3, "lookup_free": 8}.get(name, 4))
        vae = VectorQuantizedVAE(encoder, name, decoder, prior=None, seed=0)
        outputs = vae(images(3))
        assert outputs["index"].shape == (3, *vae.index_shape)
        bits = {
            "vector": 8,
            "plain": 8,
            "rotation": 8,
            "product": 12,
            "residual": 12,
            "finite_scalar": 7.907,
            "lookup_free": 8,
        }
        books = vae.index_shape[2] if len(vae.index_shape) == 3 else 1
        assert books * np.log2(vae.quantizer.num_codes) == pytest.approx(bits[name], abs=1e-3)


class TestPrior:
    def test_fit_prior_lowers_the_rate_of_the_codes_and_leaves_all_else(self, trained):
        x = images(200)
        start = make_vae().rate(trained.encode(x)).numpy()
        np.testing.assert_allclose(start, 4 * np.log(8), rtol=1e-6)
        rates = trained.rate(trained.encode(x)).numpy()
        independent = sum(scipy.stats.entropy(np.bincount(column)) for column in trained.codes(x).T)
        assert rates.mean() < independent

    @pytest.mark.slow
    def test_fit_prior_is_a_fit_of_the_codes(self):
        x, y = images(), images(20, seed=1)
        vae, twin = make_vae(), make_vae()
        others = [np.asarray(w) for w in vae.trainable_variables]
        history = vae.fit_prior(x, epochs=2, batch_size=20, validation_data=y, shuffle=False, verbose=0).history
        model = CodePrior(twin.prior, seed=twin.seed)
        model.compile("adam")
        model.fit(twin.codes(x), epochs=2, batch_size=20, shuffle=False, verbose=0)
        assert_same(vae.prior, twin.prior)
        assert history["val_loss"][-1] == pytest.approx(float(np.mean(vae.rate(vae.encode(y)))), rel=1e-5)
        for variable, start in zip(vae.trainable_variables, others, strict=True):
            np.testing.assert_array_equal(variable, start)

    def test_training_goes_on_after_the_prior_s(self):
        x, vae = images(), make_vae()
        fit(vae, x)
        vae.fit_prior(x, verbose=0)
        prior = [np.asarray(w) for w in vae.prior.variables]
        fit(vae, x)
        assert int(vae.optimizer.iterations) == 6
        for one, other in zip(vae.prior.variables, prior, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_samples_are_decoded_codes_of_the_prior(self, trained):
        samples = trained.sample(6, SEED)
        assert samples.shape == (6, SIDE, SIDE)
        index = tf.reshape(trained.prior.sample_index(6, SEED), [6, 2, 2])
        np.testing.assert_array_equal(samples, trained.decode(index))
        np.testing.assert_array_equal(trained.sample(6, SEED), samples)
        cold = trained.sample(6, SEED, temperature=1e-3).numpy()
        np.testing.assert_allclose(cold, np.broadcast_to(cold[:1], cold.shape), atol=1e-5)

    def test_samples_resemble_the_data_more_than_uniform_codes_do(self, trained):
        x = images(500, seed=2)

        def distance(samples):
            return np.square(np.asarray(samples)[:, None] - x).mean((-2, -1)).min(1).mean()

        uniform = trained.decode(np.random.default_rng(0).integers(8, size=(100, 2, 2)))
        assert distance(trained.sample(100, SEED)) < 0.8 * distance(uniform)

    def test_the_bound_is_the_rate_and_the_distortion(self, trained):
        x = images(20)
        bound = trained.bound(x)
        figures = evaluate(trained, x)
        assert float(np.mean(bound.distortion)) == pytest.approx(figures["distortion"], rel=1e-4)
        np.testing.assert_allclose(bound.rate, trained.rate(trained.encode(x)), rtol=1e-5)
        np.testing.assert_allclose(bound.elbo, -(bound.rate + bound.distortion), rtol=1e-5)
        np.testing.assert_allclose(make_vae(prior=None).bound(x).rate, 4 * np.log(8), rtol=1e-6)

    def test_the_bound_is_below_the_evidence_by_enumeration(self):
        x, vae = (images(5) > 0.5).astype("float32"), make_vae(likelihood="bernoulli")
        fit(vae, x, batch_size=5)
        vae.fit_prior(x, epochs=3, verbose=0)
        codes = np.array(list(itertools.product(range(8), repeat=4)))
        log_prior = vae.prior.log_prob_index(codes).numpy()
        logits = vae.decoder(vae.quantizer.decode(codes.reshape(-1, 2, 2))).numpy()
        log_likelihood = -np.logaddexp(0.0, -(2 * x[:, None] - 1) * logits).sum((-2, -1))
        evidence = np.logaddexp.reduce(log_prior + log_likelihood, axis=1)
        assert (vae.bound(x).elbo.numpy() < evidence).all()

    @pytest.mark.slow
    def test_product_codes_are_read_place_by_place(self):
        x, vae = images(), make_vae("product")
        codes = vae.codes(x)
        assert codes.shape == (60, 8)
        np.testing.assert_array_equal(codes.reshape(60, 2, 2, 2), vae.encode(x))
        vae.fit_prior(x, verbose=0)
        assert vae.sample(2, SEED).shape == (2, SIDE, SIDE)


class TestSaving:
    @pytest.mark.slow
    @pytest.mark.parametrize("kind", ["loss", pytest.param("residual", marks=pytest.mark.slow)])
    def test_a_loaded_model_predicts_the_same_and_trains_on_bit_for_bit(self, kind, tmp_path):
        x = images(47)
        uninterrupted, first = make_vae(kind, eager=False), make_vae(kind, eager=False)
        for vae in (uninterrupted, first):
            fit(vae, x)
            vae.fit_prior(x, shuffle=False, verbose=0)
        expected = fit(uninterrupted, x)
        first.save(tmp_path / "vae.keras")
        loaded = keras.saving.load_model(tmp_path / "vae.keras")
        assert_same(loaded, first)
        tf.nest.map_structure(np.testing.assert_array_equal, loaded.predict(x, verbose=0), first.predict(x, verbose=0))
        np.testing.assert_array_equal(loaded.sample(3, SEED), first.sample(3, SEED))
        assert evaluate(loaded, x) == evaluate(first, x)
        assert fit(loaded, x) == expected
        assert_same(loaded, uninterrupted)

    def test_config_is_that_of_the_loaded_model(self, tmp_path):
        vae = make_vae(likelihood=FixedGaussian(0.5), prior=None, seed=11)
        fit(vae, images(20))
        vae.save(tmp_path / "vae.keras")
        loaded = keras.saving.load_model(tmp_path / "vae.keras")
        assert json.dumps(loaded.get_config()) == json.dumps(vae.get_config())
        assert (loaded.seed, loaded.prior, loaded.likelihood.scale) == (11, None, 0.5)

    @pytest.mark.slow
    def test_a_process_without_this_package_gets_the_models_numbers(self, trained, tmp_path):
        x = images(5)
        np.save(tmp_path / "x.npy", x)
        folder = export_saved_model(trained, tmp_path / "models")
        command = [sys.executable, "-P", "-c", STRANGER, str(folder), "x.npy", "out.npz"]
        subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True)
        theirs, ours = np.load(tmp_path / "out.npz"), trained.predict(x, verbose=0)
        np.testing.assert_array_equal(theirs["index"], ours["index"])
        np.testing.assert_allclose(theirs["reconstruction"], ours["reconstruction"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(theirs["sample"], trained.sample(3, SEED), rtol=1e-4, atol=1e-5)
        assert theirs["none"].shape == (0, SIDE, SIDE)
        assert np.isnan(theirs["wrong"]).all()

    def test_sample_is_exported_once_the_prior_is_trained(self, trained):
        assert list(trained.endpoints()) == ["encode", "decode", "sample"]
        assert list(make_vae().endpoints()) == list(make_vae(prior=None).endpoints()) == ["encode", "decode"]


STRANGER = """
import sys
import numpy as np, tensorflow as tf
folder, x, out = sys.argv[1:]
model = tf.saved_model.load(folder)
assert not any(name.split(".")[0] == "tfdiscrete" for name in sys.modules), "the package was imported"
index = model.signatures["serving_default"](x=tf.constant(np.load(x)))["index"]
decode, sample = model.signatures["decode"], model.signatures["sample"]
draw = lambda n: sample(seed=tf.constant([1, 2]), n=tf.constant(n))["samples"]
wrong = decode(index=tf.fill([1, 2, 2], 99))["reconstruction"]
np.savez(out, index=index, **decode(index=index), sample=draw(3), none=draw(0), wrong=wrong)
"""


class TestRefusals:
    def test_sampling_without_a_prior_says_what_to_do(self):
        vae = make_vae(prior=None)
        for act in (lambda: vae.sample(2, SEED), lambda: vae.fit_prior(images())):
            with pytest.raises(InputError, match=r"no prior: make it with prior='autoregressive' and call fit_prior"):
                act()

    def test_sampling_from_a_prior_that_is_not_trained_says_what_to_do(self):
        with pytest.raises(InputError, match=r"the prior is not trained: call fit_prior\(x\)"):
            make_vae().sample(2, SEED)

    @pytest.mark.parametrize("event_shape", [(5, 8), (4, 9)])
    def test_a_prior_of_other_codes_is_refused(self, event_shape):
        prior = small_prior()
        prior.build(event_shape)
        with pytest.raises(InputError, match=r"must be one of 4 codes of 8 categories.*\(N, K\) = \(\d, \d\)"):
            make_vae(prior=prior)

    @pytest.mark.parametrize("wrong", [-1, 8])
    def test_codes_out_of_range_are_refused(self, wrong):
        with pytest.raises(InputError, match=rf"indices must be from 0 to 7\. Received: {wrong}"):
            make_vae().decode(np.full((1, 2, 2), wrong))

    @pytest.mark.parametrize("shape", [(2, 2), (1, 4), (1, 2, 2, 1)])
    def test_codes_of_another_shape_are_refused(self, shape):
        with pytest.raises(InputError, match=r"codes must have shape \[B, \*\[2, 2\]\]\. Received: shape"):
            make_vae().decode(np.zeros(shape, int))

    @pytest.mark.parametrize("method", ["fit", "evaluate", "fit_prior"])
    def test_images_of_another_shape_are_refused(self, method):
        with pytest.raises(InputError, match=r"data must have shape \[B, \*\[8, 8\]\]\. Received: shape \(.*, 8, 12\)"):
            getattr(make_vae(), method)(np.zeros((4, 8, 12), "float32"), verbose=0)

    @pytest.mark.parametrize("method", ["fit", "evaluate"])
    def test_grey_data_under_the_bernoulli_likelihood_are_refused(self, method):
        with pytest.raises(InputError, match="a density of zeros and ones. Received: data from"):
            getattr(make_vae(likelihood="bernoulli"), method)(images(), verbose=0)

    def test_labels_are_refused(self):
        with pytest.raises(InputError, match="learns from x alone"):
            make_vae().fit(images(4), np.ones(4), verbose=0)

    def test_networks_that_do_not_fit_are_refused(self):
        encoder, quantizer, decoder = networks()
        with pytest.raises(InputError, match=r"the decoder must take what the encoder outputs, \(2, 2, 5\)"):
            VectorQuantizedVAE(networks(5)[0], "vector", decoder)
        with pytest.raises(InputError, match=r"Gaussian likelihood needs a decoder that outputs \(8, 8, 2\)"):
            VectorQuantizedVAE(encoder, quantizer, decoder, likelihood="gaussian")

    def test_an_encoder_of_no_static_size_is_refused(self):
        encoder = keras.Sequential([keras.Input((None, SIDE)), keras.layers.Dense(4)])
        with pytest.raises(InputError, match=r"vectors \[B, \*grid, D\] of static size"):
            VectorQuantizedVAE(encoder, "vector", networks()[2])

    def test_a_quantizer_of_another_dimension_is_refused(self):
        with pytest.raises(InputError, match="D = 3, the number of `levels`"):
            VectorQuantizedVAE(networks()[0], "finite_scalar", networks()[2])

    def test_unknown_names_are_refused(self):
        encoder, _, decoder = networks()
        with pytest.raises(InputError, match=r"unknown quantizer 'vectr'\. Did you mean 'vector'"):
            VectorQuantizedVAE(encoder, "vectr", decoder)
        with pytest.raises(InputError, match=r"prior must be 'autoregressive', a priors.Autoregressive, or None"):
            VectorQuantizedVAE(encoder, "vector", decoder, prior="fixed")

    def test_fewer_than_two_points_of_a_line_are_refused(self):
        with pytest.raises(InputError, match="num must be an integer of at least 2"):
            make_vae().interpolate(images(1), images(1), 1)


def test_subclassed_networks_that_were_never_built_are_built_by_fit():
    class Encoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = keras.layers.Conv2D(4, 4, strides=4)

        def call(self, x):
            return self.convolution(x[..., None])

    class Decoder(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolution = keras.layers.Conv2DTranspose(1, 4, strides=4)

        def call(self, code):
            return self.convolution(code)[..., 0]

    vae = VectorQuantizedVAE(Encoder(), layers.VectorQuantizer(8, seed=0), Decoder(), prior=small_prior(), seed=0)
    vae.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    losses = fit(vae, images(), epochs=5)["loss"]
    assert losses[-1] < losses[0]
    assert len(vae.trainable_variables) == 4
