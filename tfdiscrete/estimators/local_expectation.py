"""Local expectation gradients: each variable's expectation is taken exactly, the others' at a sample.

    grad_{phi_n} E[f(z)] = E_{z_{-n}}[ sum_k grad pi_nk f(z_1, .., e_k, .., z_N) ],    phi = log pi

z_{-n} is sampled from a law that does not depend on phi_n, so that one sample of z serves all n. What is left of the
variance comes from the other variables alone: for N = 1 there is none. The first-order limit of direct optimization
through the arg max, whose noise of the arg max it integrates out.

Michalis Titsias, Miguel Lázaro-Gredilla (2015), "Local Expectation Gradients for Black Box Variational Inference",
arXiv 1503.01494.
"""

import keras
import tensorflow as tf

from tfdiscrete.estimators.base import Estimate, Estimator
from tfdiscrete.ops import gumbel_max, perturb, with_gradient_of
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class LocalExpectation(Estimator):
    """Sums over the categories of each variable, with the others as sampled.

    Approximates: grad E_q[f(z)].
    With: hard samples, and the costs of all codes that differ from them in one variable.
    Requires: f at hard z. A cost with an attribute `neighbours` is asked for those codes' costs at once (see
    `CheckedCost.neighbours`).
    Returns: as `sample`, one-hot z, decoded; `value` is an unbiased estimate of E_q[f(z)].

    Bias: none. Variance: of the gradient for each variable's logits, at most that of the score function with any
    baseline that does not see the variable's own sample, of which it is the conditional mean given the other variables;
    none for one variable. For weights that several variables share nothing is proven: it is usually much lower.
    Evaluations of f: `S (1 + N (K - 1))`, of which `S` with gradient for what f closes over.
    Source: Titsias, Lázaro-Gredilla (2015), arXiv 1503.01494.

    Args:
        num_samples: samples for each example.

    Raises:
        InputError: for a count below 1, and a cost whose `neighbours` have another shape.
    """

    unbiased = True
    needs = frozenset({"hard"})

    def _estimate(self, q, cost, seed, reduce, context):
        logits = widen(q.logits)
        y = gumbel_max(perturb(logits, self.num_samples, seed))
        costs = cost(y)
        # sum_k grad pi_k is 0: what all categories have in common only costs precision.
        rise = tf.stop_gradient(cost.neighbours(y, costs) - costs[..., tf.newaxis, tf.newaxis])
        surrogate = tf.cast(with_gradient_of(tf.nn.softmax(logits, axis=-1)), rise.dtype) * rise
        value = reduce(costs) + reduce(tf.reduce_sum(surrogate, axis=[-2, -1]))
        return Estimate(value, cost.decode(y), tf.zeros([], value.dtype))
