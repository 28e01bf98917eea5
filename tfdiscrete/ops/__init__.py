"""Pure tensor functions: noise, the simplex, straight-through values. Nothing here holds state."""

from tfdiscrete.ops.counter import add_counter
from tfdiscrete.ops.gumbel import gumbel_max, gumbel_noise, gumbel_softmax, perturb
from tfdiscrete.ops.logspace import log_mean_exp
from tfdiscrete.ops.random import fold_in, random_base, seed_of, split_seed, step_seed, uniform
from tfdiscrete.ops.straight_through import straight_through, with_gradient_of

__all__ = [
    "add_counter",
    "fold_in",
    "gumbel_max",
    "gumbel_noise",
    "gumbel_softmax",
    "log_mean_exp",
    "perturb",
    "random_base",
    "seed_of",
    "split_seed",
    "step_seed",
    "straight_through",
    "uniform",
    "with_gradient_of",
]
