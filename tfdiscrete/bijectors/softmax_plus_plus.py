"""softmax++: an invertible map from R^(K-1) onto the open K-simplex.

    s = sum_j exp(y_j / tau) + delta,    g_k = exp(y_k / tau) / s  (k < K),    g_K = delta / s

It is softmax([y / tau, log delta]). Its Jacobian on the first K-1 coordinates is J = (diag(g) - g g^T) / tau, so

    log |det J| = -(K-1) log tau + sum_{k<=K} log g_k

(the determinant printed in the source's appendix is wrong; this one equals the autodiff Jacobian's).

Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.ops import inverse_log_softmax_plus_plus, log_softmax_plus_plus

tfb = tfp.bijectors


class SoftmaxPlusPlus(tfb.Bijector):
    """Maps `[..., K-1]` to the `K`-simplex `[..., K]`; the last entry is `delta / s`.

    The log-det is with respect to Lebesgue measure on the first `K-1` coordinates, as `tfd.Dirichlet`'s density;
    `tfb.SoftmaxCentered` adds `0.5 log K`, this one does not. Entries below the smallest number of the dtype are
    zeros, whose inverse is not finite: for spreads of `y / temperature` beyond 87 in float32 (700 in float64) work in
    log space, with `ops.log_softmax_plus_plus`.

    Example:

        x = SoftmaxPlusPlus(temperature=0.5, delta=1.0).forward(tf.zeros([4, 9]))      # [4, 10]

    Args:
        temperature: positive; broadcasts with `[..., 1]`.
        delta: positive; the weight of the last category; broadcasts likewise.
        dtype: the floating type of the parameters and so of the arguments.
        validate_args: whether to check, when used, that the parameters are positive, that `y` is finite, and that `x`
            is positive and sums to one (`tf.errors.InvalidArgumentError` otherwise).
    """

    def __init__(self, temperature=1.0, delta=1.0, *, dtype=tf.float32, validate_args=False, name="softmax_plus_plus"):
        parameters = dict(locals())
        with tf.name_scope(name):
            self._temperature = tf.convert_to_tensor(temperature, dtype)
            self._delta = tf.convert_to_tensor(delta, dtype)
            super().__init__(
                forward_min_event_ndims=1,
                validate_args=validate_args,
                parameters=parameters,
                dtype=dtype,
                name=name,
            )

    @property
    def temperature(self) -> tf.Tensor:
        """The temperature tau."""
        return self._temperature

    @property
    def delta(self) -> tf.Tensor:
        """The weight of the last category."""
        return self._delta

    def _log_forward(self, y):
        if self.validate_args:
            tf.debugging.assert_all_finite(y, "softmax++ needs finite y.")
        return log_softmax_plus_plus(y, self._temperature, self._delta)

    def _forward(self, y):
        return tf.exp(self._log_forward(y))

    def _inverse(self, x):
        if self.validate_args:
            tf.debugging.assert_positive(x, "softmax++ has only points with positive entries.")
            tf.debugging.assert_near(tf.reduce_sum(x, -1), tf.ones([], x.dtype), message="x must sum to one.")
        return inverse_log_softmax_plus_plus(tf.math.log(x), self._temperature, self._delta)

    def _forward_log_det_jacobian(self, y):
        log_g = self._log_forward(y)
        return tf.reduce_sum(log_g[..., :-1] - tf.math.log(self._temperature), axis=-1) + log_g[..., -1]

    def _parameter_control_dependencies(self, is_init):
        if not self.validate_args or not is_init:
            return []
        return [
            tf.debugging.assert_positive(self._temperature, "temperature must be positive."),
            tf.debugging.assert_positive(self._delta, "delta must be positive."),
        ]

    def _forward_event_shape(self, shape):
        return shape[:-1].concatenate([None if shape[-1] is None else shape[-1] + 1])

    def _forward_event_shape_tensor(self, shape):
        return tf.concat([shape[:-1], shape[-1:] + 1], axis=0)

    def _inverse_event_shape(self, shape):
        return shape[:-1].concatenate([None if shape[-1] is None else shape[-1] - 1])

    def _inverse_event_shape_tensor(self, shape):
        return tf.concat([shape[:-1], shape[-1:] - 1], axis=0)
