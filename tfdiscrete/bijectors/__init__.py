"""TFP bijectors onto the simplex, one a file."""

from tfdiscrete.bijectors.softmax_plus_plus import SoftmaxPlusPlus

__all__ = ["SoftmaxPlusPlus"]
