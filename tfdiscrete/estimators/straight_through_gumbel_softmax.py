"""Straight-through Gumbel-Softmax: hard samples forward, the relaxed sample's gradient backward.

    z = one_hot(argmax(log pi + G)),    dz := d softmax((log pi + G) / tau)

Eric Jang, Shixiang Gu, Ben Poole (2017), "Categorical Reparameterization with Gumbel-Softmax", arXiv 1611.01144.
"""

import keras

from tfdiscrete.estimators.gumbel_softmax import GumbelSoftmax


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class StraightThroughGumbelSoftmax(GumbelSoftmax):
    """Evaluates the cost at exact one-hot samples; the gradient takes the relaxed sample in their place.

    Approximates: grad E_q[f(z)] by the chain rule through the relaxed sample, with f's gradient taken at hard z.
    With: Gumbel-max samples and the same noise's relaxation.
    Requires: f differentiable at hard z.
    Returns: as `sample`, one-hot z, decoded; `value` is an unbiased estimate of E_q[f(z)], its gradient is not.

    Bias: present even for linear f at any positive temperature. As temperature goes to 0, f's derivative is taken at
    both ends of each step between categories alike, as the trapezoidal rule does, so that the bias vanishes where f is
    at most quadratic, while the variance grows.
    Evaluations of f: `S`, with gradient.
    Source: Jang, Gu, Poole (2017), arXiv 1611.01144.

    Args:
        temperature: a positive number, or a schedule of the number of `update` calls.
        num_samples: samples for each example.

    Raises:
        InputError: for a temperature that is not positive, a count below 1, and a cost without a gradient at hard z.
    """

    needs = frozenset({"hard", "gradient"})
    straight_through = True
