"""The straight-through estimator: hard samples forward, the gradient of the probabilities backward.

    z ~ q,    dz := d softmax(logits)

With u uniform on (0, 1), a bit is `ops.step(p - u)` (STEP: 1 where p >= u, with the gradient of p), and a category is
the one-hot arg max that `ops.snap` makes (SNAP), here of log pi + G, with the gradient of pi.

Yoshua Bengio, Nicholas Leonard, Aaron Courville (2013), "Estimating or Propagating Gradients Through Stochastic
Neurons", arXiv 1308.3432.
"""

import keras
import tensorflow as tf

from tfdiscrete.estimators.base import Estimate, Estimator
from tfdiscrete.ops import straight_through
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class StraightThrough(Estimator):
    """Evaluates the cost at exact one-hot samples; the gradient takes the probabilities in their place.

    Approximates: grad E_q[f(z)] by E_q[grad f(z)] d softmax(logits).
    With: hard samples, whose noise the gradient does not see.
    Requires: f differentiable at hard z.
    Returns: as `sample`, one-hot z, decoded; `value` is an unbiased estimate of E_q[f(z)].

    Bias: none where f is affine in each variable given the others, as linear ones and products of variables are: then
    the derivative for z_n is the difference of f's values, and does not depend on z_n. Otherwise present, and there is
    no temperature that takes it away. Variance: less than that of straight-through Gumbel-Softmax, whose Jacobian
    varies with the noise; for linear f, none.
    Evaluations of f: `S`, with gradient.
    Source: Bengio, Léonard, Courville (2013), arXiv 1308.3432.

    Args:
        num_samples: samples for each example.

    Raises:
        InputError: for a count below 1, and a cost without a gradient at hard z.
    """

    needs = frozenset({"hard", "gradient"})
    any_reduce = True

    def _with_gradient(self, hard: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """`hard` `[S, *batch, N, K]` with this estimator's gradient for `logits` `[*batch, N, K]`."""
        pi = tf.nn.softmax(logits, axis=-1)
        return straight_through(hard, tf.broadcast_to(pi, tf.shape(hard)))

    def _estimate(self, q, cost, seed, reduce, context):
        logits = widen(q.logits)
        hard = tf.cast(q.sample_one_hot(seed, self.num_samples), logits.dtype)
        y = self._with_gradient(hard, logits)
        costs = cost.differentiable(y)
        return Estimate(reduce(costs), cost.decode(y), tf.zeros([], costs.dtype))
