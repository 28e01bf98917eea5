"""TFP distributions over discrete variables and their relaxations, with their registered KL divergences."""

from tfdiscrete.distributions.family import Family
from tfdiscrete.distributions.gumbel_softmax import GumbelSoftmax
from tfdiscrete.distributions.product_categorical import ProductCategorical

__all__ = ["Family", "GumbelSoftmax", "ProductCategorical"]
