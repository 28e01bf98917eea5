"""A family's variables in consecutive groups: their families, samples, parameters and laws."""

import abc
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError
from tfdiscrete.families import AlikeLatents, DiscreteLatents, Latents, Mixed
from tfdiscrete.priors.parts import DiscretePart, Part, with_parameters


class Groups(abc.ABC):
    """How what has all variables of a family is split into what each of their groups has."""

    latents: list[Part]
    """The groups' own families."""

    @abc.abstractmethod
    def split(self, z: tf.Tensor) -> list[tf.Tensor]:
        """Samples `[..., *event]`, hard or relaxed."""

    @abc.abstractmethod
    def join(self, groups: Sequence[tf.Tensor]) -> tf.Tensor:
        """The inverse of `split`."""

    @abc.abstractmethod
    def split_parameters(self, parameters: tf.Tensor) -> list[tf.Tensor]:
        """What an encoder gives, `[..., *parameters_shape]`."""

    @abc.abstractmethod
    def split_law(self, law) -> list:
        """A law by which the variables are independent."""


class AlikeGroups(Groups):
    """Of variables of one kind: tensors are split along the axis of the variables.

    Args:
        latents: the family, built.
        sizes: of the groups, which sum to `N`.
    """

    def __init__(self, latents: AlikeLatents, sizes: Sequence[int]):
        self._sizes, self._rank = list(sizes), _event_rank(latents)
        kind = DiscretePart if isinstance(latents, DiscreteLatents) else Part
        stops = np.cumsum(sizes).tolist()
        self.latents = [kind(latents, stop - size, stop, self._rank) for size, stop in zip(sizes, stops, strict=True)]

    def split(self, z):
        return tf.split(z, self._sizes, axis=len(z.shape) - self._rank)

    def join(self, groups):
        return tf.concat(groups, axis=len(groups[0].shape) - self._rank)

    def split_parameters(self, parameters):
        return tf.split(parameters, self._sizes, axis=-2)

    def split_law(self, law):
        rank = len(law.event_shape)

        def of(which):
            return lambda parameters: tf.split(parameters, self._sizes, axis=parameters.shape.rank - rank)[which]

        return [with_parameters(law, of(which)) for which in range(len(self._sizes))]


class MixedGroups(Groups):
    """Of `Mixed` variables: first groups of discrete ones, and then groups of Gaussian ones.

    Args:
        latents: the family, built.
        sizes: of the groups, which sum to `N + M`.

    Raises:
        InputError: for a group that has variables of both kinds.
    """

    def __init__(self, latents: Mixed, sizes: Sequence[int]):
        first, total = latents.num_discrete, latents.num_latents
        stops = np.cumsum(sizes).tolist()
        if first not in stops:
            raise InputError(
                f"each group of Mixed variables is of one kind: one must end where the discrete ones do, behind "
                f"{first} of {total}. Received: groups of {list(sizes)}; [{first}, {total - first}] would do, say, or "
                f"num_top={first} of 'hierarchical'."
            )
        self._family, self._count = latents, stops.index(first) + 1
        self._discrete = AlikeGroups(latents.discrete, sizes[: self._count])
        self._continuous = AlikeGroups(latents.continuous, sizes[self._count :])
        self.latents = [*self._discrete.latents, *self._continuous.latents]

    def split(self, z):
        d, c = self._family.split(z)
        return [*self._discrete.split(d), *self._continuous.split(c)]

    def join(self, groups):
        d, c = self._discrete.join(groups[: self._count]), self._continuous.join(groups[self._count :])
        return self._family.join(d, c)

    def split_parameters(self, parameters):
        of_discrete, of_continuous = self._family.split_parameters(parameters)
        return [*self._discrete.split_parameters(of_discrete), *self._continuous.split_parameters(of_continuous)]

    def split_law(self, law):
        return [*self._discrete.split_law(law.discrete), *self._continuous.split_law(law.continuous)]


def groups_of(latents: Latents, sizes: Sequence[int]) -> Groups:
    """The groups of `sizes` variables, which sum to the family's; raises `InputError` for those that it cannot have."""
    if isinstance(latents, Mixed):
        return MixedGroups(latents, sizes)
    if isinstance(latents, AlikeLatents):
        return AlikeGroups(latents, sizes)
    raise InputError(
        "a prior of groups of variables takes those of one kind, or Mixed ones. "
        f"Received: {type(latents).__name__}; use the prior 'fixed', 'learned', 'mixture', 'vamp' or 'conditional'."
    )


def _event_rank(latents: AlikeLatents) -> int:
    """The rank of a sample of `latents.hard(q)`; the variables are its first axis."""
    # Priors are built while a step is traced, too; nothing of this is to stay in it.
    with tf.init_scope():
        law = latents.hard(latents.distribution(tf.zeros([latents.num_latents, latents.num_parameters])))
    return len(law.event_shape)
