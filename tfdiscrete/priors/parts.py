"""Some of a family's variables, those from `start` up to `stop`, as a family; and laws of changed parameters."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfdiscrete.distributions import ProductCategorical, ProductInvertibleGaussian, ProductMixed, ProductNormal
from tfdiscrete.errors import InputError
from tfdiscrete.families import AlikeLatents, DiscreteLatents


class Part(AlikeLatents):
    """Some of a family's variables: a view, which owns nothing and is not saved.

    Args:
        whole: the family, built.
        start: the first variable.
        stop: the one behind the last.
        rank: that of a sample of the family's, whose first axis are the variables.
    """

    def __init__(self, whole: AlikeLatents, start: int, stop: int, rank: int):
        super().__init__()
        # Owned, and saved, by the model.
        object.__setattr__(self, "whole", whole)
        self.start, self.stop, self.num_latents, self.rank = start, stop, stop - start, rank
        self.built = True

    @property
    def num_parameters(self):
        return self.whole.num_parameters

    @property
    def code_shape(self):
        return self.whole.code_shape

    @property
    def logits_shape(self):
        shape = self.whole.logits_shape
        return None if shape is None else (shape[0], self.num_latents, shape[2])

    def distribution(self, parameters):
        return self.whole.distribution(parameters)

    def prior_parameters(self, probabilities=None):
        if probabilities is not None:
            rows = np.atleast_2d(np.asarray(probabilities, np.float64))
            if rows.ndim != 2 or len(rows) not in (1, self.num_latents):
                raise InputError(
                    f"probabilities must broadcast to [N, K] with N = {self.num_latents}. "
                    f"Received: shape {np.shape(probabilities)}."
                )
            rows = np.broadcast_to(rows, (self.num_latents, rows.shape[1]))
            # Those of the other variables are not read.
            probabilities = np.repeat(rows[:1], self.whole.num_latents, axis=0)
            probabilities[self.start : self.stop] = rows
        return self.whole.prior_parameters(probabilities)[self.start : self.stop]

    def hard(self, q):
        return self.whole.hard(q)

    def harden(self, z):
        # The family may treat its variables differently: each goes to its own place.
        axis = z.shape.rank - self.rank
        beside = (self.start, self.whole.num_latents - self.stop)
        padded = tf.pad(z, [beside if i == axis else (0, 0) for i in range(z.shape.rank)])
        hardened = self.whole.harden(padded)
        return tf.split(hardened, [beside[0], self.num_latents, beside[1]], axis=axis)[1]

    def kl_divergence(self, q, p):
        return self.whole.kl_divergence(q, p)

    def decode(self, z):
        return self.whole.decode(z)

    def outputs(self, q):
        return self.whole.outputs(q)


class DiscretePart(Part, DiscreteLatents):
    """Some of a discrete family's variables."""

    @property
    def num_categories(self):
        return self.whole.num_categories

    def logits(self, parameters):
        return self.whole.logits(parameters)


def with_parameters(law, change: Callable[[tf.Tensor], tf.Tensor]):
    """The law of changed parameters, `[*batch, N, ...]` each.

    A flow stays that of all variables: of fewer of them the Gaussians, and so their KL, make sense, but not samples.
    """
    if isinstance(law, ProductCategorical):
        return ProductCategorical(change(law.logits))
    if isinstance(law, ProductNormal):
        return ProductNormal(change(law.loc), change(law.scale), len(law.event_shape))
    if isinstance(law, ProductMixed):
        return ProductMixed(with_parameters(law.discrete, change), with_parameters(law.continuous, change))
    if isinstance(law, ProductInvertibleGaussian):
        return ProductInvertibleGaussian(change(law.loc), change(law.scale), law.temperature, law.delta, law.flow)
    raise InputError(
        "the variables of a law can be told apart for ProductCategorical, ProductNormal, ProductInvertibleGaussian and "
        "ProductMixed. "
        f"Received: {law!r}."
    )
