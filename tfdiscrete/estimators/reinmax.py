"""ReinMax: the straight-through estimator of second order.

    z ~ q,    dz / dlogits := 2 J((z + pi) / 2) - J(pi) / 2,    pi = softmax(logits),  J(p) = diag(p) - p p^T

Liyuan Liu, Chengyu Dong, Xiaodong Liu, Bin Yu, Jianfeng Gao (2023), "Bridging Discrete and Backpropagation:
Straight-Through and Beyond", arXiv 2304.08612.
"""

import keras

from tfdiscrete.errors import check_positive
from tfdiscrete.estimators.straight_through import StraightThrough
from tfdiscrete.ops import reinmax


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class ReinMax(StraightThrough):
    """Evaluates the cost at exact one-hot samples; the gradient is that of Heun's method instead of Euler's.

    Approximates: grad E_q[f(z)] by E_q[grad f(z) dz / dlogits].
    With: hard samples and `ops.reinmax`.
    Requires: f differentiable at hard z.
    Returns: as `sample`, one-hot z, decoded; `value` is an unbiased estimate of E_q[f(z)].

    Bias: at temperature 1 none where f is quadratic in each variable given the others, as a squared error of a linear
    decoder is; otherwise present. It does not vanish as the temperature goes to 0.
    Variance: that of the Jacobian at the sample, more than the straight-through one's; temperatures above 1 lower it.
    Evaluations of f: `S`, with gradient.
    Source: Liu, Dong, Liu, Yu, Gao (2023), arXiv 2304.08612.

    Args:
        temperature: of the probabilities between which and the sample the gradient is taken: a positive number,
            usually 1 or more. No schedule: nothing vanishes with it.
        num_samples: samples for each example.

    Raises:
        InputError: for a temperature that is not a positive number.
    """

    def __init__(self, temperature: float = 1.0, num_samples: int = 1, **kwargs):
        super().__init__(num_samples=num_samples, **kwargs)
        self.temperature = check_positive("temperature", temperature)

    def _with_gradient(self, hard, logits):
        return reinmax(logits, hard, self.temperature)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
