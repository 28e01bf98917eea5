"""The same numbers from Keras, the SavedModel, ONNX and LiteRT, and what the latter two refuse."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import deep_problem, label_problem, test_families, test_mixed, test_vector_quantized_vae
from tfdiscrete import InputError
from tfdiscrete.layers import VectorQuantizer
from tfdiscrete.ops import nearest_code
from tfdiscrete.serving import export_model
from tfdiscrete.serving.export import FORMATS
from tfdiscrete.serving.formats import Format, measure

CONVERTERS = ("onnx", "tf2onnx", "onnxruntime", "ai_edge_litert")
needs_converters = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in CONVERTERS),
    reason='needs the converters: pip install "tfdiscrete[export]"',
)
ALL = ("saved_model", "onnx", "litert")
# What an operator is missing for can still be decoded.
DECODED_ALONE = {
    **dict.fromkeys(("vae-poisson-explicit", "vae-geometric-explicit", "vae-binomial-explicit"), "float64 arithmetic"),
    "vae-invertible_gaussian": "Erf, Erfc",
    **dict.fromkeys(("vae-planar", "vae-stick_breaking"), "StatelessRandomUniformFullIntV2"),
}
MODELS = {
    **{f"vae-{name}": lambda name=name: test_families.make_vae(name) for name in test_families.MAKE},
    "vae-mixed": test_mixed.make_vae,
    **{f"vq-{kind}": lambda kind=kind: trained_quantizer(kind) for kind in test_vector_quantized_vae.MAKERS},
    **{
        f"deep-{family}": lambda family=family: deep_problem.make_model(2, family) for family in deep_problem.CATEGORIES
    },
    "label": label_problem.make_model,
    "attributes": lambda: label_problem.make_model((2, 3)),
}
QUICK = ("vae-categorical", "label")


def trained_quantizer(kind):
    """After a step, so that the codes stand where the data are."""
    vae = test_vector_quantized_vae.make_vae(kind)
    test_vector_quantized_vae.fit(vae, test_vector_quantized_vae.images())
    return vae


def requests(endpoint, batch):
    """Random inputs: bits or grey values, integers that every model knows."""
    rng = np.random.default_rng(batch)
    shapes = [(spec, [batch if size is None else size for size in spec.shape]) for spec in endpoint.inputs]
    return {
        spec.name: rng.integers(0, 2, shape).astype("int32") if spec.dtype.is_integer else rng.random(shape, "float32")
        for spec, shape in shapes
    }


def cases():
    marks = {name: () if name in QUICK else (pytest.mark.slow,) for name in MODELS}
    return [pytest.param(name, id=name, marks=marks[name]) for name in MODELS]


# The quantizers' test data are fitted in eager mode.
@pytest.mark.filterwarnings("ignore:.*run_eagerly.*:UserWarning")
@needs_converters
@pytest.mark.parametrize("name", cases())
def test_all_formats_give_keras_numbers_for_every_batch_size(name, tmp_path):
    model = MODELS[name]()
    only = ["decode"] if name in DECODED_ALONE else None
    exported = export_model(model, tmp_path / "model", formats=ALL, signatures=only)
    assert [report.name for report in exported.formats] == list(ALL)
    assert all(report.difference < 1e-5 for report in exported.formats[1:])
    heads = {head: endpoint for head, endpoint in model.endpoints().items() if head in exported.formats[1].signatures}
    assert (
        set(heads)
        == set(exported.formats[2].signatures)
        == ({"decode"} if only else set(model.endpoints()) - {"sample"})
    )
    for report in exported.formats:
        answer = FORMATS[report.name].open(report.path)
        for head, endpoint in heads.items():
            for batch in (1, 5):
                inputs = requests(endpoint, batch)
                expected = endpoint.function(*map(tf.constant, inputs.values()))
                answers = answer(head, inputs)
                assert set(answers) == set(expected)
                for key, value in expected.items():
                    assert answers[key].dtype == value.numpy().dtype
                    np.testing.assert_allclose(answers[key], value, rtol=0, atol=1e-5, err_msg=f"{report.name} {key}")


@pytest.fixture(scope="module")
def vae():
    return test_families.make_vae("categorical")


@pytest.fixture(scope="module")
def exported(vae, tmp_path_factory):
    if not all(importlib.util.find_spec(name) for name in CONVERTERS):
        pytest.skip('needs the converters: pip install "tfdiscrete[export]"')
    return export_model(vae, tmp_path_factory.mktemp("models") / "vae", formats=ALL)


def test_the_report_says_what_lies_on_disk(exported):
    saved_model, onnx, litert = exported.formats
    assert (saved_model.path, onnx.path, litert.path) == (
        exported.path,
        exported.path / "onnx",
        exported.path / "litert",
    )
    assert sorted(path.name for path in onnx.path.iterdir()) == ["decode.onnx", "encode.onnx"]
    assert onnx.num_bytes == sum(path.stat().st_size for path in onnx.path.iterdir())
    assert litert.num_bytes == (litert.path / "model.tflite").stat().st_size
    own = [
        path
        for name in ("saved_model.pb", "variables", "assets*", "fingerprint.pb")
        for path in exported.path.glob(name)
    ]
    files = [file for path in own for file in (path, *path.rglob("*")) if file.is_file()]
    assert saved_model.num_bytes == sum(file.stat().st_size for file in files)
    assert saved_model.signatures == ("decode", "encode", "sample")
    assert saved_model.difference is None
    assert all(report.load_seconds > 0 for report in exported.formats)


def test_onnx_files_name_the_batch_and_use_no_operator_of_tensorflow(exported):
    import onnx

    proto = onnx.load(exported.path / "onnx" / "encode.onnx")
    onnx.checker.check_model(proto, full_check=True)
    for value in (*proto.graph.input, *proto.graph.output):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert {node.domain for node in proto.graph.node} <= {"", "ai.onnx.ml"}


@needs_converters
def test_litert_files_have_builtin_operators_alone(exported):
    from ai_edge_litert.interpreter import Interpreter

    file = exported.path / "litert" / "model.tflite"
    names = {operator["op_name"] for operator in Interpreter(str(file))._get_ops_details()}
    assert "FULLY_CONNECTED" in names
    assert not [name for name in names if "flex" in name.lower() or "custom" in name.lower()]


@needs_converters
@pytest.mark.parametrize("format_name", ["onnx", "litert"])
def test_a_signature_with_a_seed_is_refused_with_what_would_work(vae, tmp_path, format_name):
    with pytest.raises(InputError, match="'sample' draws at random.*the SavedModel has it.*can have decode, encode"):
        export_model(vae, tmp_path / "model", formats=(format_name,), signatures=["sample"])
    assert list((tmp_path / "model").iterdir()) == []


@needs_converters
@pytest.mark.slow
@pytest.mark.parametrize("name", DECODED_ALONE)
def test_an_operator_that_a_format_lacks_is_named_and_nothing_is_written(name, tmp_path, capfd):
    for format_name in ("onnx", "litert"):
        with pytest.raises(InputError, match=r"'encode' needs .*signatures=\['decode'\] can be") as refusal:
            export_model(MODELS[name](), tmp_path / "model", formats=(format_name,))
        assert list((tmp_path / "model").iterdir()) == []
        assert "\n" not in str(refusal.value)
    assert DECODED_ALONE[name] in str(refusal.value)
    assert "loc(" not in capfd.readouterr().err


@needs_converters
def test_only_the_signatures_asked_for_are_converted(vae, tmp_path):
    exported = export_model(vae, tmp_path / "model", formats=("litert",), signatures=["decode"])
    assert exported.formats[0].signatures == ("decode",)
    assert sorted(path.name for path in exported.path.iterdir()) == ["MODEL.md", "litert"]
    assert exported.warm_up is False


@pytest.mark.slow
@needs_converters
def test_a_functional_model_is_converted_too(tmp_path):
    """The quantizer in it counts its codes in each call, which is no part of an answer."""
    images = keras.Input((6,), name="images")
    quantized = VectorQuantizer(4, seed=1)(images)
    model = keras.Model(images, [keras.layers.Dense(2)(quantized.code), quantized.index])
    model(np.random.default_rng(0).normal(size=(8, 6)).astype("float32"), training=True)
    counts = [variable.numpy() for variable in model.layers[1].perplexity.variables]
    exported = export_model(model, tmp_path / "model", formats=ALL)
    assert [report.signatures for report in exported.formats] == [("serve",)] * 3
    assert all(report.difference < 1e-5 for report in exported.formats[1:])
    for before, after in zip(counts, model.layers[1].perplexity.variables, strict=True):
        np.testing.assert_array_equal(before, after)
    model(np.ones((2, 6), "float32"))
    counted = [variable.numpy() for variable in model.layers[1].perplexity.variables]
    assert any((before != after).any() for before, after in zip(counts, counted, strict=True))


class InChunks(keras.layers.Layer):
    """A search of which at most 256 scores, of 8 codes, exist at a time: chunks of four rows."""

    def call(self, x):
        return nearest_code(x, np.random.default_rng(0).normal(size=(8, 3)).astype("float32"), most_scores=256)


@needs_converters
@pytest.mark.parametrize("format_name", ["onnx", "litert"])
def test_a_search_in_chunks_is_converted_for_every_number_of_rows(tmp_path, format_name):
    layer = InChunks()
    layer(np.zeros((1, 3), "float32"))
    exported = export_model(layer, tmp_path / "search", formats=(format_name,))
    answer = FORMATS[format_name].open(exported.formats[0].path)
    for count in (1, 32, 33, 36, 47):
        x = np.random.default_rng(count).normal(size=(count, 3)).astype("float32")
        np.testing.assert_array_equal(answer("serve", {"x": x})["output"], layer(x))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ("onxx",)}, "unknown format 'onxx'. Did you mean 'onnx'"),
        ({"formats": "onnx"}, "formats must be some of saved_model, onnx, litert. Received: formats='onnx'"),
        ({"formats": ()}, r"Received: formats=\(\)"),
        ({"signatures": ["encod"]}, "unknown signature 'encod'. Did you mean 'encode'"),
        ({"version": 0}, "version must be an integer of at least 1"),
    ],
)
def test_what_does_not_exist_is_refused(vae, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        export_model(vae, tmp_path / "model", **options)
    assert not (tmp_path / "model").exists() or list((tmp_path / "model").iterdir()) == []


@pytest.mark.parametrize(("format_name", "module"), [("onnx", "onnx"), ("litert", "ai_edge_litert.interpreter")])
def test_a_missing_converter_is_named_with_its_extra(vae, tmp_path, monkeypatch, format_name, module):
    monkeypatch.setitem(sys.modules, module, None)
    extra = "onnx" if format_name == "onnx" else "export"
    with pytest.raises(InputError, match=rf'needs more \(.*pip install "tfdiscrete\[{extra}\]"'):
        export_model(vae, tmp_path / "model", formats=(format_name,))
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
@needs_converters
def test_the_page_on_export_runs_and_prints_what_it_shows(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
    code, output = re.search(r"```python\n(.*?)```\n\n```text\n(.*?)```", page, re.DOTALL).groups()
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == output
    assert (tmp_path / "models" / "quantizer" / "1" / "MODEL.md").is_file()


class Fake(Format):
    """Answers what it is made with."""

    name = title = "fake"

    def __init__(self, **outputs):
        self.outputs = outputs

    def write(self, saved_model, folder, names):
        (folder / "file").write_bytes(b"12345")

    def open(self, folder):
        return lambda name, inputs: self.outputs


EXPECTED = {"y": np.array([1.0, 400.0, np.nan, np.inf]), "index": np.array([1000], "int32"), "none": np.zeros(0)}


def compare(tmp_path, **changes):
    fake = Fake(**{key: value for key, value in {**EXPECTED, **changes}.items() if value is not None})
    fake.write(tmp_path, tmp_path, ["a"])
    return measure(fake, tmp_path, {"a": {}}, {"a": EXPECTED})[0]


def test_the_difference_is_the_largest_of_any_output(tmp_path):
    report = compare(tmp_path)
    assert (report.num_bytes, report.difference, report.signatures) == (5, 0.0, ("a",))
    assert compare(tmp_path, y=EXPECTED["y"] + [0.25, 0, 0, 0]).difference == 0.25
    changed = {"y": EXPECTED["y"] + [0.25, 0, 0, 0], "index": np.array([1001], "int32")}
    assert compare(tmp_path, **changed).difference == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": EXPECTED["y"] + [0, 0.5, 0, 0]}, r"'a' to fake went wrong.*'y' differs .* by 0.5, of values up to 400"),
        ({"y": np.array([1.0, 400.0, 0.0, np.inf])}, "differs .* by inf"),
        ({"y": np.array([1.0, np.nan, np.nan, np.inf])}, "differs .* by inf"),
        ({"y": np.array([1.0, 400.0, np.nan, -np.inf])}, "differs .* by inf"),
        ({"index": np.array([1003], "int32")}, "'index' differs"),
        ({"index": np.array([1000], "int64")}, "it returns .*int64"),
        ({"index": np.array([[1000]], "int32")}, "it returns"),
        ({"y": np.ones([1])}, "it returns"),
        ({"y": None}, "it returns"),
        ({"more": np.ones([1])}, "it returns"),
    ],
)
def test_a_conversion_that_answers_otherwise_is_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        compare(tmp_path, **change)
