"""Every public layer, and Keras models made with layers, exported as they would be used."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.layers.test_contract import CASES, inputs, make
from tfdiscrete import InputError, layers
from tfdiscrete.layers.quantizer import Quantizer
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.serving import endpoints_of, export_saved_model

SAMPLING = [(name, case) for name in CASES for case in CASES[name] if case.options.get("inference") == "sample"]
# The first of each layer's that is deterministic at inference.
LAYERS = {
    name: next(case for case in cases if case.options.get("inference") != "sample") for name, cases in CASES.items()
}


def first_step(name, case):
    """A layer after a step of training, and the inputs of it."""
    layer, x = make(name, case), inputs(case)
    layer(x, training=True)
    return layer, x


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_exported_and_answers_as_at_inference_for_every_batch_size(name, tmp_path):
    layer, x = first_step(name, LAYERS[name])
    signatures = tf.saved_model.load(str(export_saved_model(layer, tmp_path / "layer"))).signatures
    for batch in (len(x), 2):
        rows = tf.constant(x[:batch])
        answer, expected = signatures["serving_default"](x=rows), layer(rows, training=False)
        if isinstance(layer, Quantizer):
            assert set(signatures) == {"serving_default", "encode", "decode"}
            np.testing.assert_array_equal(answer["index"], expected.index)
            decoded = signatures["decode"](index=answer["index"])["code"]
            np.testing.assert_allclose(decoded, expected.code, atol=1e-6)
            np.testing.assert_array_equal(decoded, answer["code"])
        else:
            assert set(signatures) == {"serving_default", "serve"}
            np.testing.assert_allclose(answer["output"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "case"), SAMPLING)
def test_a_layer_that_draws_at_inference_is_refused_and_so_is_a_model_of_it(name, case, tmp_path):
    layer, x = first_step(name, case)
    tensor = keras.Input(x.shape[1:])
    for model in (layer, keras.Model(tensor, layer(tensor))):
        with pytest.raises(InputError, match=f"{layer.name} draws samples at inference.*inference='mode' or 'mean'"):
            export_saved_model(model, tmp_path / "model")
    assert list((tmp_path / "model").iterdir()) == []


def spec_names(model):
    return {name: [spec.name for spec in endpoint.inputs] for name, endpoint in endpoints_of(model).items()}


def test_inputs_have_the_names_that_they_were_given():
    one, two = keras.Input((3,)), keras.Input((3,), name="style")
    added = keras.layers.Add()([one, two])
    assert spec_names(keras.Model([one, two], added)) == {"serve": ["x_0", "style"]}
    assert spec_names(keras.Model(one, one * 2)) == {"serve": ["x"]}
    sequential = keras.Sequential([keras.layers.Dense(2)])
    sequential(np.zeros((1, 3), "float32"))
    assert spec_names(sequential) == {"serve": ["x"]}


def test_outputs_have_the_names_of_a_dictionary_or_tuple_and_numbers_without_one(tmp_path):
    x = keras.Input((3,))
    quantized = layers.VectorQuantizer(4, seed=1)(x)
    for i, (outputs, names) in enumerate(
        [
            (x * 2, {"output"}),
            ([x * 2, x * 3], {"output_0", "output_1"}),
            ({"double": x * 2, "triple": x * 3}, {"double", "triple"}),
            (quantized, {"code", "index", "loss"}),
        ]
    ):
        model = keras.Model(x, outputs)
        path = export_saved_model(model, tmp_path / str(i))
        answer = tf.saved_model.load(str(path)).signatures["serve"](x=tf.ones([2, 3]))
        assert set(answer) == names
        flat = keras.tree.flatten(model(tf.ones([2, 3])))
        for name, expected in zip(sorted(names), flat, strict=True):
            np.testing.assert_allclose(answer[name], expected, rtol=1e-6)


def test_a_dictionary_of_inputs_reaches_the_right_places(tmp_path):
    one, two = keras.Input((2,), name="b"), keras.Input((2,), name="a")
    model = keras.Model({"b": one, "a": two}, keras.layers.Subtract()([one, two]))
    serve = tf.saved_model.load(str(export_saved_model(model, tmp_path / "model"))).signatures["serve"]
    np.testing.assert_array_equal(serve(a=tf.fill([1, 2], 5.0), b=tf.fill([1, 2], 7.0))["output"], [[2.0, 2.0]])


def test_weights_are_written_once(tmp_path):
    model = keras.Sequential([keras.Input((300,)), keras.layers.Dense(300), layers.GumbelSoftmax()])
    path = export_saved_model(model, tmp_path / "model")
    weights = 4 * 300 * 301
    assert weights <= sum(file.stat().st_size for file in (path / "variables").iterdir()) < 1.1 * weights


def test_an_answer_leaves_all_metrics_and_counters_where_they_are():
    """The graph must assign nothing: a server runs it on many threads."""
    x = keras.Input((3,))
    model = keras.Model(x, layers.ResidualVectorQuantizer(2, 4, seed=1)(layers.GumbelSoftmax(seed=1)(x)).code)
    endpoint = endpoints_of(model)["serve"]
    graph = (
        tf.function(endpoint.function, endpoint.inputs, autograph=False).get_concrete_function().graph.as_graph_def()
    )
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    assert not [node.op for node in nodes if "Assign" in node.op]


def test_a_model_of_this_package_has_its_own():
    networks = make_networks("mlp", data_shape=(4, 4), parameter_shape=(4, 4), num_latents=3, num_categories=5, seed=1)
    vae = DiscreteVAE(*networks, seed=0)
    assert list(endpoints_of(vae)) == ["encode", "decode", "sample"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (layers.GumbelSoftmax(name="codes"), "codes is not built"),
        (keras.layers.Add(name="sum"), "sum is not built"),
        (np.zeros(3), "expected a Keras model or layer. Received: ndarray"),
    ],
)
def test_what_has_no_signature_is_refused(model, message):
    with pytest.raises(InputError, match=message):
        endpoints_of(model)
    if message.startswith("sum"):
        model([tf.zeros([2, 3]), tf.zeros([2, 3])])
        with pytest.raises(InputError, match="not for a single input.*keras.Model"):
            endpoints_of(model)
