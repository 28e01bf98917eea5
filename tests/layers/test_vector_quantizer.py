import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from tests.replicas import two_replicas
from tfdiscrete import InputError
from tfdiscrete.layers import EMAUpdate, LossUpdate, VectorQuantizer
from tfdiscrete.training.data import ENVIRONMENT_VARIABLE, load

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype("float32")
DIGITS = (load_digits().data / 16.0).astype("float32")


def nearest(x, codes):
    return ((x[:, None] - codes) ** 2).sum(-1).argmin(-1)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def codes_of(layer, head=0):
    return layer.codebooks[head].embeddings().numpy()


def random_start(num_codes=7, **options):
    """A layer with codes given by its seed, built for `X`."""
    layer = VectorQuantizer(num_codes, kmeans_iterations=0, seed=5, **options)
    layer.build(X.shape)
    return layer


def gradients(layer, x, upstream):
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        result = layer(x, training=True)
        total = tf.reduce_sum(result.code * upstream) + result.loss
    return result, tape.gradient(total, [x, *layer.trainable_variables])


class TestForward:
    def test_code_and_index_are_those_of_the_nearest_code(self):
        layer = random_start()
        result, codes = layer(X), codes_of(layer)
        np.testing.assert_array_equal(result.index, nearest(X, codes))
        np.testing.assert_array_equal(result.code, codes[nearest(X, codes)])

    def test_each_head_quantizes_its_own_part_with_its_own_codes(self):
        layer = random_start(heads=2)
        result = layer(X)
        assert result.index.shape == (60, 2)
        assert (codes_of(layer, 0) != codes_of(layer, 1)).any()
        for head, part in enumerate(np.split(X, 2, axis=-1)):
            codes = codes_of(layer, head)
            np.testing.assert_array_equal(result.index[:, head], nearest(part, codes))
            np.testing.assert_array_equal(result.code[:, 2 * head : 2 * head + 2], codes[nearest(part, codes)])

    def test_cosine_compares_directions_and_gives_codes_of_length_one(self):
        layer = random_start(metric="cosine")
        result, codes = layer(X), codes_of(layer)
        np.testing.assert_allclose(np.linalg.norm(codes, axis=-1), 1.0, rtol=1e-5)
        np.testing.assert_array_equal(result.index, (X @ codes.T).argmax(-1))
        np.testing.assert_array_equal(layer(10.0 * X).index, result.index)
        np.testing.assert_allclose(result.loss, 0.25 * ((unit(X) - codes[result.index.numpy()]) ** 2).mean(), rtol=1e-5)

    def test_inference_changes_no_weight(self):
        layer = VectorQuantizer(7)
        layer(X)
        before = [weight.numpy() for weight in layer.weights]
        layer(X + 1.0)
        layer.encode(X)
        for weight, value in zip(layer.weights, before, strict=True):
            np.testing.assert_array_equal(weight, value)

    def test_encode_builds_the_layer_and_counts_nothing(self):
        layer = VectorQuantizer(7, seed=5)
        np.testing.assert_array_equal(layer.encode(X), layer(X).index)
        layer.perplexity.reset_state()
        layer.encode(X)
        assert layer.perplexity.result() == 1.0

    def test_a_float64_layer_computes_in_float64(self):
        layer = VectorQuantizer(7, dtype="float64")
        result = layer(X.astype("float64"), training=True)
        assert result.code.dtype == result.loss.dtype == tf.float64
        assert layer.codebooks[0].codes.dtype == "float64"


