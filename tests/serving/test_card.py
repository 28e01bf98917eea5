import re

import keras
import pytest

from tests.models import deep_problem, label_problem, test_families, test_vector_quantized_vae
from tfdiscrete import layers
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.priors import Conditional
from tfdiscrete.serving import FormatReport, export_saved_model
from tfdiscrete.serving.card import table, write_card
from tfdiscrete.serving.saved_model import read_signatures


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    networks = make_networks("mlp", data_shape=(4, 4), parameter_shape=(4, 4), num_latents=3, num_categories=5, seed=1)
    model = DiscreteVAE(*networks, prior=Conditional(2), seed=0)
    return export_saved_model(model, tmp_path_factory.mktemp("models") / "small")


def test_the_card_states_parts_signatures_and_versions(folder):
    text = (folder / "MODEL.md").read_text()
    assert text.startswith("# small\n\n`DiscreteVAE` of tfdiscrete, ")
    assert "A variational autoencoder with discrete latent variables." in text
    assert "| prior | Conditional |" in text
    assert "| `encode` | `x`: float32 [B, 4, 4] | `code`: float32 [B, 3, 5]<br>`index`: int32 [B, 3]<br>" in text
    # What is drawn has as many rows as are asked for.
    assert (
        "| `sample` | `condition`: int32 [n]<br>`n`: int32 []<br>`seed`: int32 [2] | `samples`: float32 [n, 4, 4] |"
        in text
    )
    assert "the same seed gives the same answer" in text
    assert re.search(r"\| tensorflow \| \d+\.\d+\.\d+ \|", text)
    assert "nothing is known here" in text
    assert "\n\n\n" not in text


def test_the_card_says_whether_there_is_a_warm_up(folder):
    signatures = read_signatures(folder)
    model = layers.GumbelSoftmax()
    assert "one request a signature" in write_card("a", model, signatures, warm_up=True)
    assert "No warm-up requests" in write_card("a", model, signatures, warm_up=False)


def test_formats_are_listed_with_what_was_measured(folder):
    reports = [
        FormatReport("saved_model", folder, ("encode", "decode"), 12345, 0.25, None),
        FormatReport("onnx", folder, ("decode",), 678, 0.0123, 2e-7),
    ]
    text = write_card("a", layers.GumbelSoftmax(), read_signatures(folder), formats=reports)
    assert "| saved_model | `encode`, `decode` | 12,345 | 250.0 | - |" in text
    assert "| onnx | `decode` | 678 | 12.3 | 2.0e-07 |" in text
    assert "| onnxruntime |" in text
    assert "warm" not in write_card("a", layers.GumbelSoftmax(), read_signatures(folder), formats=reports[1:])


def test_layers_of_this_package_in_a_keras_model_are_named(folder):
    x = keras.Input((3,))
    text = write_card("a", keras.Model(x, layers.GumbelSoftmax(name="codes")(x)), read_signatures(folder))
    assert "`Functional` of keras, 2 weights." in text
    assert "| codes | GumbelSoftmax |" in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: test_vector_quantized_vae.make_vae("fsq"),
        lambda: deep_problem.make_model(2),
        label_problem.make_model,
        lambda: test_families.make_vae("gaussian"),
    ],
)
def test_every_model_has_a_sentence_and_its_parts(folder, make):
    model = make()
    text = write_card("a", model, read_signatures(folder)).split("## Signatures")[0]
    assert re.search(r"weights\. [A-Z].*\.\n", text)
    for part in model.parts:
        assert re.search(rf"\| {part} \| [\w, ]+ \|", text)


def test_bars_in_a_cell_do_not_end_it():
    assert table(("a", "b"), [("KL(q || p)", 1)]) == "| a | b |\n| --- | --- |\n| KL(q \\|\\| p) | 1 |\n"
