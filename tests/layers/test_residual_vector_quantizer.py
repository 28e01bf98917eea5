import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.layers import EMAUpdate, ResidualVectorQuantizer

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("float32")


def nearest(x, codes):
    return ((x[:, None] - codes) ** 2).sum(-1).argmin(-1)


def random_start(levels=3, **options):
    """A layer with codes given by its seed, built for `X`."""
    layer = ResidualVectorQuantizer(levels, 7, kmeans_iterations=0, seed=5, **options)
    layer.build(X.shape)
    return layer


def codes_of(layer):
    return [book.embeddings().numpy() for book in layer.codebooks] * (3 if layer.shared_codebook else 1)


def reference(x, books):
    """Residuals, indices and codes of all levels, in NumPy."""
    residuals, indices, code = [], [], np.zeros_like(x)
    for book in books:
        residuals.append(x - code)
        indices.append(nearest(x - code, book))
        code = code + book[indices[-1]]
    return residuals, np.stack(indices, axis=-1), code


@pytest.mark.parametrize("shared_codebook", [False, True])
class TestLevels:
    def test_each_level_quantizes_what_the_levels_before_left(self, shared_codebook):
        layer = random_start(shared_codebook=shared_codebook)
        _, index, code = reference(X, codes_of(layer))
        result = layer(X)
        np.testing.assert_array_equal(result.index, index)
        np.testing.assert_allclose(result.code, code, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("update", ["ema", "loss"])
    def test_the_loss_is_the_mean_of_the_levels_and_reaches_every_codebook(self, shared_codebook, update):
        layer, x = random_start(shared_codebook=shared_codebook, update=update), tf.constant(X)
        books = codes_of(layer)
        residuals, index, _ = reference(X, books)
        differences = [r - book[i] for r, book, i in zip(residuals, books, index.T, strict=True)]
        factor = 0.25 + (update == "loss")
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = layer(x, training=True).loss
        gradient, *of_codes = tape.gradient(loss, [x, *layer.trainable_variables])
        np.testing.assert_allclose(loss, factor * np.mean(np.square(differences)), rtol=1e-5)
        expected = 0.25 * 2 * np.mean(differences, axis=0) / X.size
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-7)
        assert len(of_codes) == (update == "loss") * (1 if shared_codebook else 3)
        expected = np.array(
            [
                [-2 * d[i == k].sum(axis=0) / X.size / 3 for k in range(7)]
                for d, i in zip(differences, index.T, strict=True)
            ]
        )
        expected = [expected.sum(axis=0)] if shared_codebook else expected
        for value, wanted in zip(of_codes, expected, strict=False):
            np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-6)

    def test_codebooks_learn_from_the_residuals_of_their_levels(self, shared_codebook):
        layer = random_start(shared_codebook=shared_codebook, update=EMAUpdate(0.5, restart_threshold=0.0))
        books = codes_of(layer)
        residuals, index, _ = reference(X, books)
        layer(X, training=True)
        if shared_codebook:
            residuals, index, books = [np.concatenate(residuals)], index.T.reshape(-1, 1), books[:1]
        for book, rows, i, old in zip(layer.codebooks, residuals, index.T, books, strict=True):
            counts = 0.5 + 0.5 * np.bincount(i, minlength=7)
            sums = 0.5 * old + 0.5 * np.stack([rows[i == k].sum(axis=0) for k in range(7)])
            np.testing.assert_allclose(book.counts, counts, rtol=1e-5)
            np.testing.assert_allclose(book.sums, sums, rtol=1e-4, atol=1e-5)

    def test_the_first_levels_alone_decode_and_a_dropped_one_is_zero(self, shared_codebook):
        layer = random_start(shared_codebook=shared_codebook)
        index, books = layer(X).index.numpy(), codes_of(layer)
        for levels in (1, 2, 3):
            expected = sum(book[i] for book, i in zip(books[:levels], index.T[:levels], strict=True))
            np.testing.assert_allclose(layer.decode(index[:, :levels]), expected, rtol=1e-5, atol=1e-6)
            dropped = np.where(np.arange(3) < levels, index, -1)
            np.testing.assert_allclose(layer.decode(dropped), expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.slow
    def test_more_levels_leave_less(self, shared_codebook):
        errors = []
        for levels in (1, 2, 4, 6):
            layer = ResidualVectorQuantizer(levels, 16, shared_codebook=shared_codebook, seed=5)
            learn = tf.function(lambda layer=layer: layer(X, training=True).loss)
            layer.build(X.shape)
            for _ in range(50):
                learn()
            errors.append(((layer(X).code - X) ** 2).numpy().mean())
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 0.4 * errors[0]


class TestDropout:
    def test_every_number_of_first_levels_is_kept_equally_often_and_the_rest_does_not_learn(self):
        layer = random_start(quantizer_dropout=True, update=EMAUpdate(0.9, restart_threshold=0.0))
        kept = []
        for _ in range(150):
            before = [book.counts.numpy() for book in layer.codebooks]
            result = layer(X, training=True)
            levels = (result.index.numpy() >= 0).sum(-1)
            assert len(np.unique(levels)) == 1
            kept.append(levels[0])
            np.testing.assert_array_equal(result.index.numpy()[:, kept[-1] :], -1)
            for level, (book, old) in enumerate(zip(layer.codebooks, before, strict=True)):
                assert (book.counts.numpy() != old).any() == (level < kept[-1])
        counts = np.bincount(kept, minlength=4)[1:]
        assert (np.abs(counts - 50) < 4.5 * np.sqrt(150 * 2 / 9)).all()

    def test_a_call_that_keeps_n_levels_is_that_of_n_levels(self):
        layer = random_start(quantizer_dropout=True)
        for _ in range(10):
            books = codes_of(layer)
            result = layer(X, training=True)
            kept = int((result.index.numpy()[0] >= 0).sum())
            residuals, index, code = reference(X, books[:kept])
            np.testing.assert_array_equal(result.index[:, :kept], index)
            np.testing.assert_allclose(result.code, code, rtol=1e-4, atol=1e-5)
            losses = [((r - b[i]) ** 2).mean() for r, b, i in zip(residuals, books, index.T, strict=False)]
            np.testing.assert_allclose(result.loss, 0.25 * np.mean(losses), rtol=1e-4)

    def test_a_codebook_starts_only_when_its_level_is_first_kept(self):
        layer = ResidualVectorQuantizer(6, 5, quantizer_dropout=True, seed=5)
        for _ in range(4):
            result = layer(X, training=True)
            kept = int((result.index.numpy()[0] >= 0).sum())
            started = [bool(book.started.numpy()) for book in layer.codebooks]
            assert all(started[:kept])
            assert started == sorted(started, reverse=True)

    def test_all_levels_are_kept_at_inference_and_without_dropout(self):
        assert (random_start(quantizer_dropout=True)(X).index.numpy() >= 0).all()
        assert (random_start()(X, training=True).index.numpy() >= 0).all()

    def test_a_loaded_model_goes_on_with_the_draws_that_come_next(self, tmp_path):
        inputs = keras.Input((4,))
        layer = ResidualVectorQuantizer(8, 3, quantizer_dropout=True, name="q")
        model = keras.Model(inputs, layer(inputs).index)
        for _ in range(3):
            model(X, training=True)
        model.save(tmp_path / "q.keras")
        twin = keras.saving.load_model(tmp_path / "q.keras")
        for _ in range(5):
            np.testing.assert_array_equal(model(X, training=True), twin(X, training=True))


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_quantizers": 0}, "num_quantizers must be an integer of at least 1"),
            ({"num_codes": 0}, "num_codes must be an integer of at least 1"),
            ({"update": "emma"}, "unknown update 'emma'"),
            ({"gradient": "none"}, "unknown gradient 'none'"),
        ],
    )
    def test_arguments_out_of_range_are_refused(self, options, message):
        with pytest.raises(InputError, match=message):
            ResidualVectorQuantizer(**{"num_quantizers": 2, "num_codes": 4, **options})

    @pytest.mark.parametrize("shape", [(), (5, 0), (5, 4)])
    def test_indices_of_no_or_too_many_levels_are_refused(self, shape):
        with pytest.raises(InputError, match=r"indices must have shape \[..., n\], n from 1 to 3 levels"):
            random_start().decode(np.zeros(shape, "int32"))

    def test_every_argument_is_kept(self):
        layer = ResidualVectorQuantizer(
            2,
            3,
            shared_codebook=True,
            quantizer_dropout=True,
            commitment_cost=1.0,
            update="loss",
            gradient="rotation",
            kmeans_iterations=3,
            seed=1,
        )
        assert ResidualVectorQuantizer.from_config(layer.get_config()).get_config() == layer.get_config()
