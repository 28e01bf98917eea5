"""The page at `/` in a real browser."""

import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from .browser import CHROMIUM, Browser

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("kserve") is None, reason='needs KServe: pip install "tfdiscrete[serve]"'
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]

SIZE = 8
ROWS = "[...document.querySelectorAll('.codes tr')].slice(1)"
CHOSEN = f"{ROWS}.map(row => [...row.cells].findIndex(cell => cell.matches('.chosen')) - 1)"


class Pictures(tf.Module):
    """A small model with the signatures of a `DiscreteVAE` of three variables of four categories."""

    def __init__(self):
        super().__init__()
        self.encoder = tf.Variable(tf.random.stateless_normal([SIZE**2, 12], [1, 2]))
        self.decoder = tf.Variable(tf.random.stateless_uniform([12, SIZE**2], [3, 4]) / 3)

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE], tf.float32, "x")])
    def encode(self, x):
        probabilities = tf.nn.softmax(tf.reshape(tf.reshape(x, [-1, SIZE**2]) @ self.encoder, [-1, 3, 4]))
        index = tf.argmax(probabilities, -1, output_type=tf.int32)
        return {"probabilities": probabilities, "code": tf.one_hot(index, 4), "index": index}

    @tf.function(input_signature=[tf.TensorSpec([None, 3, 4], tf.float32, "code")])
    def decode(self, code):
        return {"reconstruction": tf.reshape(tf.reshape(code, [-1, 12]) @ self.decoder, [-1, SIZE, SIZE])}

    @tf.function(input_signature=[tf.TensorSpec([2], tf.int32, "seed"), tf.TensorSpec([], tf.int32, "n")])
    def sample(self, seed, n):
        return {"samples": tf.random.stateless_uniform([n, SIZE, SIZE], seed)}

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE], tf.float32, "x")])
    def classify(self, x):
        probabilities = tf.nn.softmax(tf.reshape(x, [-1, SIZE**2]) @ self.encoder)
        return {"probabilities": probabilities, "index": tf.argmax(probabilities, -1, output_type=tf.int32)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "z")])
    def double(self, z):
        return {"twice": 2 * z}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Pictures()


@pytest.fixture(scope="module")
def browser(model, tmp_path_factory):
    from .live import live_server

    folder = tmp_path_factory.mktemp("models")
    served = {"vae": ("encode", "decode", "sample"), "classifier": ("classify",), "plain": ("double",)}
    for name, names in served.items():
        signatures = {key: getattr(model, key) for key in names}
        tf.saved_model.save(model, str(folder / name / "1"), signatures=signatures)
    with live_server({name: folder / name for name in served}) as (_, port), Browser(folder / "profile") as browser:
        browser.address = f"http://127.0.0.1:{port}/"
        yield browser


@pytest.fixture
def page(browser):
    browser.open(browser.address)
    browser.wait_for("location.pathname === '/' && document.body && document.body.dataset.ready === 'vae'")
    return browser


def pixels(page, canvas):
    """The grey values of a canvas, from 0 to 255."""
    script = f"[...{canvas}.getContext('2d').getImageData(0, 0, {SIZE}, {SIZE}).data].filter((_, i) => i % 4 == 0)"
    return np.array(page.evaluate(script)).reshape(SIZE, SIZE)


def point(page, row, column):
    """The middle of a pixel of the drawing, on the screen."""
    box = page.evaluate("drawing.getBoundingClientRect().toJSON()")
    return box["x"] + (column + 0.5) / SIZE * box["width"], box["y"] + (row + 0.5) / SIZE * box["height"]


def drawn(page):
    return np.reshape(page.evaluate("state.pixels"), [1, SIZE, SIZE]).astype(np.float32)


