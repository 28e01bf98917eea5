"""A family's variables in consecutive groups: the views, samples and laws of those from `start` up to `stop`."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tfdiscrete.distributions import ProductCategorical, ProductInvertibleGaussian, ProductMixed, ProductNormal
from tfdiscrete.errors import InputError
from tfdiscrete.families import AlikeLatents, DiscreteLatents, Latents


class Part(AlikeLatents):
    """Some of a family's variables: a view, which owns nothing and is not saved.

    Args:
        whole: the family, built.
        start: the first variable.
        stop: the one behind the last.
        rank: that of a sample, as `event_rank` says.
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


def split_latents(latents: Latents, sizes: Sequence[int]) -> list[Part]:
    """Views of groups of `sizes` variables, which sum to `N`; raises `InputError` for variables of several kinds."""
    stops, rank = np.cumsum(sizes).tolist(), event_rank(latents)
    kind = DiscretePart if isinstance(latents, DiscreteLatents) else Part
    return [kind(_alike(latents), stop - size, stop, rank) for size, stop in zip(sizes, stops, strict=True)]


def event_rank(latents: Latents) -> int:
    """The rank of a sample of `latents.hard(q)`; the variables are its first axis."""
    alike = _alike(latents)
    # Priors are built while a step is traced, too; nothing of this is to stay in it.
    with tf.init_scope():
        law = alike.hard(alike.distribution(tf.zeros([alike.num_latents, alike.num_parameters])))
    return len(law.event_shape)


def _alike(latents: Latents) -> AlikeLatents:
    if not isinstance(latents, AlikeLatents):
        raise InputError(
            f"a prior of groups of variables takes those of one kind. Received: {type(latents).__name__}; use the "
            "prior 'fixed', 'learned', 'mixture', 'vamp' or 'conditional'."
        )
    return latents


def split_samples(z: tf.Tensor, sizes: Sequence[int], rank: int) -> list[tf.Tensor]:
    """Samples of events of `rank` dimensions, `[..., N, ...]`, to those of each group."""
    return tf.split(z, list(sizes), axis=len(z.shape) - rank)


def split_law(law, sizes: Sequence[int]) -> list:
    """The law of each group, of one by which the variables are independent."""
    count = len(sizes)
    return [with_parameters(law, _group(sizes, len(law.event_shape), i)) for i in range(count)]


def _group(sizes, rank, which):
    return lambda tensor: tf.split(tensor, list(sizes), axis=tensor.shape.rank - rank)[which]


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
