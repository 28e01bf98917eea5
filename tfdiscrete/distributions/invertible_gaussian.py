"""The invertible Gaussian reparameterization: a Gaussian carried onto the simplex by an invertible map.

    y = mu + sigma eps,    v = flow(y),    x = softmax++(v / tau; delta)

Every factor is invertible, so the density on the first K-1 coordinates is

    log p(x) = sum_k log Normal(y_k; mu_k, sigma_k) - log |det flow'(y)| + (K-1) log tau - sum_{k<=K} log x_k

As tau goes to 0, x becomes h(v) = e_k with k = argmax v where max v > 0, and e_K otherwise: the discretization.

Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588.
"""

import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.bijectors import StickBreaking
from tfdiscrete.distributions.assertions import parameter_assertions
from tfdiscrete.errors import InputError, check_count
from tfdiscrete.ops import (
    gaussian_argmax_log_probabilities,
    inverse_log_softmax_plus_plus,
    log_softmax_plus_plus,
    normal,
    softmax_plus_plus_limit,
)
from tfdiscrete.ops.precision import widen

tfb, tfd = tfp.bijectors, tfp.distributions


class InvertibleGaussian(tfd.Distribution):
    """A relaxed one-hot variable with Gaussian noise: batch `[*batch]`, event `[K]`, reparameterized.

    With `flow=None` it is the paper's IGR-I, with a `PlanarFlow` IGR-Planar, with `StickBreaking` IGR-SB, whose image
    is a strict part of the simplex (the density is zero outside) and whose last category has hard probability 0. With
    `flow=None` it is a `Family`, so every estimator takes it: its categorical view is `discretize()`, and for
    `delta = 1` the arg max of a relaxed sample is an exact hard one.

    `sample` may underflow to zeros on the simplex, where `log_prob` is undefined; there use `sample_log` and
    `log_prob_of_log`, whose arguments are logarithms and stay finite.

    Example:

        q = InvertibleGaussian(tf.zeros([4, 9]), tf.ones([4, 9]), temperature=0.5)
        log_x = q.sample_log(3, seed=[0, 1])                    # [3, 4, 10]
        q.log_prob_of_log(log_x).shape                          # [3, 4]
        q.discretize().probs_parameter().shape                  # [4, 10]

    Args:
        loc: `[*batch, K-1]`, floating, `K >= 2` static.
        scale: `[*batch, K-1]`, positive; broadcasts with `loc`.
        temperature: positive scalar.
        delta: positive scalar, the weight of the last category in softmax++.
        flow: None, or a bijector of vectors `[K-1]` whose parameters broadcast with `loc`, such as `PlanarFlow`,
            `StickBreaking` or a `tfb.Chain` of them; float32 at least, also for a half type `loc`.
        validate_args: whether to check that `loc` is finite and that the other parameters are positive.

    Raises:
        InputError: for a `loc` without a static last dimension, or a flow that is no bijector.
    """

    def __init__(
        self,
        loc,
        scale,
        temperature=1.0,
        delta=1.0,
        flow=None,
        *,
        validate_args=False,
        allow_nan_stats=True,
        name="InvertibleGaussian",
    ):
        parameters = dict(locals())
        loc = tf.convert_to_tensor(loc)
        scale = tf.convert_to_tensor(scale, loc.dtype)
        if loc.shape.rank is None or loc.shape.rank < 1 or not loc.shape[-1]:
            raise InputError(f"loc must have shape [*batch, K-1] with K >= 2 static. Received: shape {loc.shape}.")
        if flow is not None and not isinstance(flow, tfb.Bijector):
            raise InputError(
                "flow must be None or a bijector of vectors, such as tfdiscrete.bijectors.PlanarFlow(u, w, b) or "
                f"StickBreaking(). Received: flow={flow!r}."
            )
        self._loc, self._scale = loc + tf.zeros_like(scale), scale + tf.zeros_like(loc)
        self._temperature = tf.convert_to_tensor(temperature, loc.dtype)
        self._delta = tf.convert_to_tensor(delta, loc.dtype)
        self._flow = flow
        super().__init__(
            dtype=loc.dtype,
            reparameterization_type=tfd.FULLY_REPARAMETERIZED,
            validate_args=validate_args,
            allow_nan_stats=allow_nan_stats,
            parameters=parameters,
            name=name,
        )

    @property
    def loc(self) -> tf.Tensor:
        """The Gaussian's mean, `[*batch, K-1]`."""
        return self._loc

    @property
    def scale(self) -> tf.Tensor:
        """The Gaussian's standard deviation, `[*batch, K-1]`."""
        return self._scale

    @property
    def temperature(self) -> tf.Tensor:
        """The temperature, `[]`."""
        return self._temperature

    @property
    def delta(self) -> tf.Tensor:
        """The weight of the last category, `[]`."""
        return self._delta

    @property
    def flow(self):
        """The bijector between the Gaussian and softmax++, or None."""
        return self._flow

    @property
    def logits(self) -> tf.Tensor:
        """The log probabilities of the discretization, `[*batch, K]`; for `flow=None` alone."""
        if self._flow is not None:
            raise InputError(
                f"behind a flow, here {type(self._flow).__name__}, the hard samples' logits have no closed form. The "
                "estimators that do without them are 'gumbel_softmax', 'straight_through_gumbel_softmax', "
                "'invertible_gaussian' and 'generalized_gumbel_softmax' (not Rao-Blackwellized). "
                "discretize(num_samples, seed) counts samples, without a gradient."
            )
        return tf.cast(self.discretize().logits_parameter(), self.dtype)

    @property
    def logits_shape(self) -> tf.TensorShape:
        """The static shape of `logits`."""
        return self.batch_shape.concatenate(self.event_shape)

    def decode(self, y: tf.Tensor) -> tf.Tensor:
        return y

    def sample_one_hot(self, seed, num_samples: int) -> tf.Tensor:
        """`sample_hard` without a gradient, as a `Family` has it."""
        return tf.stop_gradient(self.sample_hard([num_samples], seed))

    def relax(self, seed, num_samples: int, temperature) -> tf.Tensor:
        v = self._before_softmax([num_samples], seed)
        log_y = log_softmax_plus_plus(v, temperature, tf.cast(self._delta, v.dtype))
        return tf.ensure_shape(log_y, [num_samples, *self.logits_shape])

    def discretize(self, num_samples: int | None = None, seed=None) -> tfd.OneHotCategorical:
        """The law of the hard samples.

        Args:
            num_samples: None for the exact law by quadrature, differentiable in `loc` and `scale`, for `flow=None`;
                otherwise how many hard samples to count, which has no gradient: a category that never came has
                logit -inf.
            seed: int32 `[2]`, for counting.

        Returns:
            A `tfd.OneHotCategorical` whose logits, `[*batch, K]`, are log probabilities.

        Raises:
            InputError: with a flow, if `num_samples` is not given: there is no quadrature then.
        """
        if num_samples is None:
            if self._flow is not None:
                raise InputError(
                    f"there is no quadrature for the law of the hard samples behind {type(self._flow).__name__}. "
                    "Count samples instead: discretize(num_samples, seed)."
                )
            logits = gaussian_argmax_log_probabilities(self._loc, self._scale)
        else:
            check_count("num_samples", num_samples)
            logits = tf.math.log(tf.reduce_mean(widen(self.sample_hard(num_samples, seed)), axis=0))
        return tfd.OneHotCategorical(logits=logits, dtype=self.dtype)

    def sample_hard(self, sample_shape, seed) -> tf.Tensor:
        """One-hot samples of the discretization, `[*sample_shape, *batch, K]`, of the noise that `sample_log` has."""
        return tf.cast(softmax_plus_plus_limit(self._before_softmax(sample_shape, seed)), self.dtype)

    def sample_log(self, sample_shape, seed) -> tf.Tensor:
        """Logarithms of samples, `[*sample_shape, *batch, K]`; `seed` is int32 `[2]`."""
        v = self._before_softmax(sample_shape, seed)
        return tf.cast(log_softmax_plus_plus(v, self._temperature, widen(self._delta)), self.dtype)

    def sample_log_and_log_prob(self, sample_shape, seed) -> tuple[tf.Tensor, tf.Tensor]:
        """The samples of `sample_log` and their log densities, `[*sample_shape, *batch]`, without an inverse.

        Exact and finite where a point no longer tells from what it came, as behind stick breaking of many sticks.
        """
        y = self._gaussian(sample_shape, seed)
        v = self._flowed(y)
        log_x = log_softmax_plus_plus(v, self._temperature, widen(self._delta))
        return tf.cast(log_x, self.dtype), tf.cast(self._log_density(y, log_x), self.dtype)

    def _before_softmax(self, sample_shape, seed) -> tf.Tensor:
        """`v = flow(mu + sigma eps)`, `[*sample_shape, *batch, K-1]`, float32 at least."""
        return self._flowed(self._gaussian(sample_shape, seed))

    def _gaussian(self, sample_shape, seed) -> tf.Tensor:
        leading = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
        loc, scale = widen(self._loc), widen(self._scale)
        noise = normal(tf.concat([leading, tf.shape(loc)], axis=0), seed, dtype=loc.dtype)
        return loc + scale * noise

    def _flowed(self, y) -> tf.Tensor:
        return y if self._flow is None else self._flow.forward(y)

    def _log_density(self, y, log_x) -> tf.Tensor:
        """That of `exp(log_x)`, which `y` became."""
        log_det = 0.0 if self._flow is None else self._flow.forward_log_det_jacobian(y, event_ndims=1)
        gaussian = tf.reduce_sum(tfd.Normal(widen(self._loc), widen(self._scale)).log_prob(y), axis=-1)
        softmax = tf.reduce_sum(log_x, axis=-1) - (log_x.shape[-1] - 1) * tf.math.log(widen(self._temperature))
        return gaussian - log_det - softmax

    def log_prob_of_log(self, log_x) -> tf.Tensor:
        """The log density at `exp(log_x)`, on the simplex (not of `log_x`), `[..., K]` to `[...]`.

        -inf outside of the image of the flow, which for stick breaking is a part of the simplex. A point does not hold
        what is left of the stick once that is below the spacing of numbers near 1: there rounding makes -inf too, in
        float32 for many samples of more than about ten categories, in float64 of more than about twenty. Where the
        point is this distribution's own sample, `sample_log_and_log_prob` has no such limit.
        """
        log_x = widen(tf.convert_to_tensor(log_x, self.dtype))
        v = inverse_log_softmax_plus_plus(log_x, widen(self._temperature), widen(self._delta))
        if self._flow is None:
            return tf.cast(self._log_density(v, log_x), self.dtype)
        inside = tf.reduce_all(tf.math.is_finite(self._flow.inverse(tf.stop_gradient(v))), axis=-1)
        # Outside any point of the image will do: what it gives is replaced, and its gradient is finite.
        v = tf.where(inside[..., None], v, self._flow.forward(tf.zeros_like(v)))
        log_prob = self._log_density(self._flow.inverse(v), log_x)
        return tf.cast(tf.where(inside, log_prob, tf.constant(float("-inf"), v.dtype)), self.dtype)

    def _sample_n(self, n, seed=None):
        return tf.exp(self.sample_log([n], tfp.random.sanitize_seed(seed)))

    def _log_prob(self, value):
        return self.log_prob_of_log(tf.math.log(value))

    def _parameter_control_dependencies(self, is_init):
        if not self.validate_args or not is_init:
            return []
        return [
            *parameter_assertions(logits=self._loc, temperature=self._temperature),
            tf.debugging.assert_positive(self._scale, "scale must be positive."),
            tf.debugging.assert_positive(self._delta, "delta must be positive."),
        ]

    def _event_shape(self):
        return tf.TensorShape([self._loc.shape[-1] + 1])

    def _event_shape_tensor(self):
        return tf.shape(self._loc)[-1:] + 1

    def _batch_shape(self):
        return self._loc.shape[:-1]

    def _batch_shape_tensor(self):
        return tf.shape(self._loc)[:-1]

    def _default_event_space_bijector(self):
        return tfb.SoftmaxCentered(validate_args=self.validate_args)