def check_codes(page, model):
    code = model.encode(tf.constant(drawn(page)))
    # The codes of the drawing of a moment ago may have the same index.
    expected = code["probabilities"].numpy().ravel().tolist()
    shown = "[...document.querySelectorAll('.codes td')].map(c => Number(c.title.split('= ').pop()))"
    page.wait_for(f"{shown}.every((p, i) => Math.abs(p - {expected}[i]) < 6e-4)")
    assert len(page.evaluate(shown)) == len(expected)
    page.wait_for(f"JSON.stringify({CHOSEN}) === '{code['index'].numpy()[0].tolist()}'.replaceAll(' ', '')")
    return code["code"]


def check_decoded(page, model, code):
    expected = 255 * model.decode(code)["reconstruction"].numpy()[0]
    page.wait_for(f"Math.abs(decoded.getContext('2d').getImageData(0, 0, 1, 1).data[0] - {expected[0, 0]}) < 1")
    np.testing.assert_allclose(pixels(page, "decoded"), expected, atol=1)


def test_what_is_drawn_is_encoded_and_decoded(page, model):
    check_decoded(page, model, check_codes(page, model))
    page.evaluate("document.getElementById('clear').click()")
    page.wait_for("state.pixels.every(x => x === 0)")
    page.drag([point(page, 1, 3), point(page, 2, 3), point(page, 6, 3)])
    page.wait_for("state.pixels.some(x => x === 1)")
    picture = drawn(page)[0]
    assert (picture[[1, 2, 6], 3] == 1).all()
    assert (picture[:, [0, 7]] == 0).all()
    check_decoded(page, model, check_codes(page, model))
    np.testing.assert_allclose(pixels(page, "drawing"), 255 * picture, atol=1)


def test_a_click_on_a_category_decodes_that_code(page, model):
    code = check_codes(page, model).numpy()
    index = code[0].argmax(-1)
    index[1] = (index[1] + 1) % 4
    page.evaluate(f"document.querySelectorAll('.codes tr')[2].cells[{index[1] + 1}].firstChild.click()")
    page.wait_for(f"JSON.stringify({CHOSEN}) === '{index.tolist()}'.replaceAll(' ', '')")
    check_decoded(page, model, tf.one_hot(index, 4)[None])


def test_samples_come_anew_and_can_be_drawn_on(page, model):
    assert page.evaluate("samples.childElementCount") == 24
    first = pixels(page, "samples.children[3]")
    np.testing.assert_allclose(first, 255 * model.sample(tf.constant([1, 0]), 24)["samples"][3], atol=1)
    page.evaluate("samples.children[3].click()")
    check_codes(page, model)
    np.testing.assert_allclose(255 * drawn(page)[0], first, atol=1)
    page.evaluate("again.click()")
    page.wait_for("state.seed === 3 && document.querySelectorAll('#samples canvas').length === 24")
    expected = 255 * model.sample(tf.constant([2, 0]), 24)["samples"][3].numpy()
    page.wait_for(
        f"Math.abs(samples.children[3].getContext('2d').getImageData(0, 0, 1, 1).data[0] - {expected[0, 0]}) < 1"
    )


def choose(page, name):
    page.evaluate(f"models.value = '{name}'; models.dispatchEvent(new Event('change'))")
    page.wait_for(f"document.body.dataset.ready === '{name}'")


def test_a_classifier_shows_its_classes(page, model):
    choose(page, "classifier")
    expected = model.classify(tf.constant(drawn(page)))["probabilities"].numpy()[0]
    shown = page.evaluate("[...document.querySelectorAll('.bars i')].map(bar => parseFloat(bar.style.width))")
    np.testing.assert_allclose(shown, 100 * expected, rtol=1e-4, atol=1e-4)
    assert page.evaluate("document.getElementById('decoding').hidden && sampling.hidden")


def test_a_model_without_pictures_lists_its_signatures(page):
    choose(page, "plain")
    assert "double(z [-1,3]) -> twice" in page.evaluate("signatures.innerText")
    assert page.evaluate("encoding.hidden && sampling.hidden && message.textContent === ''")


def test_a_refusal_of_the_server_is_shown(page):
    page.evaluate("state.name = 'gone'; again.click()")
    page.wait_for("message.textContent.includes('unknown model')")
