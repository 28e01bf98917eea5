"""Keras's own layer test, and what all layers have in common, over every public layer."""

import dataclasses
import inspect
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src import testing

from tfdiscrete import layers
from tfdiscrete.layers.stochastic import StochasticLayer

PUBLIC = [getattr(layers, name) for name in layers.__all__]
NAMES = sorted(public.__name__ for public in PUBLIC if issubclass(public, keras.layers.Layer))
SCHEDULE = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=10, decay_rate=0.5)


@dataclasses.dataclass(frozen=True)
class Case:
    """One setting of a layer, and what it makes of its inputs."""

    options: dict[str, Any]
    input_shape: Any  # a shape, or a list of shapes for a layer of several inputs
    output_shape: Any  # a shape, or the layer's NamedTuple of shapes
    output_dtype: Any = "float32"  # a dtype, or the layer's NamedTuple of dtypes
    trainable: int = 0  # weights
    non_trainable: int = 2  # weights: the counters of draws in training and at inference
    losses: int = 0  # those that a call adds
    positive: tuple[int, ...] = ()  # which of several inputs must be positive
    keras_test: dict[str, Any] = dataclasses.field(default_factory=dict)  # more options of Keras's own layer test


def quantizer_case(options, input_shape, index_shape, **weights):
    """Keras would train on the outputs as targets, and its data sets hold no scalar such as the loss."""
    return Case(
        options,
        input_shape,
        layers.Quantized(input_shape, index_shape, ()),
        layers.Quantized("float32", "int32", "float32"),
        keras_test={"run_training_check": False},
        **weights,
    )


CASES = {
    "BinaryConcrete": [
        Case({}, (4, 3), (4, 3)),
        Case({"hard": True, "temperature": SCHEDULE, "inference": "sample"}, (4, 2, 3), (4, 2, 3)),
        Case({"inference": "mean", "seed": 5, "temperature": 0.3}, (4,), (4,)),
    ],
    "FiniteScalarQuantizer": [
        quantizer_case({"levels": [8, 5, 2]}, (4, 3), (4,), non_trainable=0),
        quantizer_case({"levels": [3, 4]}, (4, 2, 2), (4, 2), non_trainable=0),
    ],
    "Gaussian": [
        Case({}, (4, 6), (4, 3)),
        Case({"inference": "sample", "seed": 5}, (4, 2, 2), (4, 2, 1)),
    ],
    "GeneralizedGumbelSoftmax": [
        Case({"high": 12}, (4, 3), (4, 3)),
        Case({"prior": (0.5, 3.0), "tolerance": 1e-3, "returns": "simplex"}, (4, 3), (4, 3, 11)),
        Case({"family": "geometric", "high": 9, "hard": True, "inference": "mean"}, (4, 2, 3), (4, 2, 3)),
        Case({"family": "binomial", "total_count": 5, "inference": "sample", "temperature": SCHEDULE}, (4,), (4,)),
        Case({"family": "negative_binomial", "total_count": 3, "low": 1, "high": 20, "seed": 5}, (4, 3), (4, 3)),
        Case({"family": "multinomial", "total_count": 3, "hard": True}, (4, 2, 3), (4, 2, 3)),
        Case({"family": "poisson", "high": 4, "explicit": False}, (4, 2, 5), (4, 2)),
        Case({"family": "multinomial", "total_count": 2, "explicit": False, "num_categories": 3}, (4, 6), (4, 3)),
    ],
    "GumbelSoftmax": [
        Case({}, (4, 3), (4, 3)),
        Case({"hard": True, "temperature": 0.3}, (4, 2, 3), (4, 2, 3)),
        Case({"inference": "mean", "seed": 5}, (2, 2, 2, 3), (2, 2, 2, 3)),
        Case({"inference": "sample", "temperature": SCHEDULE, "name": "codes"}, (4, 1), (4, 1)),
    ],
    "InvertibleGaussian": [
        Case({}, (4, 6), (4, 4)),
        Case({"hard": True, "temperature": 0.3, "delta": 2.0}, (4, 2, 6), (4, 2, 4)),
        Case({"inference": "mean", "seed": 5, "temperature": SCHEDULE}, (4, 3, 2), (4, 3, 2)),
        Case({"flow": "planar", "inference": "sample"}, (4, 2, 6), (4, 2, 4), trainable=3),
        Case({"flow": "stick_breaking", "hard": True}, (4, 2, 6), (4, 2, 4)),
    ],
    "LookupFreeQuantizer": [
        quantizer_case({"num_bits": 3}, (4, 3), (4,), non_trainable=0),
        quantizer_case(
            {"num_bits": 22, "group_bits": 4, "diversity": 0.5, "temperature": 0.1},
            (4, 2, 22),
            (4, 2),
            non_trainable=0,
        ),
    ],
    "OutcomeTransform": [
        Case({"outcomes": [1, 5, 10]}, (4, 3), (4,), non_trainable=0),
        Case({"outcomes": [[1, 0], [0, 1], [2.5, -1]]}, (4, 2, 3), (4, 2, 2), non_trainable=0),
    ],
    "ResidualVectorQuantizer": [
        # More rows than codes, or else residuals of zero tie.
        quantizer_case({"num_quantizers": 2, "num_codes": 3}, (12, 3), (12, 2), non_trainable=10),
        quantizer_case(
            {"num_quantizers": 3, "num_codes": 4, "quantizer_dropout": True, "gradient": "rotation", "seed": 5},
            (4, 2, 3),
            (4, 2, 3),
            non_trainable=16,
        ),
        quantizer_case(
            {"num_quantizers": 3, "num_codes": 4, "shared_codebook": True, "update": "loss"},
            (4, 2, 3),
            (4, 2, 3),
            trainable=1,
            non_trainable=1,
        ),
    ],
    "StraightThroughBernoulli": [
        Case({}, (4, 3), (4, 3)),
        Case({"inference": "mean", "seed": 5}, (4, 2, 3), (4, 2, 3)),
        Case({"inference": "sample"}, (4, 1), (4, 1)),
    ],
    "StraightThroughOneHot": [
        Case({}, (4, 3), (4, 3)),
        Case({"gradient": "reinmax", "inference": "sample"}, (4, 2, 3), (4, 2, 3)),
        Case({"inference": "mean", "seed": 5}, (4, 1), (4, 1)),
    ],
    "VectorQuantizer": [
        quantizer_case({"num_codes": 3}, (4, 3), (4,), non_trainable=5),
        quantizer_case(
            {"num_codes": 5, "heads": 2, "metric": "cosine", "gradient": "rotation", "seed": 5},
            (4, 2, 6),
            (4, 2, 2),
            non_trainable=10,
        ),
        quantizer_case(
            {"num_codes": 5, "update": layers.EMAUpdate(0.5, restart_threshold=0.3), "kmeans_iterations": 0},
            (4, 2, 2, 3),
            (4, 2, 2),
            non_trainable=5,
        ),
        quantizer_case(
            {"num_codes": 5, "update": "loss", "name": "codes"},
            (4, 2, 3),
            (4, 2),
            trainable=1,
            non_trainable=1,
        ),
    ],
}