@tfd.RegisterKL(InvertibleGaussian, InvertibleGaussian)
def _kl_invertible_gaussian(q: InvertibleGaussian, p: InvertibleGaussian, name=None) -> tf.Tensor:
    """KL(q || p) in nats, `[*batch]`: that of the Gaussians which the shared map carries onto the simplex.

    Without a flow the map is shared up to an affine one: log x_k - log x_K = y_k / tau - log delta is Gaussian under
    both, whatever their temperatures and deltas.
    """
    with tf.name_scope(name or "kl_invertible_gaussian"):
        if q.flow is None and p.flow is None:
            rows = [tfd.Normal(r.loc / r.temperature - tf.math.log(r.delta), r.scale / r.temperature) for r in (q, p)]
        elif _same_flow(q.flow, p.flow) and _same(q.temperature, p.temperature) and _same(q.delta, p.delta):
            rows = [tfd.Normal(r.loc, r.scale) for r in (q, p)]
        else:
            raise InputError(
                "KL(InvertibleGaussian || InvertibleGaussian) has a closed form if both share the flow object, the "
                f"temperature and delta. Received: flows {q.flow} and {p.flow}, temperatures {q.temperature} and "
                f"{p.temperature}, deltas {q.delta} and {p.delta}. Otherwise estimate it: the mean of "
                "log_q - p.log_prob_of_log(log_x) over log_x, log_q = q.sample_log_and_log_prob(num_samples, seed)."
            )
        return tf.reduce_sum(tfd.kl_divergence(*rows), axis=-1)


def _same_flow(first, second) -> bool:
    return first is second or (isinstance(first, StickBreaking) and isinstance(second, StickBreaking))


def _same(first: tf.Tensor, second: tf.Tensor) -> bool:
    values = tf.get_static_value(first), tf.get_static_value(second)
    return first is second or (None not in values and values[0] == values[1])
