"""Keras layers: tensors in, tensors out."""

from tfdiscrete.layers.binary_concrete import BinaryConcrete
from tfdiscrete.layers.codebook_update import EMAUpdate, LossUpdate
from tfdiscrete.layers.finite_scalar_quantizer import FiniteScalarQuantizer
from tfdiscrete.layers.gaussian import Gaussian
from tfdiscrete.layers.generalized_gumbel_softmax import GeneralizedGumbelSoftmax
from tfdiscrete.layers.gumbel_softmax import GumbelSoftmax
from tfdiscrete.layers.invertible_gaussian import InvertibleGaussian
from tfdiscrete.layers.lookup_free_quantizer import LookupFreeQuantizer
from tfdiscrete.layers.outcome_transform import OutcomeTransform
from tfdiscrete.layers.quantizer import Quantized
from tfdiscrete.layers.residual_vector_quantizer import ResidualVectorQuantizer
from tfdiscrete.layers.straight_through_bernoulli import StraightThroughBernoulli
from tfdiscrete.layers.straight_through_one_hot import StraightThroughOneHot
from tfdiscrete.layers.vector_quantizer import VectorQuantizer

__all__ = [
    "BinaryConcrete",
    "EMAUpdate",
    "FiniteScalarQuantizer",
    "Gaussian",
    "GeneralizedGumbelSoftmax",
    "GumbelSoftmax",
    "InvertibleGaussian",
    "LookupFreeQuantizer",
    "LossUpdate",
    "OutcomeTransform",
    "Quantized",
    "ResidualVectorQuantizer",
    "StraightThroughBernoulli",
    "StraightThroughOneHot",
    "VectorQuantizer",
]
