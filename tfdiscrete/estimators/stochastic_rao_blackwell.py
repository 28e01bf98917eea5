"""Stochastic sum and sample: codes drawn without replacement weigh their probability, the last one the rest.

    grad E_q[f(z)] = E[sum_{j<k} g(b_j) grad q(b_j) + (1 - sum_{j<k} q(b_j)) g(b_k) grad log q(b_k)] + E_q[grad f(z)]

Given the first k - 1 codes, the last is drawn from q restricted to the others, so that g(z) = f(z) - b may have any b
that depends on those alone, such as their mean cost.

Runjing Liu, Jeffrey Regier, Nilesh Tripuraneni, Michael I. Jordan, Jon McAuliffe (2019), "Rao-Blackwellized Stochastic
Gradients for Discrete Distributions", arXiv 1810.04777.
Wouter Kool, Herke van Hoof, Max Welling (2020), "Estimating Gradients for Discrete Random Variables by Sampling without
Replacement", arXiv 2002.06043 (the codes summed over drawn as well).
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_name
from tfdiscrete.estimators.weighted_codes import BASELINES, Choice, WeightedCodes, less_mean_of_first
from tfdiscrete.ops import perturbed_top_codes


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class StochasticRaoBlackwell(WeightedCodes):
    """Sums over codes drawn without replacement; the last of them stands for all others.

    Approximates: grad E_q[f(z)].
    With: (f(b_j) - b) grad q(b_j) for all but the last of `S` codes drawn without replacement, and for the last what
        mass they leave times (f(b_S) - b) grad log q(b_S).
    Requires: f at hard z; nothing of its gradient with respect to z.
    Returns: as `sample`, the codes in the order of their draws, one-hot, decoded.

    Bias: none. Variance: where no code has much mass nearly that of a single sample, whatever `S` is; 'unordered_set'
    has less. Evaluations of f: `S`.
    Source: Liu, Regier, Tripuraneni, Jordan, McAuliffe (2019), arXiv 1810.04777; Kool, van Hoof, Welling (2020),
    arXiv 2002.06043.

    Args:
        num_samples: the different codes drawn for each example, `S`, at most `K^N`, with which the result is exact.
        baseline: "built_in", the mean cost of all codes but the last, or "none".

    Raises:
        InputError: where there are fewer codes than `num_samples`, for an unknown baseline, or one sample with
            "built_in".
    """

    def __init__(self, num_samples: int = 2, baseline: str = "built_in", **kwargs):
        super().__init__(num_samples=num_samples, **kwargs)
        self.baseline = check_name("baseline", baseline, BASELINES)
        if baseline == "built_in" and num_samples < 2:
            raise InputError(
                "baseline 'built_in' needs num_samples of at least 2, since it is the mean cost of all codes but the "
                f"last. Received: num_samples={num_samples}."
            )

    def _choose(self, log_pi, seed):
        drawn = perturbed_top_codes(log_pi, self.num_samples, seed)
        left = tf.exp(drawn.log_rest) + tf.exp(drawn.log_prob[-1])
        weights = tf.concat([tf.exp(drawn.log_prob[:-1]), left[tf.newaxis]], axis=0)
        chosen = Choice(drawn.index, weights)
        return chosen if self.baseline == "none" else chosen._replace(signal=less_mean_of_first(self.num_samples - 1))

    def get_config(self):
        return {**super().get_config(), "baseline": self.baseline}
