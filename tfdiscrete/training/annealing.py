"""Schedules of the temperature, as functions of the training step.

    tau(t) = max(minimum, initial exp(-rate every floor(t / every)))

Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_positive


@keras.saving.register_keras_serializable(package="tfdiscrete.training")
class ExponentialAnnealing(keras.optimizers.schedules.LearningRateSchedule):
    """Exponential decay in stairs, with a floor; a Keras schedule, so that it serializes with what holds it.

    Example:

        temperature = ExponentialAnnealing(1.0, rate=1e-5, minimum=0.1, every=1000)
        estimator = tfdiscrete.estimators.GumbelSoftmax(temperature=temperature)

    Args:
        initial: the value at step 0, positive.
        rate: the decay for each step; 0 keeps the value constant.
        minimum: the floor, positive and at most `initial`.
        every: the steps between two updates of the value.

    Raises:
        InputError: for values outside of these ranges.
    """

    def __init__(self, initial: float, *, rate: float, minimum: float, every: int = 1):
        self.initial = check_positive("initial", initial)
        self.minimum = check_positive("minimum", minimum)
        self.rate = rate
        self.every = check_count("every", every)
        if not 0.0 <= rate < float("inf"):
            raise InputError(f"rate must be a number of at least 0. Received: rate={rate!r}.")
        if minimum > initial:
            raise InputError(f"minimum must be at most initial={initial}. Received: minimum={minimum}.")

    def __call__(self, step):
        stair = tf.cast(tf.cast(step, tf.int64) // self.every * self.every, tf.float32)
        return tf.maximum(self.initial * tf.exp(-self.rate * stair), self.minimum)

    def get_config(self):
        return {"initial": self.initial, "rate": self.rate, "minimum": self.minimum, "every": self.every}
