"""A tiny semi-supervised model, and its loss in NumPy."""

import keras
import numpy as np
import scipy.special

from tfdiscrete.models import SemiSupervisedVAE

PIXELS, CLASSES, STYLE = 4, 3, 2


def examples(count=24):
    """Binary x, y, and y with two of three labels missing."""
    rng = np.random.default_rng(0)
    y = np.arange(count) % CLASSES
    patterns = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]])[y]
    x = np.where(rng.random((count, PIXELS)) < 0.1, 1 - patterns, patterns).astype("float32")
    return x, y, np.where(np.arange(count) < count // 3, y, -1)


def linear_networks(label_shape=(CLASSES,), seed=0, features="x"):
    """One dense layer each, of the concatenated inputs."""
    layers = keras.layers

    def dense(size):
        return layers.Dense(
            size,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.7, seed=seed + size),
            bias_initializer=keras.initializers.RandomNormal(stddev=0.3, seed=seed + size + 1),
        )

    size = int(np.prod(label_shape))
    x = keras.Input((PIXELS,))
    logits = layers.Reshape(label_shape, dtype="float32")(dense(size)(x))
    encoder = keras.Model(x, [logits, x if features == "x" else dense(5)(x)])
    width = PIXELS if features == "x" else 5
    inputs, label = keras.Input((width,)), keras.Input(label_shape)
    style_encoder = keras.Model(
        [inputs, label], dense(2 * STYLE)(layers.Concatenate()([inputs, layers.Flatten()(label)]))
    )
    label, style = keras.Input(label_shape), keras.Input((STYLE,))
    decoder = keras.Model([label, style], dense(PIXELS)(layers.Concatenate()([layers.Flatten()(label), style])))
    return encoder, style_encoder, decoder


def make_model(label_shape=(CLASSES,), *, optimizer=None, jit_compile=False, steps=1, seed=3, features="x", **options):
    vae = SemiSupervisedVAE(*linear_networks(label_shape, features=features), seed=seed, **options)
    vae.compile(optimizer or keras.optimizers.Adam(0.02), jit_compile=jit_compile, steps_per_execution=steps)
    return vae


def affine(network, *inputs):
    kernel, bias = (np.asarray(w, np.float64) for w in network.get_weights())
    return np.concatenate(inputs, axis=-1) @ kernel + bias


def style_law(model, x, label):
    """Mean and scale of q(s|x, y), `[B, D]` each, for flat one-hot labels `[B, A K]`."""
    mean, raw = np.split(affine(model.style_encoder, x, label), 2, axis=-1)
    return mean, np.logaddexp(0.0, raw) + 1e-4


def log_likelihood(model, x, label, style):
    """log p(x|y, s), `[B]`."""
    logits = affine(model.decoder, label, style)
    return -np.logaddexp(0.0, -(2 * x - 1) * logits).sum(-1)


def cost_of_label(model, x, label, noise):
    """L(x, y) at the given noise of the style, `[B]`."""
    mean, scale = style_law(model, x, label)
    rate = 0.5 * (mean**2 + scale**2 - 1) - np.log(scale)
    return -log_likelihood(model, x, label, mean + scale * noise) + rate.sum(-1)


def log_classifier(model, x):
    """log q(y|x), `[B, C]`."""
    return scipy.special.log_softmax(affine(model.encoder, x), axis=-1)


def log_evidence(model, x, nodes=40):
    """log p(x), `[B]`, under uniform labels: the sum over them, and Gauss-Hermite quadrature over the two styles."""
    points, masses = np.polynomial.hermite_e.hermegauss(nodes)
    style = np.stack(np.meshgrid(points, points), axis=-1).reshape(-1, 1, STYLE)
    log_mass = np.log(np.outer(masses, masses).reshape(-1, 1) / masses.sum() ** 2)
    style = np.broadcast_to(style, (len(style), len(x), STYLE))
    terms = []
    for one_hot in np.eye(CLASSES):
        label = np.broadcast_to(one_hot, (*style.shape[:2], CLASSES))
        terms.append(log_mass + log_likelihood(model, x, label, style) - np.log(CLASSES))
    return scipy.special.logsumexp(np.concatenate(terms), axis=0)
