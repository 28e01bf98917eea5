"""Every prior over every family, with arbitrary weights, and all codes with which to enumerate."""

import functools
import itertools

import numpy as np
import tensorflow as tf

from tfdiscrete import families, priors

N, K = 3, 3
DATA_SHAPE = (2, 2)
SEED = [1, 2]

FAMILIES = {
    "categorical": lambda: families.Categorical(K),
    "bernoulli": families.Bernoulli,
    "counts": lambda: families.TruncatedCounts(prior=1.0, low=0, high=2, tolerance=0.5),
    "explicit counts": lambda: families.TruncatedCounts(prior=1.0, low=0, high=2, tolerance=0.5, explicit=True),
    "invertible gaussian": lambda: families.InvertibleGaussian(K),
    "gaussian": families.Gaussian,
    "planar": lambda: families.InvertibleGaussian(2, flow="planar"),
    "mixed": lambda: families.Mixed(families.Categorical(K), num_discrete=2),
}
CONTINUOUS = ("gaussian", "planar")
DISCRETE = tuple(name for name in FAMILIES if name not in (*CONTINUOUS, "mixed"))

PRIORS = {
    "fixed": priors.Fixed,
    "learned": priors.Learned,
    "mixture": lambda: priors.Mixture(4),
    "vamp": lambda: priors.VampPrior(4),
    "hierarchical": lambda: priors.Hierarchical(2, hidden_units=[4]),
    "compartmentalised": lambda: priors.Compartmentalised([2, 1], ["hierarchical", "learned"]),
    "conditional": lambda: priors.Conditional(4, [0.1, 0.2, 0.3, 0.4]),
}


@functools.cache
def make_family(name, num_latents=N):
    """Built; shared by the tests, for whom its prior is matched once."""
    family = FAMILIES[name]()
    family.build((None, *family.parameters_shape(num_latents)))
    own, match = family.prior_parameters(), family.prior_parameters  # which takes a second
    family.prior_parameters = lambda probabilities=None: own if probabilities is None else match(probabilities)
    return family


def encoder_of(family):
    """A linear map of data to parameters."""
    rng = np.random.default_rng(7)
    size = family.prior_parameters().size
    kernel = tf.Variable(rng.normal(scale=0.3, size=(np.prod(DATA_SHAPE), size)), dtype=tf.float32)

    def encode(x):
        return tf.reshape(tf.reshape(x, [-1, kernel.shape[0]]) @ kernel, [-1, *family.prior_parameters().shape])

    encode.kernel = kernel
    return encode


def build(prior, family, encode=None):
    prior.connect(encode or encoder_of(family), DATA_SHAPE)
    prior.build(family)
    return prior


def randomize(prior, scale=0.4):
    """Adds noise to all weights, so that everything in it matters."""
    rng = np.random.default_rng(3)
    for weight in prior.trainable_weights:
        weight.assign_add(rng.normal(0.0, scale, weight.shape).astype("float32"))
    return prior


def arbitrary(name, family):
    return randomize(build(PRIORS[name](), family))


def all_codes(family):
    """One-hot, `[K^N, N, K]`."""
    _, num_latents, categories = family.logits_shape
    indices = list(itertools.product(range(categories), repeat=num_latents))
    return np.eye(categories, dtype="float32")[indices]


def indices_of(one_hot):
    """The places of codes `[..., N, K]` in `all_codes`."""
    *_, num_latents, categories = one_hot.shape
    return np.asarray(one_hot).argmax(-1) @ (categories ** np.arange(num_latents)[::-1])


def grid(event_shape, half_width=20.0, points=401):
    """Points on a square grid for events of two numbers, `[points^2, *event]`, and the area of a cell."""
    assert np.prod(event_shape) == 2
    axis = np.linspace(-half_width, half_width, points)
    both = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, *event_shape)
    return both.astype("float32"), (axis[1] - axis[0]) ** 2
