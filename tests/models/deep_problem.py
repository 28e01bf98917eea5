"""A model of several discrete layers with linear networks, so small that all its codes are summed over by hand."""

import itertools
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete import families
from tfdiscrete.models import DeepDiscreteVAE, make_deep_networks

PIXELS, LATENTS = 4, 2
X = np.array([[0, 1, 1, 0], [1, 1, 0, 1], [0, 0, 0, 1]], np.float32)
SEED = [5, 7]
CATEGORIES = {"categorical": 3, "bernoulli": 2, "truncated_counts": 3}


def make_family(name):
    if name == "truncated_counts":
        return families.TruncatedCounts("binomial", prior=0.4, total_count=2)
    return families.get(name, **({"num_categories": 3} if name == "categorical" else {}))


def make_model(
    num_layers=2, family="categorical", *, networks="linear", optimizer=None, jit_compile=False, steps=1, **options
):
    """A compiled model whose weights, all of them, are far from 0; without XLA, which takes long to compile."""
    made = make_deep_networks(
        networks,
        data_shape=(PIXELS,),
        parameter_shape=(PIXELS,),
        num_latents=[LATENTS] * num_layers,
        family=make_family(family),
    )
    options = {"estimator": "enumeration", "prior": "learned", "seed": 3, **options}
    model = DeepDiscreteVAE(*made, families=make_family(family), **options)
    rng = np.random.default_rng(1)
    for variable in shared_variables(model):
        variable.assign(rng.normal(scale=0.8, size=variable.shape))
    model.compile(optimizer or keras.optimizers.Adam(0.03), jit_compile=jit_compile, steps_per_execution=steps)
    return model


def shared_variables(model):
    """All but the estimators'."""
    networks = [*model.encoders, *model.decoders, model.prior]
    return [variable for network in networks for variable in network.trainable_variables]


def loss_and_gradient(model, x=X, seed=SEED):
    """The loss of a training step, `[B]`, and the gradient of its mean."""
    variables = shared_variables(model)
    with tf.GradientTape() as tape:
        loss = model.negative_elbo(tf.convert_to_tensor(x), seed=seed, training=True).loss
        mean = tf.reduce_mean(loss)
    return loss, tape.gradient(mean, variables)


class Exact(NamedTuple):
    """By summing over all codes of all layers, in float64."""

    loss: np.ndarray
    """-ELBO, or with the weight that is asked for, `[B]`."""
    distortion: np.ndarray
    """`[B]`."""
    evidence: np.ndarray
    """log p(x), `[B]`."""
    gradient: list[np.ndarray]
    """Of the mean loss, as `shared_variables`, those of a prior that is given left out."""


def exact(model, x=X, log_prior=None, beta=1.0):
    """By the joint probabilities of the codes of all layers, `[B, M, ..., M]`, one axis a layer.

    `log_prior` is that of all codes of the top layer, `[M]`, in the order of `all_one_hot`; by default the prior's
    logits are the last variable. `beta` is the weight of the rate in the loss.
    """
    num_layers, family = model.num_layers, model.families[0]
    names = {"Categorical": "categorical", "Bernoulli": "bernoulli", "TruncatedCounts": "truncated_counts"}
    name = names[type(family).__name__]
    categories = CATEGORIES[name]
    one_hot = all_one_hot(categories)
    codes = {"categorical": one_hot, "bernoulli": one_hot[..., 1], "truncated_counts": one_hot.argmax(-1)}[name]
    codes = codes.reshape(len(one_hot), -1).astype(float)
    variables = [tf.Variable(np.asarray(v), dtype=tf.float64) for v in shared_variables(model)]

    def log_mass(parameters):
        """Of parameters `[R, N P]` the log probabilities of all codes, `[R, M]`."""
        rows = tf.reshape(parameters, [-1, LATENTS, 1 if name == "bernoulli" else categories])
        logits = tf.concat([tf.zeros_like(rows), rows], -1) if name == "bernoulli" else rows
        return tf.einsum("rnk,mnk->rm", tf.nn.log_softmax(logits, axis=-1), one_hot)

    def place(table, first, second):
        """A table of two of the axes (x is axis 0) among all `L + 1`, `first < second`."""
        shape = [1] * (num_layers + 1)
        shape[first], shape[second] = table.shape
        return tf.reshape(table, shape)

    with tf.GradientTape() as tape:
        pairs = [(variables[2 * i], variables[2 * i + 1]) for i in range(2 * num_layers)]
        encoders, decoders, prior = pairs[:num_layers], pairs[num_layers:], variables[4 * num_layers :]
        log_q = log_p = tf.zeros([1] * (num_layers + 1), tf.float64)
        for layer, (kernel, bias) in enumerate(encoders):
            log_q += place(log_mass((x if layer == 0 else codes) @ kernel + bias), layer, layer + 1)
        for layer, (kernel, bias) in enumerate(decoders[::-1]):
            parameters = codes @ kernel + bias
            if layer:
                log_p += place(tf.transpose(log_mass(parameters)), layer, layer + 1)
            else:
                signs = tf.constant(2.0 * x[:, None] - 1.0, tf.float64)
                likelihood = place(tf.reduce_sum(tf.math.log_sigmoid(signs * parameters), -1), 0, 1)
        log_top = log_mass(tf.reshape(prior[0], [1, -1])) if log_prior is None else tf.cast(log_prior, tf.float64)
        log_p += tf.reshape(log_top, [1] * num_layers + [-1])
        axes = list(range(1, num_layers + 1))
        loss = tf.reduce_sum(tf.exp(log_q) * (beta * (log_q - log_p) - likelihood), axes)
        mean = tf.reduce_mean(loss)
    distortion = -tf.reduce_sum(tf.exp(log_q) * likelihood, axes)
    evidence = tf.reduce_logsumexp(log_p + likelihood, axes)
    gradient = tape.gradient(mean, variables if log_prior is None else variables[: 4 * num_layers])
    return Exact(loss.numpy(), distortion.numpy(), evidence.numpy(), [np.asarray(g) for g in gradient])


def all_one_hot(categories):
    """`[M, N, K]`."""
    return np.eye(categories)[list(itertools.product(range(categories), repeat=LATENTS))]


def flat(parts):
    return np.concatenate([np.ravel(part) for part in parts])
