"""Bounds on log p(x), and the likelihoods p(x|z) that they are made of."""

from tfdiscrete.objectives import likelihoods
from tfdiscrete.objectives.elbo import KL_CHOICES, NegativeElbo, negative_elbo
from tfdiscrete.objectives.evaluation import Bounds, discrete_bounds, relaxed_elbo
from tfdiscrete.objectives.likelihoods import Bernoulli, Categorical, Gaussian, Likelihood

__all__ = [
    "KL_CHOICES",
    "Bernoulli",
    "Bounds",
    "Categorical",
    "Gaussian",
    "Likelihood",
    "NegativeElbo",
    "discrete_bounds",
    "likelihoods",
    "negative_elbo",
    "relaxed_elbo",
]
