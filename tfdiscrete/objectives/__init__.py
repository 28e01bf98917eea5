"""Bounds on log p(x), the objectives that train by them, and the likelihoods p(x|z) that they are made of.

A new objective is one new file, its import here and one line in `REGISTRY`; the contract suite then runs on it.
"""

from tfdiscrete.errors import InputError, unknown_name
from tfdiscrete.objectives import likelihoods, supervision
from tfdiscrete.objectives.base import Objective
from tfdiscrete.objectives.beta_elbo import BetaELBO
from tfdiscrete.objectives.capacity_elbo import CapacityELBO
from tfdiscrete.objectives.counted_rate import counted_rate, counted_table
from tfdiscrete.objectives.elbo import ELBO, KL_CHOICES, NegativeElbo, negative_elbo
from tfdiscrete.objectives.evaluation import Bounds, discrete_bounds, log_mean_exp_error, relaxed_elbo
from tfdiscrete.objectives.evidence import PriorBound, log_evidence, prior_sampling_bound
from tfdiscrete.objectives.forms import Forms, elbo_forms
from tfdiscrete.objectives.free_bits import FreeBits
from tfdiscrete.objectives.importance_weighted import ImportanceWeighted
from tfdiscrete.objectives.likelihoods import Bernoulli, Categorical, FixedGaussian, Gaussian, Likelihood
from tfdiscrete.objectives.nested_elbo import Level, NestedElbo, nested_bounds, nested_negative_elbo
from tfdiscrete.objectives.semi_supervised import SemiSupervisedLoss, semi_supervised_loss
from tfdiscrete.objectives.supervision import CrossEntropy, Supervision, TaskLoss

REGISTRY: dict[str, type[Objective]] = {
    "beta_elbo": BetaELBO,
    "capacity_elbo": CapacityELBO,
    "elbo": ELBO,
    "free_bits": FreeBits,
    "importance_weighted": ImportanceWeighted,
}


def get(identifier: "str | Objective", **options) -> Objective:
    """Returns the objective of that name, made with `options`; an `Objective` is returned as it is.

    Raises:
        InputError: for a class, or for an unknown name or option; it lists the known ones and the nearest.
    """
    if isinstance(identifier, Objective):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Objective):
        raise InputError(f"pass an objective, {identifier.__name__}(...), or its name. Received: the class itself.")
    if identifier not in REGISTRY:
        raise unknown_name("objective", identifier, REGISTRY)
    known = list(REGISTRY[identifier]().get_config())
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {identifier}", option, known)
    return REGISTRY[identifier](**options)


__all__ = [
    "ELBO",
    "KL_CHOICES",
    "REGISTRY",
    "Bernoulli",
    "BetaELBO",
    "Bounds",
    "CapacityELBO",
    "Categorical",
    "CrossEntropy",
    "FixedGaussian",
    "Forms",
    "FreeBits",
    "Gaussian",
    "ImportanceWeighted",
    "Level",
    "Likelihood",
    "NegativeElbo",
    "NestedElbo",
    "Objective",
    "PriorBound",
    "SemiSupervisedLoss",
    "Supervision",
    "TaskLoss",
    "counted_rate",
    "counted_table",
    "discrete_bounds",
    "elbo_forms",
    "get",
    "likelihoods",
    "log_evidence",
    "log_mean_exp_error",
    "negative_elbo",
    "nested_bounds",
    "nested_negative_elbo",
    "prior_sampling_bound",
    "relaxed_elbo",
    "semi_supervised_loss",
    "supervision",
]
