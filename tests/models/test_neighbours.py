import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.models.neighbours import decode_neighbours, is_deterministic, starts_dense

layers = keras.layers


def decoder_of(*parts, event=(3, 4)):
    code = tensor = keras.Input(event)
    for part in parts:
        tensor = part(tensor)
    return keras.Model(code, tensor)


CHAINS = {
    "linear": lambda: decoder_of(layers.Flatten(), layers.Dense(6)),
    "hidden": lambda: decoder_of(
        layers.Flatten(), layers.Dense(5, "relu", bias_initializer="normal"), layers.Dense(6), layers.Reshape((2, 3))
    ),
    "without bias": lambda: decoder_of(layers.Flatten(), layers.Dense(5, "tanh", use_bias=False), layers.Dense(6)),
    "mlp": lambda: make_networks("mlp", data_shape=(6,), parameter_shape=(6,), num_latents=3, num_categories=4)[1],
    "conv": lambda: make_networks("conv", data_shape=(8, 4), parameter_shape=(8, 4), num_latents=3, num_categories=4)[
        1
    ],
}


def one_hot(rng, *shape, categories=4):
    return np.eye(categories, dtype="float32")[rng.integers(categories, size=shape)]


@pytest.mark.parametrize("name", CHAINS)
def test_outputs_are_those_of_the_decoder_at_each_changed_code(name):
    decoder = CHAINS[name]()
    z = one_hot(np.random.default_rng(0), 2, 5, 3)
    assert starts_dense(decoder)
    outputs = decode_neighbours(decoder, tf.constant(z)).numpy()
    assert outputs.shape == (3 * 3 + 1, 2, 5, *decoder.output_shape[1:])
    own = z.argmax(-1)
    for s, b in np.ndindex(2, 5):
        codes = [z[s, b].copy() for _ in range(10)]
        for number, (n, j) in enumerate(np.ndindex(3, 3)):
            codes[number][n] = np.eye(4)[j + (j >= own[s, b, n])]
        np.testing.assert_allclose(outputs[:, s, b], decoder(np.stack(codes)), rtol=1e-4, atol=1e-5)


def shared():
    dense = layers.Dense(12)
    return decoder_of(layers.Flatten(), dense, dense)


def branched():
    code = keras.Input((3, 4))
    flat = layers.Flatten()(code)
    return keras.Model(code, layers.Add()([layers.Dense(6)(flat), layers.Dense(6)(flat)]))


def mixing():
    code = keras.Input((3, 4))
    hidden = layers.Dense(6)(layers.Flatten()(code))
    return keras.Model(code, hidden - keras.ops.mean(hidden, axis=0))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(6)

    def call(self, code):
        return self.dense(tf.reshape(code, [-1, 12]))


class Doubled(layers.Dense):
    def call(self, inputs):
        return 2.0 * super().call(inputs)


@pytest.mark.parametrize(
    "make",
    [
        shared,
        branched,
        Subclassed,
        lambda: decoder_of(layers.Flatten(), Doubled(6)),
        lambda: decoder_of(layers.Dense(6), layers.Flatten()),
        lambda: decoder_of(layers.Flatten(), layers.BatchNormalization(), layers.Dense(6)),
        lambda: decoder_of(layers.Flatten(), layers.Dense(5), layers.BatchNormalization(), layers.Dense(6)),
        lambda: decoder_of(layers.Flatten(), layers.Dense(5), layers.Dropout(0.5), layers.Dense(6)),
        lambda: decoder_of(layers.Flatten(data_format="channels_first"), layers.Dense(6)),
    ],
    ids=[
        "shared",
        "branched",
        "subclassed",
        "another dense",
        "dense in rows",
        "normalized first",
        "normalized",
        "dropout",
        "transposed",
    ],
)
def test_other_decoders_have_no_such_shortcut(make):
    assert not starts_dense(make())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        *((chain, True) for chain in CHAINS.values()),
        (shared, True),
        (lambda: decoder_of(layers.Dense(6), layers.Flatten()), True),
        (lambda: decoder_of(layers.Flatten(), layers.Dense(5), layers.Dropout(0.5), layers.Dense(6)), False),
        (lambda: decoder_of(layers.Flatten(), layers.BatchNormalization(), layers.Dense(6)), False),
        (lambda: decoder_of(layers.Flatten(), Doubled(6)), False),
        (Subclassed, False),
        (mixing, False),
    ],
    ids=[*CHAINS, "shared", "dense in rows", "dropout", "normalized", "another dense", "subclassed", "mixing"],
)
def test_codes_are_decoded_once_for_all_examples_where_no_layer_mixes_them_or_draws(make, expected):
    assert is_deterministic(make()) == expected


@pytest.mark.parametrize(("likelihood", "extra"), [("bernoulli", ()), ("gaussian", (2,)), ("categorical", (256,))])
def test_log_likelihood_of_the_model_has_those_of_shared_codes(likelihood, extra):
    networks = make_networks("mlp", data_shape=(3, 2), parameter_shape=(3, 2, *extra), num_latents=3, num_categories=4)
    vae = DiscreteVAE(*networks, likelihood=likelihood, seed=0)
    rng = np.random.default_rng(1)
    x, z = rng.integers(2, size=(5, 3, 2)).astype("float32"), one_hot(rng, 7, 1, 3)
    log_likelihood = vae._log_likelihood_of(x, training=True)
    each = np.broadcast_to(z, (7, 5, 3, 4))
    weights = tf.constant(rng.normal(size=(7, 5)).astype("float32"))
    found = []
    for values in (lambda: log_likelihood.shared(tf.constant(z)), lambda: log_likelihood(tf.constant(each))):
        with tf.GradientTape() as tape:
            log_prob = values()
            total = tf.reduce_sum(weights * log_prob)
        found.append([log_prob, *tape.gradient(total, networks[1].trainable_variables)])
    assert found[0][0].shape == (7, 5)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_log_likelihood_of_the_model_has_those_of_all_neighbours(likelihood):
    extra = () if likelihood == "bernoulli" else (2,)
    networks = make_networks("mlp", data_shape=(6,), parameter_shape=(6, *extra), num_latents=3, num_categories=4)
    vae = DiscreteVAE(*networks, likelihood=likelihood, seed=0)
    rng = np.random.default_rng(1)
    x, z = rng.integers(2, size=(5, 6)).astype("float32"), one_hot(rng, 2, 5, 3)
    log_likelihood = vae._log_likelihood_of(x, training=True)
    scores = log_likelihood.neighbours(tf.constant(z)).numpy()
    assert scores.shape == (2, 5, 3, 4)
    for n in range(3):
        for k in range(4):
            changed = z.copy()
            changed[:, :, n] = np.eye(4)[k]
            np.testing.assert_allclose(scores[:, :, n, k], log_likelihood(tf.constant(changed)), rtol=1e-4, atol=1e-4)
