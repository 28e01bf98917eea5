"""What all quantizers share: reports, masks, decoding, refusals; in `fit`, alone and on two replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete import InputError
from tfdiscrete.layers import (
    EMAUpdate,
    FiniteScalarQuantizer,
    LookupFreeQuantizer,
    Quantized,
    ResidualVectorQuantizer,
    VectorQuantizer,
)

X = np.random.default_rng(0).normal(size=(96, 5, 6)).astype("float32")
MAKERS = {
    "ema": lambda **o: VectorQuantizer(12, update=EMAUpdate(0.8, restart_threshold=0.3), seed=3, **o),
    "loss": lambda **o: VectorQuantizer(12, update="loss", heads=2, metric="cosine", gradient="rotation", seed=3, **o),
    "cosine": lambda **o: VectorQuantizer(40, heads=3, kmeans_iterations=0, metric="cosine", seed=3, **o),
    "residual": lambda **o: ResidualVectorQuantizer(3, 8, quantizer_dropout=True, seed=3, **o),
    "shared": lambda **o: ResidualVectorQuantizer(3, 8, shared_codebook=True, seed=3, **o),
    "fsq": lambda **o: FiniteScalarQuantizer([5, 4, 3, 2, 7, 8], **o),
    "lfq": lambda **o: LookupFreeQuantizer(6, **o),
}
every_quantizer = pytest.mark.parametrize("kind", MAKERS)


def autoencoder(kind, normalize=False, **compile_options):
    keras.utils.set_random_seed(0)
    inputs = keras.Input(X.shape[1:])
    x = keras.layers.Dense(6)(inputs)
    if normalize:
        x = keras.layers.BatchNormalization(synchronized=True)(x)
    x = MAKERS[kind](name="quantizer")(x).code
    if normalize:
        x = MAKERS[kind](name="second")(keras.layers.BatchNormalization(synchronized=True)(x)).code
    model = keras.Model(inputs, keras.layers.Dense(6)(x))
    model.compile(keras.optimizers.SGD(0.1), "mse", **compile_options)
    return model


@every_quantizer
class TestAnyQuantizer:
    def test_outputs_have_the_stated_shapes_and_types_alone_and_in_a_functional_model(self, kind):
        layer = MAKERS[kind]()
        result = layer(X)
        symbolic = layer(keras.Input(X.shape[1:]))
        for one in (result, symbolic):
            assert isinstance(one, Quantized)
            assert [y.dtype if isinstance(y.dtype, str) else y.dtype.name for y in one] == [
                "float32",
                "int32",
                "float32",
            ]
        assert symbolic.code.shape == (None, *result.code.shape[1:]) == (None, *X.shape[1:])
        assert symbolic.index.shape == (None, *result.index.shape[1:])
        assert symbolic.loss.shape == result.loss.shape == ()
        assert layer.compute_output_shape((None, 5, 6)) == tuple(y.shape for y in symbolic)

    def test_decoding_the_index_gives_the_code_before_and_after_saving(self, kind, tmp_path):
        model = autoencoder(kind)
        model.fit(X, X, epochs=2, batch_size=32, verbose=0)
        model.save(tmp_path / "model.keras")
        layers = [
            model.get_layer("quantizer"),
            keras.saving.load_model(tmp_path / "model.keras").get_layer("quantizer"),
        ]
        results = [layer(X) for layer in layers]
        for layer, result in zip(layers, results, strict=True):
            np.testing.assert_array_equal(layer.encode(X), results[0].index)
            np.testing.assert_array_equal(result.code, results[0].code)
            np.testing.assert_allclose(layer.decode(results[0].index), results[0].code, rtol=1e-6, atol=1e-6)

    def test_the_loss_is_added_in_training_alone(self, kind):
        layer = MAKERS[kind]()
        result = layer(X, training=True)
        assert [float(loss) for loss in layer.losses] == [float(result.loss)]
        layer(X)
        assert layer.losses == []

    @pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": False}, {"jit_compile": True}])
    @pytest.mark.slow
    def test_fit_reports_the_perplexity_of_each_epoch_and_adds_the_loss(self, kind, options):
        model = autoencoder(kind, **options)
        history = model.fit(X, X, epochs=4, batch_size=32, validation_data=(X, X), verbose=0).history
        assert history["loss"][-1] < history["loss"][0]
        index = model.get_layer("quantizer")(model.layers[1](X)).index.numpy()
        counts = (
            [np.bincount(part) for part in index.reshape(-1, index.shape[-1]).T]
            if index.ndim > 2
            else [np.bincount(index.ravel())]
        )
        entropy = [-sum(c / n.sum() * np.log(c / n.sum()) for c in n if c) for n in counts]
        np.testing.assert_allclose(history["val_quantizer_perplexity"][-1], np.exp(np.mean(entropy)), rtol=1e-4)
        assert all(1.0 <= value <= 6720 for value in history["quantizer_perplexity"])

    @pytest.mark.slow
    def test_two_replicas_train_as_one_through_fit_and_keep_equal_weights(self, kind):
        """With two quantizers and synchronized normalizations, between which the replicas take turns."""
        alone = autoencoder(kind, normalize=True)
        with two_replicas().scope():
            spread = autoencoder(kind, normalize=True)
        histories = [
            model.fit(X, X, epochs=2, batch_size=32, shuffle=False, verbose=0).history for model in (alone, spread)
        ]
        assert histories[0].keys() == histories[1].keys()
        for name, values in histories[0].items():
            np.testing.assert_allclose(values, histories[1][name], rtol=1e-4, err_msg=name)
        for one, other in zip(alone.weights, spread.weights, strict=True):
            first, second = (value.numpy() for value in other.value.values)
            np.testing.assert_array_equal(first, second, err_msg=one.path)
            np.testing.assert_allclose(first, one.numpy(), rtol=1e-3, atol=1e-4, err_msg=one.path)

    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
    def test_mixed_precision_gives_finite_codes_losses_and_gradients(self, kind, policy):
        layer, x = MAKERS[kind](dtype=policy), tf.constant(100.0 * X)
        layer.build(x.shape)
        with tf.GradientTape() as tape:
            tape.watch(x)
            result = layer(x, training=True)
            total = tf.reduce_sum(tf.cast(result.code, tf.float32)) + result.loss
        assert result.code.dtype == layer.compute_dtype
        assert result.loss.dtype == tf.float32
        assert all(weight.dtype in ("float32", "int64", "bool") for weight in layer.weights)
        for value in (result.code, result.loss, *tape.gradient(total, [x, *layer.trainable_variables])):
            assert np.isfinite(np.asarray(tf.cast(value, tf.float32))).all()
        assert layer.decode(result.index).dtype == layer.compute_dtype

    def test_an_empty_batch_changes_nothing_and_has_no_loss(self, kind):
        layer = MAKERS[kind]()
        layer.build(X.shape)
        for trained in (False, True):
            if trained:
                layer(X, training=True)
            before = {w.path: w.numpy() for w in layer.weights if w.dtype != "int64"}
            result = layer(X[:0], training=True)
            assert result.loss == 0.0
            assert result.code.shape == (0, 5, 6)
            for weight in layer.weights:
                if weight.dtype != "int64":  # counters of calls
                    np.testing.assert_array_equal(weight, before[weight.path], err_msg=weight.path)

    def test_an_input_that_is_not_a_number_is_seen_in_its_code_and_nowhere_else(self, kind):
        layer, bad = MAKERS[kind](), X.copy()
        layer(X, training=True)
        bad[2, 3, 1] = np.nan
        expected, result = layer(X), layer(bad)
        assert np.isnan(result.code[2, 3]).any()
        assert np.isnan(result.loss) or kind == "fsq"
        others = np.arange(96) != 2
        np.testing.assert_array_equal(result.code.numpy()[others], expected.code.numpy()[others])
        lowest, end = layer._index_range()
        assert ((result.index.numpy() >= lowest) & (result.index.numpy() < end)).all()
        if kind not in ("loss",):
            layer(bad, training=True)
            assert all(np.isfinite(weight).all() for weight in layer.weights)

    def test_a_frozen_layer_adds_its_loss_and_keeps_its_weights(self, kind):
        layer = MAKERS[kind]()
        layer.trainable = False
        layer.build(X.shape)
        before = {w.path: w.numpy() for w in layer.weights if w.dtype != "int64"}
        layer(X, training=True)
        assert len(layer.losses) == 1
        for path, value in before.items():
            np.testing.assert_array_equal(next(w for w in layer.weights if w.path == path), value)

    def test_a_layer_made_frozen_and_a_loaded_frozen_one_keep_their_weights(self, kind, tmp_path):
        made = MAKERS[kind](trainable=False)
        made(X)
        model = autoencoder(kind)
        model.fit(X, X, batch_size=32, verbose=0)
        model.get_layer("quantizer").trainable = False
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras").get_layer("quantizer")
        for layer in (made, loaded):
            before = [codebook.embeddings().numpy() for codebook in getattr(layer, "codebooks", [])]
            layer(X + 1.0, training=True)
            assert layer.trainable_variables == []
            for codebook, codes in zip(getattr(layer, "codebooks", []), before, strict=True):
                np.testing.assert_array_equal(codebook.embeddings(), codes)

    def test_indices_of_small_integer_types_decode(self, kind):
        layer = MAKERS[kind]()
        index = np.clip(layer(X).index.numpy(), 0, 100)
        index[index > layer._index_range()[1] - 1] = 0
        np.testing.assert_array_equal(layer.decode(index.astype("uint8")), layer.decode(index))

    def test_the_mask_goes_to_the_code(self, kind):
        masked = keras.layers.Masking()(X * (np.arange(5) < 3)[:, None])
        result = MAKERS[kind]()(masked)
        np.testing.assert_array_equal(result.code._keras_mask, np.tile(np.arange(5) < 3, (96, 1)))

    @pytest.mark.parametrize("wrong", [-2, 10**6])
    def test_an_index_out_of_range_is_refused_and_nan_in_a_graph(self, kind, wrong):
        layer = MAKERS[kind]()
        index = layer(X).index.numpy()
        index.reshape(-1)[0] = wrong
        with pytest.raises(InputError, match=rf"indices must be from (-1|0) to \d+. Received: {wrong}"):
            layer.decode(index)
        for jit_compile in (False, True):
            code = tf.function(layer.decode, jit_compile=jit_compile)(tf.constant(index)).numpy()
            np.testing.assert_array_equal(np.isnan(code).any(-1).ravel(), np.arange(96 * 5) == 0)

    def test_indices_that_are_no_integers_are_refused(self, kind):
        layer = MAKERS[kind]()
        layer(X)
        with pytest.raises(InputError, match=r"indices must be integers. Received: indices of dtype float32"):
            layer.decode(np.zeros((2, 3), "float32"))

    def test_symbolic_tensors_are_refused_where_a_functional_model_cannot_take_them(self, kind):
        layer = MAKERS[kind]()
        _, index, _ = layer(keras.Input(X.shape[1:]))
        with pytest.raises(InputError, match="in a functional model call it in the `call` of a subclassed layer"):
            layer.decode(index)
        with pytest.raises(InputError, match="in a functional model call the quantizer and take its `index`"):
            layer.encode(keras.Input(X.shape[1:]))

    def test_decoding_before_there_are_codes_is_refused(self, kind):
        layer = MAKERS[kind]()
        shape = layer.compute_output_shape((2, 6)).index
        with pytest.raises(InputError, match="has no codes yet"):
            layer.decode(np.zeros(shape, "int32"))

    @pytest.mark.parametrize("shape", [(), (None,), (4, None), (4, 0)])
    def test_inputs_without_a_static_dimension_are_refused(self, kind, shape):
        with pytest.raises(InputError, match=r"inputs must have shape \[\.\.\., D\] with D"):
            MAKERS[kind]().build(shape)

    @pytest.mark.parametrize("method", ["__call__", "encode"])
    def test_inputs_of_another_dimension_than_it_was_built_for_are_refused(self, kind, method):
        layer = MAKERS[kind]()
        layer(X)
        with pytest.raises(InputError, match=r"inputs must have shape \[..., D\] with D = 6, as it was built"):
            getattr(layer, method)(X[..., :1])
