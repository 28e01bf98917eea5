"""Sticking the landing: the sampled KL with the parameters of q stopped, so that only its samples carry a gradient.

    d/dtheta log q_theta(z_theta) = (d/dz log q)(z) dz/dtheta + [d/dtheta log q](z),    E of the last term = 0

Without the last term the gradient has the same mean, and no variance at all where q is the exact posterior: the cost
log q(z) - log p(x, z) is then constant in z.

For score-function estimators z carries no gradient, so that nothing of log q(z) is left but its part in the signal: the
same as a baseline that is less by 1. The mean is the same again, for any estimator whose value is taken at hard samples
of q, and for Gaussians. At relaxed samples it holds for their density, and not for the linear extension of the
probabilities, whose score does not vanish in the mean. Nor does it hold inside of a log mean of weights: see
George Tucker, Dieterich Lawson, Shixiang Gu, Chris J. Maddison (2019), "Doubly Reparameterized Gradient Estimators for
Monte Carlo Objectives", arXiv 1810.04152.

Geoffrey Roeder, Yuhuai Wu, David Duvenaud (2017), "Sticking the Landing: Simple, Lower-Variance Gradient Estimators for
Variational Inference", arXiv 1703.09194.
"""

from collections.abc import Callable

import tensorflow as tf

from tfdiscrete.ops import with_gradient_of


def along_the_path(log_prob: Callable[[tf.Tensor], tf.Tensor], point: tf.Tensor) -> tf.Tensor:
    """`log_prob(point)`, whose gradient passes through the point alone, and not to the parameters of the density.

    Args:
        log_prob: of points, `[S, B, ...]` to `[S, B]`; finite at this one.
        point: `[S, B, ...]`.

    Returns:
        `[S, B]`.
    """
    # What the parameters get at a point that is held fixed is taken off again: no copy of the density is needed.
    return log_prob(point) - with_gradient_of(log_prob(tf.stop_gradient(point)))
