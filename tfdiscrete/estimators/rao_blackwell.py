"""Rao-Blackwellization: the most probable codes are summed over, the others sampled.

    grad E_q[f(z)] = sum_{c in C} g(c) grad q(c) + (1 - q(C)) E[g(x) grad log q(x)] + E_q[grad f(z)]

with C the m most probable codes, x drawn from q restricted to the others, and g(z) = f(z) - b, for any b that does not
depend on x, such as the mean of f over C.

Runjing Liu, Jeffrey Regier, Nilesh Tripuraneni, Michael I. Jordan, Jon McAuliffe (2019), "Rao-Blackwellized Stochastic
Gradients for Discrete Distributions", arXiv 1810.04777.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import check_count, check_name
from tfdiscrete.estimators.weighted_codes import BASELINES, Choice, WeightedCodes, less_mean_of_first
from tfdiscrete.ops import perturbed_top_codes, top_codes


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class RaoBlackwell(WeightedCodes):
    """Sums over the most probable codes and samples the rest.

    Approximates: grad E_q[f(z)].
    With: (f(c) - b) grad q(c), summed over the `m` most probable codes, and for the others the mean of (1 - q(C))
        (f(x) - b) grad log q(x) over `S` samples of them.
    Requires: f at hard z; nothing of its gradient with respect to z.
    Returns: as `sample`, the `m` codes and then the `S` samples, one-hot, decoded, `[m + S, *batch, *event]`.

    Bias: none. Variance: without a baseline at most that of 'score_function' without one and `S` samples, much less
    where few codes hold most of the mass; the baseline is for costs that are far from 0. Evaluations of f: `m + S`; `m`
    where these are all codes. The search for codes grows with `m^2 K`: beyond some tens of codes it costs more than f.
    Source: Liu, Regier, Tripuraneni, Jordan, McAuliffe (2019), arXiv 1810.04777.

    Args:
        num_exact: the most probable codes, which are summed over, `m`; with all `K^N` the result is exact.
        num_samples: samples of the other codes for each example, `S`.
        baseline: "built_in", the mean cost of the codes that are summed over, or "none".

    Raises:
        InputError: for a `num_exact` above the number of codes, or an unknown baseline.
    """

    number_of_codes = "num_exact"

    def __init__(self, num_exact: int = 1, num_samples: int = 1, baseline: str = "built_in", **kwargs):
        super().__init__(num_samples=num_samples, **kwargs)
        self.num_exact = check_count("num_exact", num_exact)
        self.baseline = check_name("baseline", baseline, BASELINES)

    def _choose(self, log_pi, seed):
        exact = top_codes(log_pi, self.num_exact)
        latents, categories = log_pi.shape[-2:]
        if self.num_exact == categories**latents:
            return Choice(exact.index, tf.exp(exact.log_prob))
        rest = tf.exp(exact.log_rest) / self.num_samples
        weights = [tf.exp(exact.log_prob), *[rest[tf.newaxis]] * self.num_samples]
        index = [exact.index, self._sample_others(log_pi, exact.index, seed)]
        chosen = Choice(tf.concat(index, axis=0), tf.concat(weights, axis=0))
        return chosen if self.baseline == "none" else chosen._replace(signal=less_mean_of_first(self.num_exact))

    def _sample_others(self, log_pi, exact, seed) -> tf.Tensor:
        """Independent samples of the codes that are not among `exact`, `[m, *batch, N]`: `[S, *batch, N]`.

        Among one more draws without replacement than there are such codes, the first that is none of them.
        """
        samples, draws = self.num_samples, self.num_exact + 1
        each = tf.broadcast_to(log_pi, tf.concat([[samples], tf.shape(log_pi)], axis=0))
        drawn = perturbed_top_codes(tf.ensure_shape(each, [samples, *log_pi.shape]), draws, seed).index
        # [m + 1, 1, S, *batch, N] against [1, m, 1, *batch, N]
        equal = tf.reduce_all(drawn[:, tf.newaxis] == exact[tf.newaxis, :, tf.newaxis], axis=-1)
        others = tf.logical_not(tf.reduce_any(equal, axis=1))
        first = tf.one_hot(tf.argmax(tf.cast(others, tf.int32), axis=0), draws, axis=0, dtype=drawn.dtype)
        return tf.reduce_sum(first[..., tf.newaxis] * drawn, axis=0)

    def get_config(self):
        return {**super().get_config(), "num_exact": self.num_exact, "baseline": self.baseline}
