"""The law of the largest of several Gaussians, or of none above zero, by panelled quadrature.

For independent y_k ~ Normal(mu_k, sigma_k), k < K, category k < K is where y_k is the largest and positive, and K is
where none is positive:

    P(k) = int_0^inf phi((t - mu_k) / sigma_k) / sigma_k prod_{j != k} Phi((t - mu_j) / sigma_j) dt
    P(K) = prod_j Phi(-mu_j / sigma_j)

The integrand changes on the scale of every sigma_j near every mu_j, so that no single rule will do (half-range
Gauss-Hermite fails for mu / sigma above 5). All K - 1 integrals share the nodes of Gauss-Legendre rules between cuts
at 0, at mu_j + {-8, -3, 0, 3, 8} sigma_j and, for the tail of a negative mu_j, at its scale near 0. Everything is in
log space; the nodes are constants for differentiation, since the integral does not depend on them.

Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588 (whose formula lacks the factor 1 / sigma_k).
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.errors import InputError
from tfdiscrete.ops.precision import widen

# The highest K for which the K^2 evaluations at each node are reasonable.
MAX_CATEGORIES = 512

# Relative to the largest mean: the dtype still tells the nodes apart, and log Phi has finite derivatives.
_LEAST_SCALE = {tf.float32: 2.0**-13, tf.float64: 2.0**-30}

_CUTS = (-8.0, -3.0, 0.0, 3.0, 8.0)
_TAIL_CUTS = (1.0, 8.0)
# Points of the rule on each panel: its error is below the rounding of the dtype.
_POINTS = {tf.float32: 8, tf.float64: 12}


def gaussian_argmax_log_probabilities(loc: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """The log probabilities of `argmax([y, 0])`, y Gaussian with independent entries.

    The absolute error of the probabilities is below 1e-12 in float64 and some 1e-6 in float32; what they lack of
    summing to one tells it. Of very small probabilities the logarithm is finite and its gradient has the right sign.
    Scales below 2^-13 (float64: 2^-30) of the largest mean's size count as that, so that means closer than that are
    not told apart; of the law with these scales the errors are up to 1e-4 in float32.
    The work is about 56 K^2 evaluations of log Phi for each set of parameters, 84 K^2 in float64.

    Example:

        tf.exp(gaussian_argmax_log_probabilities(tf.zeros([2]), tf.ones([2])))      # [0.375, 0.375, 0.25]

    Args:
        loc: `[..., K-1]`, floating, `K` static.
        scale: `[..., K-1]`, positive; broadcasts with `loc`.

    Returns:
        `[..., K]`, differentiable in both; float64 for float64 and float32 otherwise.

    Raises:
        InputError: if `K` is not static or above 512.
    """
    loc = widen(tf.convert_to_tensor(loc))
    scale = tf.cast(tf.convert_to_tensor(scale, dtype_hint=loc.dtype), loc.dtype)
    loc, scale = loc + tf.zeros_like(scale), scale + tf.zeros_like(loc)
    variables = loc.shape[-1] if loc.shape.rank else None
    if not variables or variables + 1 > MAX_CATEGORIES:
        raise InputError(
            f"quadrature needs loc of shape [..., K-1] with a static K from 2 to {MAX_CATEGORIES}. "
            f"Received: shape {loc.shape}. For more categories count samples: discretize(num_samples, seed)."
        )
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(loc), axis=-1, keepdims=True))
    scale = tf.maximum(scale, _LEAST_SCALE[loc.dtype] * largest)
    normal = tfp.distributions.Normal(tf.zeros([], loc.dtype), 1.0)
    nodes, weights = _nodes(tf.stop_gradient(loc), tf.stop_gradient(scale))
    standard = (nodes[..., None] - loc[..., None, :]) / scale[..., None, :]
    log_cdf = normal.log_cdf(standard)
    log_density = -0.5 * standard**2 - 0.5 * np.log(2.0 * np.pi) - tf.math.log(scale[..., None, :])
    log_terms = tf.reduce_sum(log_cdf, axis=-1, keepdims=True) - log_cdf + log_density
    top = tf.stop_gradient(tf.reduce_max(log_terms, axis=-2, keepdims=True))
    total = tf.reduce_sum(tf.exp(log_terms - top) * weights[..., None], axis=-2)
    tiny = np.finfo(loc.dtype.as_numpy_dtype).tiny
    log_positive = tf.math.log(tf.maximum(total, tiny)) + top[..., 0, :]
    none = normal.log_cdf(-loc / scale)
    return tf.concat([log_positive, tf.reduce_sum(none, axis=-1, keepdims=True)], axis=-1)


def _nodes(loc, scale):
    """Nodes and weights for integrals from 0 up, `[..., P]` each; `loc` and `scale` are `[..., K-1]`."""
    tail = scale / (1.0 + tf.nn.relu(-loc / scale))
    cuts = [loc + c * scale for c in _CUTS] + [c * tail for c in _TAIL_CUTS]
    end = tf.reduce_max(tf.maximum(loc + 10.0 * scale, 40.0 * tail), axis=-1, keepdims=True)
    inner = tf.clip_by_value(tf.concat(cuts, axis=-1), 0.0, end)
    edges = tf.concat([tf.zeros_like(end), tf.sort(inner, axis=-1), end], axis=-1)
    points, weights = np.polynomial.legendre.leggauss(_POINTS[loc.dtype])
    points, weights = tf.constant(points, loc.dtype), tf.constant(weights, loc.dtype)
    low, width = edges[..., :-1], edges[..., 1:] - edges[..., :-1]
    shape = tf.concat([tf.shape(low)[:-1], [low.shape[-1] * points.shape[0]]], axis=0)
    nodes = low[..., None] + width[..., None] * (0.5 * (points + 1.0))
    return tf.reshape(nodes, shape), tf.reshape(width[..., None] * (0.5 * weights), shape)