class TestLossAndGradient:
    @pytest.mark.parametrize("commitment_cost", [0.0, 0.25, 2])
    @pytest.mark.parametrize("update", ["ema", "loss"])
    def test_losses_and_their_gradients_are_numpy_s(self, update, commitment_cost):
        layer = random_start(update=update, commitment_cost=commitment_cost)
        codes = codes_of(layer)
        index = nearest(X, codes)
        difference = X - codes[index]
        result, (gradient, *of_codes) = gradients(layer, X, np.zeros_like(X))
        factor = commitment_cost + (update == "loss")
        np.testing.assert_allclose(result.loss, factor * (difference**2).mean(), rtol=1e-5)
        np.testing.assert_allclose(gradient, commitment_cost * 2 * difference / X.size, rtol=1e-4, atol=1e-7)
        assert len(of_codes) == (update == "loss")
        for value in of_codes:
            expected = [-2 * difference[index == k].sum(axis=0) / X.size for k in range(7)]
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)

    def test_straight_through_is_the_identity(self):
        upstream = RNG.normal(size=X.shape).astype("float32")
        _, (gradient,) = gradients(random_start(commitment_cost=0), X, upstream)
        np.testing.assert_array_equal(gradient, upstream)

    def test_rotation_turns_and_scales_the_gradient_of_each_head(self):
        upstream = RNG.normal(size=X.shape).astype("float32")
        layer = random_start(commitment_cost=0, gradient="rotation")
        result, (gradient,) = gradients(layer, X, upstream)
        codes = result.code.numpy().astype("float64")
        scale = np.linalg.norm(codes, axis=-1) / np.linalg.norm(X, axis=-1)
        for x, code, g, factor, received in zip(X, codes, upstream, scale, gradient.numpy(), strict=True):
            u, v = unit(x), unit(code)
            r = unit(u + v)
            rotation = np.eye(4) - 2 * np.outer(r, r) + 2 * np.outer(v, u)
            np.testing.assert_allclose(factor * rotation @ x, code, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(received, factor * rotation.T @ g, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize(("kmeans_iterations", "bound"), [(0, 2.0), (10, 1.4)])
    def test_a_codebook_loss_moves_codes_to_their_inputs_through_fit(self, kmeans_iterations, bound):
        """From random codes too, of which some stay unused for want of a restart."""
        inputs = keras.Input((64,))
        layer = VectorQuantizer(16, update="loss", kmeans_iterations=kmeans_iterations, seed=5)
        model = keras.Model(inputs, layer(inputs).code)
        model.compile(keras.optimizers.Adam(0.05))
        losses = model.fit(DIGITS, epochs=10, shuffle=False, verbose=0).history["loss"]
        best = 1.25 * KMeans(16, n_init=1, random_state=0).fit(DIGITS).inertia_ / DIGITS.size
        assert losses[-1] < bound * best
        assert losses[0] > 1.5 * losses[-1] or kmeans_iterations


class TestMovingAverages:
    def test_several_steps_are_numpy_s_with_the_codes_as_they_were_before_each(self):
        layer = random_start(update=EMAUpdate(0.7, 1e-3, restart_threshold=0.0))
        codes = codes_of(layer).astype("float64")
        counts, sums = np.ones(7), codes.copy()
        for step in range(5):
            x = X + 0.3 * step
            index = nearest(x, codes)
            result = layer(x, training=True)
            np.testing.assert_array_equal(result.index, index)
            np.testing.assert_allclose(result.code, codes[index], rtol=1e-4, atol=1e-5)
            counts = 0.7 * counts + 0.3 * np.bincount(index, minlength=7)
            sums = 0.7 * sums + 0.3 * np.stack([x[index == k].sum(axis=0) for k in range(7)])
            moved = sums / ((counts + 1e-3) / (counts.sum() + 7e-3) * counts.sum())[:, None]
            codes = np.where(np.bincount(index, minlength=7)[:, None] > 0, moved, codes)
            np.testing.assert_allclose(codes_of(layer), codes, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layer.codebooks[0].counts, counts, rtol=1e-4)
        np.testing.assert_allclose(layer.codebooks[0].sums, sums, rtol=1e-4, atol=1e-4)

    def test_cosine_codes_keep_length_one_and_turn_to_the_mean_of_their_directions(self):
        layer = random_start(metric="cosine", update=EMAUpdate(0.0, restart_threshold=0.0))
        index = layer(X, training=True).index.numpy()
        for k in np.unique(index):
            np.testing.assert_allclose(codes_of(layer)[k], unit(unit(X)[index == k].sum(axis=0)), rtol=1e-4, atol=1e-5)

    def test_a_far_code_restarts_at_a_row_of_the_batch_with_its_averages(self):
        layer = random_start(update=EMAUpdate(0.5, restart_threshold=0.3))
        book = layer.codebooks[0]
        book.codes.assign(np.concatenate([X[:4], 1000.0 + np.arange(12.0).reshape(3, 4)]))
        layer(X, training=True)
        codes = codes_of(layer)
        restarted = (np.abs(codes[:, None] - X).max(-1) == 0.0).any(-1)
        assert restarted[4:].all()
        for k in np.flatnonzero(restarted):
            np.testing.assert_allclose(book.sums[k], book.counts[k] * codes[k], rtol=1e-5)
        np.testing.assert_allclose(book.counts.numpy()[restarted], book.counts.numpy()[restarted][0], rtol=1e-6)

    def test_restarts_draw_new_rows_each_time_and_the_same_with_the_same_seed(self):
        def run(seed):
            layer = VectorQuantizer(7, kmeans_iterations=0, update=EMAUpdate(0.5, restart_threshold=0.3), seed=seed)
            layer.build(X.shape)
            book, results = layer.codebooks[0], []
            for _ in range(2):
                book.codes.assign(1000.0 * np.arange(28.0).reshape(7, 4))
                book.counts.assign(np.ones(7))
                layer(X, training=True)
                results.append(codes_of(layer)[1:])
            return results

        one, twin, other = run(1), run(1), run(2)
        np.testing.assert_array_equal(one, twin)
        assert np.abs(one).max() < 10.0
        assert (one[0] != one[1]).any()
        assert (one[0] != other[0]).any()

    def test_a_restart_never_takes_a_row_that_is_not_finite(self):
        bad = np.where(np.arange(60)[:, None] % 2, X, np.nan).astype("float32")
        layer = random_start(update=EMAUpdate(0.0, restart_threshold=0.9))
        for _ in range(5):
            layer(bad, training=True)
        assert all(np.isfinite(weight).all() for weight in layer.weights)


class TestStart:
    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_the_first_batch_leaves_the_inertia_of_scikit_learn(self):
        inertia = []
        for seed in range(5):
            layer = VectorQuantizer(32, seed=seed, update=EMAUpdate(0.999999, restart_threshold=0.0))
            layer(DIGITS, training=True)
            inertia.append(((layer(DIGITS).code - DIGITS) ** 2).numpy().sum())
        theirs = [KMeans(32, n_init=1, max_iter=10, random_state=seed).fit(DIGITS).inertia_ for seed in range(5)]
        assert np.mean(inertia) < 1.02 * np.mean(theirs)

    @pytest.mark.parametrize("update", ["ema", "loss"])
    def test_codes_start_once_and_before_the_first_batch_is_quantized(self, update):
        layer = VectorQuantizer(60, update=update, seed=5)
        assert not layer.built
        np.testing.assert_allclose(layer(X, training=True).code, X, atol=1e-5)
        layer(X + 100.0, training=True)
        assert np.abs(codes_of(layer) - 100.0).min() > 1.0 or update == "ema"

    @pytest.mark.parametrize("run_eagerly", [True, False])
    def test_fit_starts_from_its_first_batch(self, run_eagerly):
        inputs = keras.Input((4,))
        layer = VectorQuantizer(20, update=EMAUpdate(restart_threshold=0.0), seed=5)
        model = keras.Model(inputs, layer(inputs).code)
        model.compile("sgd", "mse", run_eagerly=run_eagerly)
        with pytest.warns(UserWarning, match="does not have any trainable weights"):
            model.fit(X, X, batch_size=20, epochs=1, shuffle=False, verbose=0)
        assert layer.codebooks[0].started.numpy()
        np.testing.assert_array_equal(
            nearest(X[:20], codes_of(layer)).shape, np.unique(nearest(X[:20], codes_of(layer))).shape
        )

    def test_an_empty_or_spoilt_first_batch_leaves_the_start_to_the_next(self):
        layer = VectorQuantizer(20, seed=5)
        for first in (X[:0], np.full_like(X, np.nan)):
            layer(first, training=True)
            assert not layer.codebooks[0].started.numpy()
        layer(X, training=True)
        assert layer.codebooks[0].started.numpy()

    def test_more_codes_than_inputs_fit_them_all_and_serve_later_ones(self):
        layer = VectorQuantizer(100, seed=5, update=EMAUpdate(0.9, restart_threshold=0.1))
        np.testing.assert_allclose(layer(X[:10], training=True).code, X[:10], atol=1e-5)
        assert np.isfinite(codes_of(layer)).all()
        for _ in range(30):
            layer(X, training=True)
        assert len(np.unique(layer(X).index)) > 55

    def test_a_restored_layer_does_not_start_again(self, tmp_path):
        inputs = keras.Input((4,))
        model = keras.Model(inputs, VectorQuantizer(7, seed=5, name="q")(inputs).code)
        model(X, training=True)
        model.save_weights(tmp_path / "q.weights.h5")
        twin = keras.models.clone_model(model)
        twin.load_weights(tmp_path / "q.weights.h5")
        for one in (model, twin):
            one(X + 5.0, training=True)
        np.testing.assert_array_equal(codes_of(model.get_layer("q")), codes_of(twin.get_layer("q")))
        assert np.abs(codes_of(twin.get_layer("q"))).max() < 7.0


class TestUsage:
    @pytest.mark.slow
    def test_a_thousand_codes_are_used_on_patches_of_fashion_mnist(self):
        if ENVIRONMENT_VARIABLE not in os.environ:
            pytest.skip(f"fashion_mnist is not embedded: set {ENVIRONMENT_VARIABLE}")
        images, rng = load("fashion_mnist").train.x, np.random.default_rng(0)
        i, r, c = rng.integers([len(images), 25, 25], size=(100_000, 3)).T
        window = np.arange(4)
        x = images[i[:, None, None], r[:, None, None] + window[:, None], c[:, None, None] + window].reshape(-1, 16)
        inputs = keras.Input((16,))
        layer = VectorQuantizer(1024, seed=5)
        model = keras.Model(inputs, layer(inputs).code)
        model.compile("sgd", "mse")
        with pytest.warns(UserWarning, match="does not have any trainable weights"):
            model.fit(x, x, batch_size=10_000, epochs=3, verbose=0)
        index = model.get_layer(layer.name).encode(x).numpy()
        assert len(np.unique(index)) >= 0.95 * 1024


class TestReplicas:
    @pytest.mark.parametrize("sizes", [(30, 30), (41, 19), (60, 0)])
    @pytest.mark.parametrize("graph", [False, True])
    def test_replicas_share_the_codebook_of_the_global_batch_however_it_is_divided(self, sizes, graph):
        options = {"num_codes": 12, "update": EMAUpdate(0.6, restart_threshold=0.6), "seed": 5}
        alone, strategy = VectorQuantizer(**options), two_replicas()
        with strategy.scope():
            spread = VectorQuantizer(**options)
            spread.build(X.shape)

        def step(x):
            return spread(x, training=True).index

        def run(x):
            return strategy.run(step, args=(x,))

        run = tf.function(run) if graph else run
        for i in range(4):
            x = X + 0.2 * i
            parts = np.split(x, [sizes[0]])
            values = strategy.experimental_distribute_values_from_function(
                lambda context, parts=parts: tf.constant(parts[context.replica_id_in_sync_group])
            )
            index = np.concatenate(strategy.experimental_local_results(run(values)))
            np.testing.assert_array_equal(index, alone(x, training=True).index)
        for one, other in zip(alone.weights, spread.weights, strict=True):
            first, second = (value.numpy() for value in other.value.values)
            np.testing.assert_array_equal(first, second)
            np.testing.assert_allclose(first, one, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(spread.perplexity.result(), alone.perplexity.result(), rtol=1e-5)


class TestConfig:
    def test_every_argument_is_kept(self):
        layer = VectorQuantizer(
            9,
            heads=3,
            commitment_cost=0.5,
            update=EMAUpdate(0.7, 1e-3, 0.2),
            metric="cosine",
            gradient="rotation",
            kmeans_iterations=2,
            seed=4,
        )
        twin = VectorQuantizer.from_config(layer.get_config())
        assert twin.get_config() == layer.get_config()
        assert isinstance(twin.update, EMAUpdate)
        assert isinstance(
            VectorQuantizer.from_config(VectorQuantizer(2, update="loss").get_config()).update, LossUpdate
        )

    def test_a_layer_without_a_seed_keeps_the_one_it_drew(self):
        first, second = VectorQuantizer(2), VectorQuantizer(2)
        assert first.seed != second.seed
        assert VectorQuantizer.from_config(first.get_config()).seed == first.seed

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_codes": 0}, "num_codes must be an integer of at least 1"),
            ({"heads": 1.5}, "heads must be an integer of at least 1"),
            ({"commitment_cost": -1}, "commitment_cost must be a finite number of at least 0"),
            ({"commitment_cost": float("nan")}, "commitment_cost must be a finite number of at least 0"),
            ({"metric": "euclid"}, "unknown metric 'euclid'. Did you mean 'euclidean'"),
            ({"gradient": "rotate"}, "unknown gradient 'rotate'. Did you mean 'rotation'"),
            ({"update": "adam"}, "unknown update 'adam'"),
            ({"kmeans_iterations": -1}, "kmeans_iterations must be an integer of at least 0"),
            ({"seed": -1}, "seed must be an integer of at least 0"),
        ],
    )
    def test_arguments_out_of_range_are_refused(self, options, message):
        with pytest.raises(InputError, match=message):
            VectorQuantizer(**{"num_codes": 4, **options})

    def test_a_dimension_that_heads_do_not_divide_is_refused(self):
        with pytest.raises(InputError, match=r"D must be a multiple of heads=3. Received: inputs of shape \(60, 4\)"):
            VectorQuantizer(5, heads=3)(X)

    def test_indices_of_another_number_of_heads_are_refused(self):
        with pytest.raises(InputError, match=r"indices must have shape \[..., 2\], one of each head. Received: shape"):
            random_start(heads=2).decode(np.zeros((5, 3), "int32"))
