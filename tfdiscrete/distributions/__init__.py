"""TFP distributions over discrete variables and their relaxations, with their registered KL divergences."""

from tfdiscrete.distributions.binary_concrete import BinaryConcrete
from tfdiscrete.distributions.family import Family, is_family
from tfdiscrete.distributions.generalized_gumbel_softmax import GeneralizedGumbelSoftmax
from tfdiscrete.distributions.gumbel_softmax import GumbelSoftmax
from tfdiscrete.distributions.invertible_gaussian import InvertibleGaussian
from tfdiscrete.distributions.match_prior import match_prior
from tfdiscrete.distributions.product_bernoulli import ProductBernoulli
from tfdiscrete.distributions.product_categorical import ProductCategorical
from tfdiscrete.distributions.product_invertible_gaussian import ProductInvertibleGaussian
from tfdiscrete.distributions.product_mixed import ProductMixed
from tfdiscrete.distributions.product_normal import ProductNormal
from tfdiscrete.distributions.straight_through_one_hot import StraightThroughOneHot
from tfdiscrete.distributions.truncated import Truncated

__all__ = [
    "BinaryConcrete",
    "Family",
    "GeneralizedGumbelSoftmax",
    "GumbelSoftmax",
    "InvertibleGaussian",
    "ProductBernoulli",
    "ProductCategorical",
    "ProductInvertibleGaussian",
    "ProductMixed",
    "ProductNormal",
    "StraightThroughOneHot",
    "Truncated",
    "is_family",
    "match_prior",
]
