"""Stick breaking: an invertible map from R^D onto the weights that leave a rest of the stick.

    v = sigmoid(y),    w_k = v_k prod_{j<k} (1 - v_j),    w > 0,    sum_k w_k < 1

The Jacobian is triangular with diagonal w_k (1 - v_k), so

    log |det J| = sum_k (log w_k + log(1 - v_k))

Eric Nalisnick, Padhraic Smyth (2017), "Stick-Breaking Variational Autoencoders", arXiv 1605.06197.
Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.ops import inverse_stick_breaking, log_stick_breaking

tfb = tfp.bijectors


class StickBreaking(tfb.Bijector):
    """Maps `[..., D]` to `D` stick weights `[..., D]`; the rest of the stick is what they lack to 1.

    Followed by `SoftmaxPlusPlus` it makes the stick-breaking invertible Gaussian. Its inverse loses what is left of the
    stick below the spacing of numbers near 1, and is NaN outside of the image.

    Example:

        StickBreaking().forward(tf.zeros([3]))          # [0.5, 0.25, 0.125]

    Args:
        validate_args: whether to check that `y` is finite, and that weights are positive with a sum below 1
            (`tf.errors.InvalidArgumentError` otherwise).
    """

    def __init__(self, *, validate_args=False, name="stick_breaking"):
        parameters = dict(locals())
        with tf.name_scope(name):
            super().__init__(
                forward_min_event_ndims=1,
                is_constant_jacobian=False,
                validate_args=validate_args,
                parameters=parameters,
                name=name,
            )

    def _log_forward(self, y):
        if self.validate_args:
            tf.debugging.assert_all_finite(y, "stick breaking needs finite y.")
        return log_stick_breaking(y)

    def _forward(self, y):
        return tf.exp(self._log_forward(y))

    def _inverse(self, w):
        if self.validate_args:
            tf.debugging.assert_positive(w, "stick weights are positive.")
            tf.debugging.assert_less(tf.reduce_sum(w, -1), tf.ones([], w.dtype), "stick weights sum to less than 1.")
        return inverse_stick_breaking(w)

    def _forward_log_det_jacobian(self, y):
        return tf.reduce_sum(self._log_forward(y) + tf.math.log_sigmoid(-y), axis=-1)

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}