def cases(*, slow_others=False):
    """All (name, case), as parameters of a test; those beside the first of a layer may be marked as slow."""
    for name in NAMES:
        for i, case in enumerate(CASES.get(name, [])):
            marks = [pytest.mark.slow] if i and slow_others else []
            yield pytest.param(name, case, id=f"{name}-{i}", marks=marks)


every_case = pytest.mark.parametrize(("name", "case"), [*cases()])


def make(name, case, **options):
    return getattr(layers, name)(**case.options, **options)


def with_batch(case, batch):
    """The case's shapes of inputs, with another batch size."""
    return keras.tree.map_shape_structure(lambda shape: (batch, *shape[1:]), case.input_shape)


def inputs(case, scale=1.0, batch=None):
    """Standard normal inputs times `scale`, float32."""
    rng = np.random.default_rng(0)
    shapes = case.input_shape if batch is None else with_batch(case, batch)
    x = keras.tree.map_shape_structure(lambda shape: (scale * rng.normal(size=shape)).astype("float32"), shapes)
    if case.positive:
        x = [np.abs(value) if i in case.positive else value for i, value in enumerate(x)]
    return x


def expected_shapes(case, batch):
    """The shapes of the flattened outputs: the first dimension is the batch, but for a scalar."""
    shapes = []
    keras.tree.map_shape_structure(lambda s: shapes.append((batch, *s[1:]) if s else ()), case.output_shape)
    return shapes


def case_batch(case):
    return len(keras.tree.flatten(inputs(case))[0])


def model_of(name, case):
    """A functional model of the layer alone, after two steps of training."""
    symbolic = keras.tree.map_shape_structure(lambda shape: keras.Input(shape[1:]), case.input_shape)
    model = keras.Model(symbolic, make(name, case)(symbolic))
    for _ in range(2):
        model(inputs(case), training=True)
    return model


