"""Keras layers: tensors in, tensors out."""

from tfdiscrete.layers.gumbel_softmax import GumbelSoftmax

__all__ = ["GumbelSoftmax"]
