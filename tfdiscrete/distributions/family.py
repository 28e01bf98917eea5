"""What an estimator needs to know of a distribution: its categorical view.

Bernoulli variables, truncated counts and discretized Gaussians are all categorical variables `y` followed by a map
to their outcomes `z = decode(y)`. An estimator works on `y` and hands `z` to the cost.
"""

from typing import Protocol

import tensorflow as tf


class Family(Protocol):
    """`N` discrete variables of `K` categories each."""

    @property
    def logits(self) -> tf.Tensor:
        """Unnormalized log probabilities, `[*batch, N, K]`."""

    @property
    def logits_shape(self) -> tf.TensorShape:
        """The static shape of `logits`, without computing them."""

    def decode(self, y: tf.Tensor) -> tf.Tensor:
        """Maps one-hot or simplex `[S, *batch, N, K]` to outcomes `[S, *batch, *event]`, differentiably."""

    def sample_one_hot(self, seed: tf.Tensor, num_samples: int) -> tf.Tensor:
        """Exact one-hot samples `[S, *batch, N, K]`, with the family's own noise and without a gradient."""

    def relax(self, seed: tf.Tensor, num_samples: int, temperature) -> tf.Tensor:
        """Reparameterized relaxed samples as `log y`, `[S, *batch, N, K]`, with the noise of `sample_one_hot`.

        `exp(log y)` lies on the simplex, and as the temperature goes to 0 it becomes the one-hot sample.
        """


def is_family(distribution: object) -> bool:
    """Whether a distribution has the members of a `Family`; computes none of them, as `isinstance` would.

    Example:

        is_family(ProductCategorical(tf.zeros([5, 20, 10])))        # True
    """
    return all(hasattr(type(distribution), name) for name in vars(Family) if not name.startswith("_"))