def copy_weights(source, target):
    for weight, other in zip(source.weights, target.weights, strict=True):
        other.assign(weight)


def assert_same(ours, theirs, rtol=0.0, atol=0.0):
    """Compares the leaves: a model made of its config returns a list where the first returned a NamedTuple."""
    for one, other in zip(keras.tree.flatten(ours), keras.tree.flatten(theirs), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=rtol, atol=atol)


def assert_goes_on_as(model, twin, case):
    """Both draw the same next samples in training and at inference, and have the same weights before and after."""
    assert_same([weight.numpy() for weight in model.weights], [weight.numpy() for weight in twin.weights])
    for training in (True, False, True):
        assert_same(model(inputs(case), training=training), twin(inputs(case), training=training))
    assert_same([weight.numpy() for weight in model.weights], [weight.numpy() for weight in twin.weights])


def test_every_public_layer_has_its_cases():
    assert sorted(CASES) == NAMES


@pytest.fixture
def keras_case():
    """Keras's test case, whose setting of the whole process is taken back."""
    case = testing.TestCase()
    case.setUp()
    yield case
    keras.config.enable_traceback_filtering()


# The test fits a model of this layer alone, on a generator that `fit` cannot shuffle.
@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed, but will be ignored:UserWarning")
@pytest.mark.filterwarnings("ignore:The model does not have any trainable weights:UserWarning")
@every_case
def test_keras_s_own_layer_test_passes(keras_case, name, case):
    keras_case.run_layer_test(
        getattr(layers, name),
        init_kwargs=case.options,
        input_shape=case.input_shape,
        expected_output_shape=case.output_shape,
        expected_output_dtype=case.output_dtype,
        expected_num_trainable_weights=case.trainable,
        expected_num_non_trainable_weights=case.non_trainable,
        expected_num_seed_generators=0,
        expected_num_losses=case.losses,
        supports_masking=True,
        **case.keras_test,
    )


@pytest.mark.parametrize("public", [public for public in PUBLIC if hasattr(public, "get_config")])
def test_saved_name_has_the_package_of_the_layers(public):
    assert keras.saving.get_registered_name(public) == f"tfdiscrete.layers>{public.__name__}"


@every_case
def test_every_argument_is_in_the_config(name, case):
    """An option may change the gradient alone, which no comparison of outputs shows."""
    parameters = inspect.signature(getattr(layers, name)).parameters
    config = make(name, case).get_config()
    assert {parameter for parameter in parameters if parameter != "kwargs"} <= set(config)


@every_case
def test_config_and_weights_alone_give_the_same_outputs(name, case):
    layer = make(name, case)
    twin = type(layer).from_config(layer.get_config())
    for built in (layer, twin):
        built.build(case.input_shape)
    copy_weights(layer, twin)
    assert_goes_on_as(layer, twin, case)


@pytest.mark.parametrize(("name", "case"), cases(slow_others=True))
def test_eager_mode_a_graph_of_unknown_batch_size_and_xla_draw_the_same_samples(name, case):
    x, first, static_shapes = inputs(case), make(name, case), []
    first.build(case.input_shape)
    signature = [keras.tree.map_shape_structure(tf.TensorSpec, with_batch(case, None))]
    wrappers = [
        lambda f: f,
        lambda f: tf.function(f, input_signature=signature),
        lambda f: tf.function(f, jit_compile=True),
    ]
    results = []
    for wrap in wrappers:
        layer = type(first).from_config(first.get_config())
        layer.build(case.input_shape)
        copy_weights(first, layer)

        def train(x, layer=layer):
            outputs = layer(x, training=True)
            static_shapes.append([y.shape for y in keras.tree.flatten(outputs)])
            return outputs

        results.append((wrap(train)(x), [weight.numpy() for weight in layer.weights], layer(x)))
    for other in results[1:]:
        assert_same(results[0], other, rtol=1e-4, atol=1e-5)
    for shapes, batch in zip(static_shapes, (case_batch(case), None, case_batch(case)), strict=True):
        assert shapes == [tf.TensorShape(shape) for shape in expected_shapes(case, batch)]


@every_case
def test_a_loaded_keras_file_goes_on_where_the_model_was(name, case, tmp_path):
    model = model_of(name, case)
    model.save(tmp_path / "model.keras")
    assert_goes_on_as(model, keras.saving.load_model(tmp_path / "model.keras"), case)


