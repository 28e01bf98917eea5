"""TFP bijectors onto the simplex and on the way there, one a file."""

from tfdiscrete.bijectors.planar_flow import PlanarFlow
from tfdiscrete.bijectors.softmax_plus_plus import SoftmaxPlusPlus
from tfdiscrete.bijectors.stick_breaking import StickBreaking

__all__ = ["PlanarFlow", "SoftmaxPlusPlus", "StickBreaking"]
