"""The Gumbel-Softmax (Concrete) pathwise estimator.

    y = softmax((log pi + G) / tau),    grad E[f(y)] = E[grad f(y)]

Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
Chris J. Maddison, Andriy Mnih, Yee Whye Teh (2017), "The Concrete Distribution", arXiv 1611.00712.
"""

import keras
import tensorflow as tf

from tfdiscrete.estimators.base import Estimate, Estimator
from tfdiscrete.ops import straight_through
from tfdiscrete.ops.temperature import (
    Temperature,
    check_temperature,
    deserialize_temperature,
    serialize_temperature,
)


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class GumbelSoftmax(Estimator):
    """Evaluates the cost at relaxed samples and differentiates through them.

    Approximates: grad E_q[f(z)] by grad E[f(y)], y on the simplex.
    With: reparameterized samples of the family's own relaxation, at the scheduled temperature.
    Requires: f differentiable on the simplex.
    Returns: as `sample`, the relaxed y, decoded.

    Bias: that of the relaxation, vanishing as temperature goes to 0, while the variance grows.
    Evaluations of f: `S`, with gradient.
    Source: Jang, Gu, Poole (2017), arXiv 1611.01144; Maddison, Mnih, Teh (2017), arXiv 1611.00712.

    Args:
        temperature: a positive number, or a schedule of the number of `update` calls.
        num_samples: samples for each example.

    Raises:
        InputError: for a temperature that is not positive, a count below 1, and a cost that has no gradient there.
    """

    needs = frozenset({"relaxed", "gradient"})
    any_reduce = True
    annealed = "temperature"
    straight_through = False
    """Whether the cost is evaluated at the hard samples of the same noise, the gradient being the relaxed ones'."""

    def __init__(self, temperature: Temperature = 1.0, num_samples: int = 1, **kwargs):
        super().__init__(num_samples=num_samples, **kwargs)
        self.temperature = check_temperature(deserialize_temperature(temperature))

    def _estimate(self, q, cost, seed, reduce, context):
        y = tf.exp(q.relax(seed, self.num_samples, self.annealed_value()))
        if self.straight_through:
            # Not the arg max of y, which in other families than the Gumbel one may be another category.
            y = straight_through(tf.cast(q.sample_one_hot(seed, self.num_samples), y.dtype), y)
        costs = cost.differentiable(y)
        return Estimate(reduce(costs), cost.decode(y), tf.zeros([], costs.dtype))

    def get_config(self):
        return {**super().get_config(), "temperature": serialize_temperature(self.temperature)}
