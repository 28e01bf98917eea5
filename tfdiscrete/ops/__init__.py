"""Pure tensor functions: noise, the simplex, straight-through values. Nothing here holds state."""

from tfdiscrete.ops.gumbel import gumbel_max, gumbel_noise, gumbel_softmax, perturb, posterior_gumbels, relaxed_one_hot
from tfdiscrete.ops.gumbel_top_k import OrderedSample, gumbel_top_k, plackett_luce_log_prob
from tfdiscrete.ops.kmeans import kmeans
from tfdiscrete.ops.logistic import logistic_noise
from tfdiscrete.ops.logspace import log_mean_exp
from tfdiscrete.ops.nearest_code import nearest_code
from tfdiscrete.ops.quadrature import gaussian_argmax_log_probabilities
from tfdiscrete.ops.random import fold_in, normal, seed_of, split_seed, step_seed, uniform
from tfdiscrete.ops.rotation_trick import rotation_trick
from tfdiscrete.ops.simplex import (
    inverse_log_softmax_plus_plus,
    inverse_stick_breaking,
    log_softmax_plus_plus,
    log_stick_breaking,
    softmax_plus_plus_limit,
)
from tfdiscrete.ops.straight_through import reinmax, snap, step, straight_through, with_gradient_of
from tfdiscrete.ops.top_codes import TopCodes, perturbed_top_codes, top_codes
from tfdiscrete.ops.truncation import linear_transform, truncated_log_pmf

__all__ = [
    "OrderedSample",
    "TopCodes",
    "fold_in",
    "gaussian_argmax_log_probabilities",
    "gumbel_max",
    "gumbel_noise",
    "gumbel_softmax",
    "gumbel_top_k",
    "inverse_log_softmax_plus_plus",
    "inverse_stick_breaking",
    "kmeans",
    "linear_transform",
    "log_mean_exp",
    "log_softmax_plus_plus",
    "log_stick_breaking",
    "logistic_noise",
    "nearest_code",
    "normal",
    "perturb",
    "perturbed_top_codes",
    "plackett_luce_log_prob",
    "posterior_gumbels",
    "reinmax",
    "relaxed_one_hot",
    "rotation_trick",
    "seed_of",
    "snap",
    "softmax_plus_plus_limit",
    "split_seed",
    "step",
    "step_seed",
    "straight_through",
    "top_codes",
    "truncated_log_pmf",
    "uniform",
    "with_gradient_of",
]
