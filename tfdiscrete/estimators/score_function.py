"""The score-function estimator (REINFORCE), with a baseline.

    grad E_q[f(z)] = E_q[(f(z) - b) grad log q(z)] + E_q[grad f(z)]

Ronald J. Williams (1992), "Simple statistical gradient-following algorithms for connectionist reinforcement learning".
Wouter Kool, Herke van Hoof, Max Welling (2019), "Buy 4 REINFORCE Samples, Get a Baseline for Free!" (leave-one-out).
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_name
from tfdiscrete.estimators.base import Estimate, Estimator, log_mass
from tfdiscrete.estimators.running_moments import RunningMoments, check_decay
from tfdiscrete.ops import with_gradient_of
from tfdiscrete.ops.precision import widen

BASELINES = ("none", "running_mean", "leave_one_out")


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class ScoreFunction(Estimator):
    """REINFORCE with no baseline, the running mean of past costs, or the mean of the other samples' costs.

    Approximates: grad E_q[f(z)].
    With: (f(z_s) - b_s) grad log q(z_s), averaged over samples, where b_s does not depend on z_s.
    Requires: f at hard z; nothing of its gradient with respect to z.
    Returns: as `sample`, one-hot z, decoded.

    Bias: none. Evaluations of f: `S`.
    Source: Williams (1992), Machine Learning 8; leave-one-out: Kool, van Hoof, Welling (2019).

    Args:
        baseline: "none", "running_mean" or "leave_one_out".
        num_samples: samples for each example; by default 1, and 2 for "leave_one_out", which needs at least 2.
        decay: of the running mean, in [0, 1).

    Raises:
        InputError: for an unknown baseline, a decay outside [0, 1), or one sample with "leave_one_out".
    """

    unbiased = True
    needs = frozenset({"hard"})

    def __init__(self, baseline: str = "leave_one_out", num_samples: int | None = None, decay=0.99, **kwargs):
        self_baseline = check_name("baseline", baseline, BASELINES)
        if num_samples is None:
            num_samples = 2 if baseline == "leave_one_out" else 1
        super().__init__(num_samples=num_samples, **kwargs)
        self.baseline = self_baseline
        if baseline == "leave_one_out" and num_samples < 2:
            raise InputError(
                "baseline 'leave_one_out' needs num_samples of at least 2, since each sample's baseline is the "
                f"others' mean. Received: num_samples={num_samples}."
            )
        self.decay = check_decay(decay)
        if baseline == "running_mean":
            self._moments = RunningMoments(self, self.decay)

    def _estimate(self, q, cost, seed, reduce, context):
        y = q.sample_one_hot(seed, self.num_samples)
        costs = cost(y)
        log_q = log_mass(tf.nn.log_softmax(widen(q.logits), axis=-1), y)
        signal = tf.stop_gradient(costs - tf.cast(self._baseline_of(costs), costs.dtype))
        value = reduce(costs) + reduce(signal * with_gradient_of(tf.cast(log_q, costs.dtype)))
        return Estimate(value, cost.decode(y), tf.zeros([], value.dtype))

    def _baseline_of(self, costs: tf.Tensor) -> tf.Tensor:
        """The baseline, broadcastable to `[S, *batch]`."""
        if self.baseline == "none":
            return tf.zeros([], costs.dtype)
        if self.baseline == "leave_one_out":
            return (tf.reduce_sum(costs, axis=0) - costs) / (self.num_samples - 1)
        return self._moments.mean

    def update(self, estimate):
        super().update(estimate)
        if self.baseline == "running_mean":
            self._moments.update(estimate.value, self.step.value)

    def get_config(self):
        return {**super().get_config(), "baseline": self.baseline, "decay": self.decay}