@every_case
def test_loaded_weights_go_on_where_the_model_was(name, case, tmp_path):
    model = model_of(name, case)
    model.save_weights(tmp_path / "model.weights.h5")
    twin = keras.Model.from_config(model.get_config())
    twin.load_weights(tmp_path / "model.weights.h5")
    assert_goes_on_as(model, twin, case)


@every_case
def test_a_restored_checkpoint_goes_on_where_the_model_was(name, case, tmp_path):
    model = model_of(name, case)
    path = tf.train.Checkpoint(model=model).write(tmp_path / "checkpoint")
    twin = keras.Model.from_config(model.get_config())
    tf.train.Checkpoint(model=twin).read(path).assert_existing_objects_matched()
    assert_goes_on_as(model, twin, case)


@every_case
def test_a_clone_with_the_model_s_weights_goes_on_where_it_was(name, case):
    model = model_of(name, case)
    clone = keras.models.clone_model(model)
    assert {id(weight) for weight in clone.weights}.isdisjoint(id(weight) for weight in model.weights)
    clone.set_weights(model.get_weights())
    assert_goes_on_as(model, clone, case)


@every_case
def test_an_exported_saved_model_gives_the_same_at_inference_for_any_batch_size(name, case, tmp_path):
    model = model_of(name, case)
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = keras.tree.map_shape_structure(lambda shape: tf.TensorSpec(shape), with_batch(case, None))
    archive.add_endpoint("serve", lambda x: keras.tree.flatten(model(x, training=False)), input_signature=[signature])
    archive.write_out(tmp_path / "model", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "model")
    for batch in (2, 5):
        x = inputs(case, batch=batch)
        expected = keras.tree.flatten(model(x, training=False))
        assert_same(expected, list(loaded.serve(keras.tree.map_structure(tf.constant, x))), rtol=1e-5, atol=1e-6)


@every_case
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_the_compute_dtype_and_finite_values_and_gradients_at_extreme_inputs(name, case, policy):
    layer = make(name, case, dtype=policy)
    x = keras.tree.map_structure(lambda value: tf.constant(100.0 * np.sign(value), tf.float32), inputs(case))
    layer.build(case.input_shape)
    for training in (True, False):
        with tf.GradientTape() as tape:
            tape.watch(keras.tree.flatten(x))
            outputs = [y for y in keras.tree.flatten(layer(x, training=training)) if y.dtype.is_floating]
            weights = [tf.random.stateless_normal(tf.shape(y), [1, 2]) for y in outputs]
            value = tf.add_n([tf.reduce_sum(w * tf.cast(y, tf.float32)) for w, y in zip(weights, outputs, strict=True)])
            value += tf.add_n([0.0, *layer.losses])
        gradients = tape.gradient(value, [*keras.tree.flatten(x), *layer.trainable_variables])
        # A loss, which has no dimensions, stays in float32.
        assert all(y.dtype == (layer.compute_dtype if y.shape.rank else tf.float32) for y in outputs)
        assert all(np.isfinite(np.asarray(y, "float32")).all() for y in outputs)
        assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients if gradient is not None)


@every_case
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_gives_empty_outputs_and_no_nan(name, case, training):
    result = make(name, case)(inputs(case, batch=0), training=training)
    outputs = keras.tree.flatten(result)
    assert [tuple(y.shape) for y in outputs] == expected_shapes(case, 0)
    assert all(np.isfinite(y).all() for y in outputs)


@pytest.mark.parametrize("name", [name for name in NAMES if issubclass(getattr(layers, name), StochasticLayer)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("inference", ["mode", "mean"])
def test_integer_parameters_are_those_numbers(name, inference, training):
    case = CASES[name][0]
    x = np.arange(np.prod(case.input_shape)).reshape(case.input_shape) % 3
    case = dataclasses.replace(case, options={**case.options, "inference": inference, "seed": 3})
    results = [make(name, case)(y, training=training) for y in (x, x.astype("float32"))]
    np.testing.assert_array_equal(*results)


@pytest.fixture
def debug_mode():
    tf.debugging.enable_check_numerics()
    yield
    tf.debugging.disable_check_numerics()


@pytest.mark.parametrize("name", NAMES)
def test_nan_in_the_inputs_is_reported_in_tensorflow_s_debug_mode(debug_mode, name):
    case = CASES[name][0]
    layer = make(name, case)
    layer.build(case.input_shape)
    with pytest.raises(tf.errors.InvalidArgumentError, match="NaN"):
        tf.reduce_sum(keras.tree.flatten(layer(np.full(case.input_shape, np.nan, "float32"), training=True))[0]) + 1
