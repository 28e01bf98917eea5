"""A planar flow that is invertible for all parameters, with its exact inverse.

    f(y) = y + u^ tanh(a),    a = w.y + b,    u^ = u + (s - 1 - w.u) w / |w|^2,    s = softplus(w.u + log(e - 1))

so that w.u^ = s - 1 > -1. The published s is softplus(w.u), which is log 2 for w.u = 0: u^ then grows like 1 / |w| as w
becomes small, however small u is, and a flow that is trained soon carries every point to one place. With t = tanh(a),

    log |det J| = log(1 + w.u^ (1 - t^2)) = log(t^2 + s (1 - t^2))

of which the right side is computed: in float32 s - 1 is -1 for w.u = -20. Along w the map is the increasing function
a -> a + (s - 1) tanh(a), whose root is the inverse's only unknown.

Danilo Jimenez Rezende, Shakir Mohamed (2015), "Variational Inference with Normalizing Flows", arXiv 1505.05770.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.errors import InputError

tfb = tfp.bijectors

_AT_ZERO = float(np.log(np.expm1(1.0)))
"""Where softplus is 1."""


class PlanarFlow(tfb.Bijector):
    """Maps `[..., D]` to `[..., D]`; the parameters' batch, one flow for each latent variable, broadcasts.

    Where `w` is zero it is the identity. The inverse is found to the dtype's precision by bisection, and has exact
    first derivatives.

    Example:

        u, w, b = tf.ones([20, 9]), tf.ones([20, 9]), tf.zeros([20])        # 20 latent variables
        flow = PlanarFlow(u, w, b)
        y = flow.inverse(flow.forward(tf.zeros([100, 20, 9])))

    Args:
        u: `[*batch, D]`, the direction of the shift, before the correction that makes the map invertible.
        w: `[*batch, D]`, the normal of the planes.
        b: `[*batch]`, the offset.
        validate_args: whether to check that the parameters and the points are finite
            (`tf.errors.InvalidArgumentError` otherwise).

    Raises:
        InputError: if `u` and `w` are not vectors of one static length, or of a type other than float32 and float64.
    """

    def __init__(self, u, w, b, *, validate_args=False, name="planar_flow"):
        parameters = dict(locals())
        with tf.name_scope(name):
            self._u = tf.convert_to_tensor(u)
            self._w = tf.convert_to_tensor(w, self._u.dtype)
            self._b = tf.convert_to_tensor(b, self._u.dtype)
            if self._u.dtype not in (tf.float32, tf.float64):
                raise InputError(f"u must be float32 or float64. Received: dtype={self._u.dtype.name!r}.")
            if not self._u.shape.rank or not self._w.shape.rank or self._u.shape[-1] != self._w.shape[-1]:
                raise InputError(
                    "u and w must have shape [*batch, D] with one D. "
                    f"Received: u of shape {self._u.shape}, w of shape {self._w.shape}."
                )
            super().__init__(
                forward_min_event_ndims=1,
                validate_args=validate_args,
                dtype=self._u.dtype,
                parameters=parameters,
                name=name,
            )

    @property
    def u(self) -> tf.Tensor:
        """The direction before its correction, `[*batch, D]`."""
        return self._u

    @property
    def w(self) -> tf.Tensor:
        """The normal, `[*batch, D]`."""
        return self._w

    @property
    def b(self) -> tf.Tensor:
        """The offset, `[*batch]`."""
        return self._b

    def _slope(self):
        """s, the derivative along w where t = 0, `[*batch]`; 1 for w = 0, at least the smallest number."""
        slope = tf.math.softplus(self._product() + _AT_ZERO)
        slope = tf.maximum(slope, np.finfo(self.dtype.as_numpy_dtype).tiny)
        return tf.where(self._is_identity(), tf.ones_like(slope), slope)

    def _is_identity(self):
        return tf.reduce_sum(self._w**2, axis=-1) < np.finfo(self.dtype.as_numpy_dtype).tiny

    def _product(self):
        return tf.reduce_sum(self._w * self._u, axis=-1)

    def _shift(self):
        """`u^`, `[*batch, D]`."""
        wu = self._product()[..., None]
        # s - 1 = log(1 + (1 - 1/e) (e^(w.u) - 1)): of the difference a small w would leave nothing but rounding.
        rise = tf.where(
            wu < 1.0,
            tf.math.log1p(-np.expm1(-1.0) * tf.math.expm1(tf.minimum(wu, 1.0))),
            tf.math.softplus(wu + _AT_ZERO) - 1.0,
        )
        identity = self._is_identity()[..., None]
        w = tf.where(identity, tf.ones_like(self._w), self._w)
        length = tf.norm(w, axis=-1, keepdims=True)
        shift = self._u + (rise / length - wu / length) * (w / length)
        return tf.where(identity, tf.zeros_like(shift), shift)

    def _offset(self, y):
        if self.validate_args:
            tf.debugging.assert_all_finite(y, "a planar flow needs finite points.")
        return tf.reduce_sum(self._w * y, axis=-1) + self._b

    def _forward(self, y):
        return y + self._shift() * tf.tanh(self._offset(y))[..., None]

    def _inverse(self, z):
        slope = self._slope()
        offset = _root(self._offset(z), slope)
        return z - self._shift() * tf.tanh(offset)[..., None]

    def _forward_log_det_jacobian(self, y):
        t2 = tf.tanh(self._offset(y)) ** 2
        slope = self._slope()
        return tf.math.log(t2 + slope * (1.0 - t2))

    def _parameter_control_dependencies(self, is_init):
        if not self.validate_args or not is_init:
            return []
        named = [("u", self._u), ("w", self._w), ("b", self._b)]
        return [
            tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(value)), [f"{name} must be finite. Received:", value])
            for name, value in named
        ]


def _root(target, slope):
    """The root a of `a + (slope - 1) tanh(a) = target`, with its first derivatives.

    The left side increases, and differs from a by less than |slope - 1|: bisection from there. One step of Newton's
    method from the root, constant for differentiation, has the implicit function's derivatives.
    """
    shape = tf.broadcast_dynamic_shape(tf.shape(target), tf.shape(slope))
    fixed_target = tf.broadcast_to(tf.stop_gradient(target), shape)
    fixed_slope = tf.broadcast_to(tf.stop_gradient(slope), shape)
    radius = tf.abs(fixed_slope - 1.0)

    def halve(low, high):
        middle = 0.5 * (low + high)
        above = middle + (fixed_slope - 1.0) * tf.tanh(middle) > fixed_target
        return tf.where(above, low, middle), tf.where(above, middle, high)

    steps = 64 if target.dtype == tf.float64 else 34
    low, high = fixed_target - radius, fixed_target + radius
    low, high = tf.while_loop(lambda low, high: True, halve, (low, high), maximum_iterations=steps)
    root = tf.stop_gradient(0.5 * (low + high))
    t = tf.tanh(root)
    derivative = t**2 + fixed_slope * (1.0 - t**2)
    residual = root + (slope - 1.0) * t - target
    return root - residual / derivative
