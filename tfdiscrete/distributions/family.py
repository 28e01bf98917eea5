"""What an estimator needs to know of a distribution: its categorical view.

Bernoulli variables, truncated counts and discretized Gaussians are all categorical variables `y` followed by a map
to their outcomes `z = decode(y)`. An estimator works on `y` and hands `z` to the cost.
"""

from typing import Protocol, runtime_checkable

import tensorflow as tf


@runtime_checkable
class Family(Protocol):
    """`N` discrete variables of `K` categories each."""

    @property
    def logits(self) -> tf.Tensor:
        """Unnormalized log probabilities, `[*batch, N, K]`."""

    def decode(self, y: tf.Tensor) -> tf.Tensor:
        """Maps one-hot or simplex `[S, *batch, N, K]` to outcomes `[S, *batch, *event]`, differentiably."""

    def relax(self, seed: tf.Tensor, num_samples: int, temperature) -> tf.Tensor:
        """Reparameterized relaxed samples as `log y`, `[S, *batch, N, K]`, with the family's own noise.

        `exp(log y)` lies on the simplex, and its arg max is an exact sample of the categorical view.
        """
