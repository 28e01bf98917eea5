"""Groups of variables, such as a label and a style, each with a prior of its own.

p(z) = prod_g p_g(z_g)
"""

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from tfdiscrete import priors as package
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.ops import split_seed
from tfdiscrete.priors.base import Prior
from tfdiscrete.priors.groups import groups_of


@keras.saving.register_keras_serializable(package="tfdiscrete.priors")
class Compartmentalised(Prior):
    """Consecutive groups of the `N` variables are independent, each under a prior of its own.

    The KL has a closed form where all the priors have one. A conditional prior of a group is, without a condition, the
    mixture over its classes. Of a `Mixed` family each group is discrete or Gaussian: one ends with the discrete part.

    Example:

        prior = Compartmentalised([1, 9], [Fixed([0.5, 0.3, 0.2]), "mixture"])      # a label and a style
        vae = DiscreteVAE(encoder, decoder, family=Mixed(Categorical(3), num_discrete=1), prior=prior)

    Args:
        sizes: how many variables each group has; they sum to `N`.
        priors: one for each group, a `Prior` or its name.

    Raises:
        InputError: for as many priors as not sizes, one prior for two groups, sizes of another sum than `N`, or a group
            of both kinds of `Mixed` variables.
    """

    def __init__(self, sizes: Sequence[int], priors: Sequence[str | Prior], **kwargs):
        super().__init__(**kwargs)
        self.sizes = [check_count("sizes", size) for size in sizes]
        if isinstance(priors, str) or len(priors) != len(self.sizes) or not self.sizes:
            raise InputError(
                f"`priors` must be a list of one prior for each of the groups. Received: sizes={self.sizes} with "
                f"priors={priors!r}."
            )
        parts = [package.get(prior) for prior in priors]
        if len({id(part) for part in parts}) < len(parts):
            raise InputError("each group needs a prior of its own: make one for each. Received: one for two groups.")
        for i, part in enumerate(parts):
            setattr(self, f"part_{i}", part)  # TensorFlow checkpoints do not see those in a list.
        self.has_analytic_kl = all(part.has_analytic_kl for part in parts)

    @property
    def parts(self) -> list[Prior]:
        """The groups' priors, in their order."""
        return [getattr(self, f"part_{i}") for i in range(len(self.sizes))]

    def connect(self, encode, data_shape):
        self._check_parts()
        for i, part in enumerate(self.parts):
            part.connect(self._encoder_of(i, encode), data_shape)

    def _check_parts(self) -> None:
        """Raises `InputError` for a part that another prior, or a model, has built."""
        for part in self.parts:
            if part.built and not self.built:
                raise InputError(
                    f"each group needs a prior that is not built. Received: the {type(part).__name__} of another prior "
                    "or model; make one for this group."
                )

    def _encoder_of(self, which: int, encode):
        return lambda x: self._groups.split_parameters(encode(x))[which]

    def build(self, latents):
        self._check_parts()
        super().build(latents)
        if sum(self.sizes) != self.latents.num_latents:
            raise InputError(
                f"sizes must sum to the number of latent variables, {self.latents.num_latents}. "
                f"Received: sizes={self.sizes}, which sum to {sum(self.sizes)}."
            )
        self._groups = groups_of(self.latents, self.sizes)
        for part, group in zip(self.parts, self._groups.latents, strict=True):
            part.build(group)

    def with_samples(self, z) -> Iterator[tuple[Prior, Any]]:
        """Each group's prior and samples, of `[..., *event]`."""
        return zip(self.parts, self._groups.split(z), strict=True)

    def with_laws(self, q) -> Iterator[tuple[Prior, Any]]:
        """Each group's prior and law, of one by which the variables are independent."""
        return zip(self.parts, self._groups.split_law(q), strict=True)

    def log_prob(self, z):
        return sum(part.log_prob(group) for part, group in self.with_samples(z))

    def sample(self, num_samples, seed):
        seeds = split_seed(seed, len(self.sizes))
        return self._groups.join([part.sample(num_samples, own) for part, own in zip(self.parts, seeds, strict=True)])

    def kl_divergence(self, q):
        if not self.has_analytic_kl:
            return super().kl_divergence(q)
        return sum(part.kl_divergence(group) for part, group in self.with_laws(q))

    def get_config(self):
        priors = [keras.saving.serialize_keras_object(part) for part in self.parts]
        return {**super().get_config(), "sizes": self.sizes, "priors": priors}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        priors = [keras.saving.deserialize_keras_object(each, custom_objects) for each in config["priors"]]
        return cls(**{**config, "priors": priors})
