"""Counts cut to finitely many outcomes.

    z_n = sum_k c_k y_nk,    y_n one-hot, of the truncated law's pmf over its outcomes c

The pmf is that of the law with a parameter from the encoder (explicit), or is given by the encoder (implicit).

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847.
"""

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.distributions import Truncated
from tfdiscrete.distributions.count_families import FAMILIES
from tfdiscrete.errors import InputError, check_bool, check_name
from tfdiscrete.families.base import DiscreteLatents, log_probabilities
from tfdiscrete.ops import linear_transform

LAWS = tuple(name for name, family in FAMILIES.items() if not family.vector)


@keras.saving.register_keras_serializable(package="tfdiscrete.families")
class TruncatedCounts(DiscreteLatents):
    """Counts of a Poisson, geometric, binomial or negative binomial law; the decoder reads `[B, N]` counts.

    With `explicit=True` the encoder gives one unconstrained parameter for each variable, `[B, N, 1]`: the rate before
    its softplus, or the log odds of a success. With `explicit=False` it gives the logits of the pmf, `[B, N, K]`.
    Support and prior are those of the law with `prior`.

    Example:

        latents = TruncatedCounts("poisson", prior=2.0)
        latents.outcomes                # 0..12, beyond which Poisson(2) has less than 1e-6

    Args:
        law: "poisson", "geometric", "binomial" or "negative_binomial".
        prior: the rate, or the success probability.
        tolerance: in (0, 1): the largest mass of the prior beyond the ends that are not given.
        low: the least outcome kept; by default that of the law.
        high: the largest outcome kept; by default where the tolerance puts it.
        total_count: of "binomial" and "negative_binomial".
        explicit: whether the encoder gives the law's parameter or the pmf's logits.

    Raises:
        InputError: for an unknown law, or what `distributions.Truncated` refuses.
    """

    estimator = "generalized_gumbel_softmax"

    def __init__(
        self,
        law: str = "poisson",
        prior: float = 2.0,
        tolerance: float = 1e-6,
        low: int | None = None,
        high: int | None = None,
        total_count: int | None = None,
        explicit: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.law = check_name("law", law, LAWS)
        self.prior, self.tolerance, self.low, self.high, self.total_count = prior, tolerance, low, high, total_count
        self.explicit = check_bool("explicit", explicit)
        self._law = FAMILIES[law](total_count)
        with tf.init_scope():
            reference = self._law.reference(tolerance, prior)
            truncated = Truncated(self._law.of_parameter(prior), low, high, tolerance=tolerance, reference=reference)
            self.outcomes = truncated.outcomes.numpy().astype(int)
            self._prior_log_pmf = truncated.logits.numpy()

    @property
    def num_categories(self):
        return len(self.outcomes)

    @property
    def num_parameters(self):
        return 1 if self.explicit else self.num_categories

    @property
    def code_shape(self):
        return ()

    def logits(self, parameters):
        if not self.explicit:
            return parameters
        law = self._law.make(parameters[..., 0])
        return Truncated(law, int(self.outcomes[0]), int(self.outcomes[-1])).logits

    def decode(self, z):
        return linear_transform(z, self.outcomes.astype("float64"))

    def prior_parameters(self, probabilities=None):
        shape = (self.num_latents, self.num_parameters)
        if not self.explicit:
            return (
                np.broadcast_to(self._prior_log_pmf, shape)
                if probabilities is None
                else log_probabilities(probabilities, shape)
            )
        if probabilities is not None:
            raise InputError(
                f"with explicit=True the laws are members of {self.law!r}, which have no free probabilities. Give "
                "TruncatedCounts(prior=...) the parameter, or let it be implicit: explicit=False."
            )
        return np.full(shape, self._law.unconstrained(self.prior))

    def get_config(self):
        names = ("law", "prior", "tolerance", "low", "high", "total_count", "explicit")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
