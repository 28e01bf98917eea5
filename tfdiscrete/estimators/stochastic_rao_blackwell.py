"""Stochastic sum and sample: codes drawn without replacement weigh their probability, the last one the rest.

    grad E_q[f(z)] = E[sum_{j<k} f(b_j) grad q(b_j) + (1 - sum_{j<k} q(b_j)) f(b_k) grad log q(b_k)] + E_q[grad f(z)]

Given the first k - 1 codes, the last is drawn from q restricted to the others.

Runtao Liu, Jeffrey Regier, Nilesh Tripuraneni, Michael I. Jordan, Jon McAuliffe (2019), "Rao-Blackwellized Stochastic
Gradients for Discrete Distributions", arXiv 1810.04777.
Wouter Kool, Herke van Hoof, Max Welling (2020), "Estimating Gradients for Discrete Random Variables by Sampling without
Replacement", arXiv 2002.06043 (the codes summed over drawn as well).
"""

import keras
import tensorflow as tf

from tfdiscrete.estimators.weighted_codes import Choice, WeightedCodes
from tfdiscrete.ops import perturbed_top_codes


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class StochasticRaoBlackwell(WeightedCodes):
    """Sums over codes drawn without replacement; the last of them stands for all others.

    Approximates: grad E_q[f(z)].
    With: f(b_j) grad q(b_j) for all but the last of `S` codes drawn without replacement, and for the last, b, what mass
        they leave times f(b) grad log q(b).
    Requires: f at hard z; nothing of its gradient with respect to z.
    Returns: as `sample`, the codes in the order of their draws, one-hot, decoded.

    Bias: none. Variance: where no code has much mass nearly that of a single sample, whatever `S` is; 'unordered_set'
    has less. Evaluations of f: `S`.

    Args:
        num_samples: the different codes drawn for each example, `S`, at most `K^N`, with which the result is exact.

    Raises:
        InputError: where there are fewer codes than `num_samples`.
    """

    def __init__(self, num_samples: int = 2, **kwargs):
        super().__init__(num_samples=num_samples, **kwargs)

    def _choose(self, log_pi, seed):
        drawn = perturbed_top_codes(log_pi, self.num_samples, seed)
        left = tf.exp(drawn.log_rest) + tf.exp(drawn.log_prob[-1])
        weights = tf.concat([tf.exp(drawn.log_prob[:-1]), left[tf.newaxis]], axis=0)
        return Choice(drawn.index, weights)
