"""The distortion at a given rate.

    distortion + gamma |R - C|,    R the mean rate of the batch

With gamma large the rate is held at C nats, whatever the data: one point of the rate-distortion curve for each C.

Christopher P. Burgess, Irina Higgins, Arka Pal, Loic Matthey, Nick Watters, Guillaume Desjardins, Alexander Lerchner
(2018), "Understanding disentangling in beta-VAE", arXiv 1804.03599. Its equation has the rate of an example, its
experiments that of the batch.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import check_non_negative
from tfdiscrete.objectives.base import NegativeElbo, Objective, negated
from tfdiscrete.objectives.batch_mean import batch_mean
from tfdiscrete.objectives.scheduled import Scheduled, check_scheduled, scheduled_at
from tfdiscrete.ops.temperature import deserialize_temperature, serialize_temperature


@keras.saving.register_keras_serializable(package="tfdiscrete.objectives")
class CapacityELBO(Objective):
    """Distortion plus `weight` times the distance of the batch's mean rate from `capacity`.

    An example's loss is `distortion + weight s (rate - capacity)`, s the sign of the batch's R - C: the mean over the
    batch is the equation's value, and its gradient too, while a single loss may be negative. It needs the rate in
    closed form: the distance of a sampled rate is in the mean larger than that of its mean. The training loss bounds
    nothing; evaluation reports the ELBO.

    Args:
        capacity: `C` in nats, a number of at least 0 or a schedule of the estimator's step.
        weight: `gamma`, a number of at least 0.

    Raises:
        InputError: for negative numbers.
    """

    kls = ("analytic",)

    def __init__(self, capacity: Scheduled = 25.0, weight: float = 1000.0):
        self.capacity = check_scheduled("capacity", deserialize_temperature(capacity))
        self.weight = check_non_negative("weight", weight)

    def _train(self, setting):
        estimate = setting.expectation(negated(setting.log_likelihood))
        rate = setting.analytic_rate(estimate.value.dtype)
        excess = rate - tf.cast(scheduled_at(self.capacity, setting.estimator.step.value), rate.dtype)
        loss = estimate.value + self.weight * tf.sign(batch_mean(excess)) * excess
        return NegativeElbo(loss, tf.stop_gradient(rate), tf.stop_gradient(estimate.value), estimate)

    def _training_bound(self, estimator, kl):
        return None

    def get_config(self):
        return {**super().get_config(), "capacity": serialize_temperature(self.capacity), "weight": self.weight}
