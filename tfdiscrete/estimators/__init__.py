"""Gradient estimators of E_{z~q}[f(z)], one a file, behind one contract (see `base`).

A new estimator is one new file, its import here and one line in `REGISTRY`; the contract suite then runs on it.
"""

from tfdiscrete.errors import InputError, unknown_name
from tfdiscrete.estimators.arm import ARM
from tfdiscrete.estimators.base import Estimate, Estimator
from tfdiscrete.estimators.check import check
from tfdiscrete.estimators.compare import Measurement, compare
from tfdiscrete.estimators.direct_arg_max import DirectArgMax
from tfdiscrete.estimators.disarm import DisARM
from tfdiscrete.estimators.enumeration import Enumeration
from tfdiscrete.estimators.generalized_gumbel_softmax import GeneralizedGumbelSoftmax
from tfdiscrete.estimators.gumbel_softmax import GumbelSoftmax
from tfdiscrete.estimators.invertible_gaussian import InvertibleGaussian
from tfdiscrete.estimators.local_expectation import LocalExpectation
from tfdiscrete.estimators.mu_prop import MuProp
from tfdiscrete.estimators.nvil import NVIL
from tfdiscrete.estimators.pathwise import Pathwise
from tfdiscrete.estimators.problems import Problem
from tfdiscrete.estimators.rao_blackwell import RaoBlackwell
from tfdiscrete.estimators.rebar import REBAR
from tfdiscrete.estimators.reinmax import ReinMax
from tfdiscrete.estimators.relax import RELAX
from tfdiscrete.estimators.score_function import ScoreFunction
from tfdiscrete.estimators.stochastic_rao_blackwell import StochasticRaoBlackwell
from tfdiscrete.estimators.straight_through import StraightThrough
from tfdiscrete.estimators.straight_through_gumbel_softmax import StraightThroughGumbelSoftmax
from tfdiscrete.estimators.unordered_set import UnorderedSet
from tfdiscrete.estimators.vimco import VIMCO

REGISTRY: dict[str, type[Estimator]] = {
    "arm": ARM,
    "direct_arg_max": DirectArgMax,
    "disarm": DisARM,
    "enumeration": Enumeration,
    "generalized_gumbel_softmax": GeneralizedGumbelSoftmax,
    "gumbel_softmax": GumbelSoftmax,
    "invertible_gaussian": InvertibleGaussian,
    "local_expectation": LocalExpectation,
    "mu_prop": MuProp,
    "nvil": NVIL,
    "pathwise": Pathwise,
    "rao_blackwell": RaoBlackwell,
    "rebar": REBAR,
    "reinmax": ReinMax,
    "relax": RELAX,
    "score_function": ScoreFunction,
    "stochastic_rao_blackwell": StochasticRaoBlackwell,
    "straight_through": StraightThrough,
    "straight_through_gumbel_softmax": StraightThroughGumbelSoftmax,
    "unordered_set": UnorderedSet,
    "vimco": VIMCO,
}


def get(identifier: "str | Estimator", **options) -> Estimator:
    """Returns the estimator of that name, made with `options`; an `Estimator` is returned as it is.

    Raises:
        InputError: for a class, or for an unknown name or option; it lists the known ones and the nearest.
    """
    if isinstance(identifier, Estimator):
        return identifier
    if isinstance(identifier, type) and issubclass(identifier, Estimator):
        raise InputError(f"pass an estimator, {identifier.__name__}(...), or its name. Received: the class itself.")
    if identifier not in REGISTRY:
        raise unknown_name("estimator", identifier, REGISTRY)
    known = options_of(identifier)
    for option in options:
        if option not in (*known, "name"):
            raise unknown_name(f"option of {identifier}", option, known)
    return REGISTRY[identifier](**options)


def options_of(name: str) -> list[str]:
    """The names of what the estimator of that name can be given, such as `num_samples`."""
    return [key for key in REGISTRY[name]().get_config() if key not in ("name", "trainable", "dtype")]


__all__ = [
    "REGISTRY",
    "Estimate",
    "Estimator",
    "Measurement",
    "Problem",
    "check",
    "compare",
    "get",
    "options_of",
]
__all__ += [estimator.__name__ for estimator in REGISTRY.values()]
