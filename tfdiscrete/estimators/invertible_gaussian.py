"""The pathwise estimator of the invertible Gaussian reparameterization (IGR).

    y = softmax++(flow(mu + sigma eps) / tau; delta),    grad E[f(y)] = E[grad f(y)]

Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588.
"""

import keras

from tfdiscrete import distributions
from tfdiscrete.errors import check_bool
from tfdiscrete.estimators.gumbel_softmax import GumbelSoftmax
from tfdiscrete.ops.temperature import Temperature


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class InvertibleGaussian(GumbelSoftmax):
    """Evaluates the cost at relaxed samples of a `distributions.InvertibleGaussian`, and differentiates through them.

    Approximates: grad E_q[f(z)], q the law of the hard samples (`discretize()`), by grad E[f(y)], y on the simplex.
    With: reparameterized samples, with any flow and any delta, at the scheduled temperature and not at that of q.
    Requires: f differentiable on the simplex; with `straight_through`, at hard z.
    Returns: as `sample`, the relaxed y; with `straight_through` one-hot z.

    Bias: that of the relaxation, vanishing as temperature goes to 0, while the variance grows. With
    `straight_through`, f's derivative is taken at hard z: in the limit at both ends of each step between categories
    alike, as the trapezoidal rule does, so that the bias vanishes where f is at most quadratic.
    Evaluations of f: `S`, with gradient.
    Source: Potapczynski, Loaiza-Ganem, Cunningham (2020), arXiv 1912.09588.

    Args:
        temperature: a positive number, or a schedule of the number of `update` calls.
        num_samples: samples for each example.
        straight_through: whether the cost is evaluated at the hard samples of the same noise. They are those of
            temperature 0 for any delta, and so not always the arg max of the relaxed ones.

    Raises:
        InputError: for a temperature that is not positive, a count below 1, another distribution, and a cost without a
            gradient.
    """

    takes = distributions.InvertibleGaussian

    def __init__(self, temperature: Temperature = 1.0, num_samples: int = 1, straight_through: bool = False, **kwargs):
        super().__init__(temperature, num_samples, **kwargs)
        self.straight_through = check_bool("straight_through", straight_through)
        if straight_through:
            self.needs = frozenset({"hard", "gradient"})

    def get_config(self):
        return {**super().get_config(), "straight_through": self.straight_through}
