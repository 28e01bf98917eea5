"""A small model with any prior, and what enumeration of its codes says of it."""

import keras
import numpy as np
import scipy.special

from tests.priors.arbitrary import all_codes
from tfdiscrete import families
from tfdiscrete.models import DiscreteVAE

PIXELS, LATENTS, CATEGORIES = 8, 2, 3


def bits(examples=50, seed=0):
    """Noisy copies of three patterns, the first of which is the most common, and which they are of."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(3, size=examples, p=[0.8, 0.1, 0.1])
    patterns = np.random.default_rng(0).integers(2, size=(3, PIXELS))[classes]
    return np.where(rng.random((examples, PIXELS)) < 0.05, 1 - patterns, patterns).astype("float32"), classes


def make_vae(prior, family="categorical", *, latents=LATENTS, optimizer=None, jit_compile=False, **options):
    """Compiled, with linear networks."""
    family = families.get(family)
    parameters = family.num_parameters or CATEGORIES
    dense = lambda units, seed: keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed))  # noqa: E731
    reshape = keras.layers.Reshape((latents, parameters), dtype="float32")
    encoder = keras.Sequential([keras.Input((PIXELS,)), dense(latents * parameters, 1), reshape])
    code_shape = family.code_shape if parameters == family.num_parameters else (CATEGORIES,)
    decoder = keras.Sequential([keras.Input((latents, *code_shape)), keras.layers.Flatten(), dense(PIXELS, 2)])
    vae = DiscreteVAE(encoder, decoder, family=family, prior=prior, **{"seed": 3, **options})
    vae.compile(optimizer or keras.optimizers.Adam(0.03), jit_compile=jit_compile, steps_per_execution=1)
    return vae


def fit(vae, *data, epochs=1, batch_size=10):
    return vae.fit(*data, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=0).history


def exact(vae, x, log_prior=None):
    """Rate, distortion and -log p(x), `[B]` each, of a model of discrete variables and the Bernoulli likelihood."""
    codes = all_codes(vae.family)
    log_q = np.asarray(vae.family.hard(vae.posterior(x)).log_prob(codes[:, None]), np.float64)
    log_p = np.asarray(vae.prior.log_prob(codes) if log_prior is None else log_prior, np.float64)
    logits = np.asarray(vae.decoder(vae.family.decode(codes)), np.float64)[:, None]
    log_likelihood = -np.logaddexp(0.0, -(2 * x - 1) * logits).sum(-1)
    q = np.exp(log_q)
    rate, distortion = (q * (log_q - log_p[:, None])).sum(0), -(q * log_likelihood).sum(0)
    return rate, distortion, -scipy.special.logsumexp(log_likelihood + log_p[:, None], axis=0)
