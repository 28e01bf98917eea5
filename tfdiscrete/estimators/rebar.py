"""REBAR: the score function, with the cost at a relaxed sample as a control variate of learned weight.

    g = (f(z) - c(y~)) grad log q(z) + grad c(y) - grad c(y~),    c(y) = eta f(y)

With a = log pi + G, Gumbel noise G, z is the arg max of a, y = softmax(a / T) its relaxation, and y~ = softmax(a~ / T)
that of other noise which leads to the same z,

    a~_k = max a for the chosen category,    a~_k = -log(E_k / pi_k + exp(-max a)) for others, E_k exponential

Given z, y and y~ have one law, so that g has the mean grad E[f(z)] for every c and T, and eta and T follow the gradient
of E |g|^2, which is that of the variance. As in the paper (common random numbers) E is the noise at which a~ = a: the
relaxed samples are then equal, one evaluation serves both, and they differ in their derivatives alone,

    da_k / dlog pi_k = 1,    da~_k / dlog pi_k = 1 - exp(a_k - max a)

George Tucker, Andriy Mnih, Chris J. Maddison, Dieterich Lawson, Jascha Sohl-Dickstein (2017), "REBAR: Low-variance,
unbiased gradient estimates for discrete latent variable models", arXiv 1703.07370.
"""

import math

import keras
import tensorflow as tf

from tfdiscrete.errors import check_positive
from tfdiscrete.estimators.base import Estimate, Estimator, mean_of_examples
from tfdiscrete.ops import gumbel_max, perturb, relaxed_one_hot, straight_through, with_gradient_of
from tfdiscrete.ops.precision import widen
from tfdiscrete.ops.temperature import HIGHEST, LOWEST, check_limits

Weights = dict[str, tf.Tensor]


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class REBAR(Estimator):
    """REINFORCE with the relaxed cost as its control variate; learns the relaxation's temperature and the weight.

    Approximates: grad E_q[f(z)].
    With: (f(z) - eta f(y~)) grad log q(z) + eta grad f(y) - eta grad f(y~), averaged over samples; y and y~ are equal
    relaxed samples, but y~ a function of the logits that keeps its arg max z.
    Requires: f at hard z, and f twice differentiable on the simplex; for another f there is RELAX(relaxed_cost=False).
    Returns: as `sample`, one-hot z, decoded.

    Bias: none. Variance: falls with training, as `Estimate.auxiliary` is minimized over the temperature and eta.
    Where f between two corners of the simplex lies below both, as (b - 0.49)^2 does, eta goes to 0 from the default
    temperature, and that of REINFORCE is left; from a high one, at which f(y) is a constant, eta f(y) is a learned
    baseline.
    Evaluations of f: `S` hard ones, with gradient for what f closes over, and `S` relaxed ones, with gradient with
    respect to z alone, and the gradient of that.
    Source: Tucker, Mnih, Maddison, Lawson, Sohl-Dickstein (2017), arXiv 1703.07370.

    Args:
        temperature: of the relaxation at the start of training, from 1e-6 to 1e6; learned from there, within these.
        num_samples: samples for each example.

    Raises:
        InputError: for a temperature out of range, and for a cost without a gradient on the simplex.
    """

    unbiased = True
    needs = frozenset({"hard", "relaxed", "gradient"})

    def __init__(self, temperature: float = 0.5, num_samples: int = 1, **kwargs):
        super().__init__(num_samples=num_samples, **kwargs)
        self.temperature = check_limits("temperature", check_positive("temperature", temperature))

    def build(self, logits_shape=None, context_shape=None):
        start = keras.initializers.Constant(math.log(self.temperature))
        self.log_temperature = self._add_control("log_temperature", (), start)
        self._build_control_variate(logits_shape)
        super().build(logits_shape, context_shape)

    def _build_control_variate(self, logits_shape) -> None:
        self.eta = self._add_control("eta", (), "ones")

    def _add_control(self, name, shape, initializer) -> keras.Variable:
        return self.add_weight(name=name, shape=shape, initializer=initializer, dtype="float32", autocast=False)

    def _controls(self) -> dict[str, keras.Variable]:
        """The weights of the control variate, by name."""
        return {"log_temperature": self.log_temperature, "eta": self.eta}

    def _estimate(self, q, cost, seed, reduce, context):
        logits = widen(q.logits)
        fixed = tf.stop_gradient(logits)
        perturbed = perturb(fixed, self.num_samples, seed)
        z = gumbel_max(perturbed)
        costs = cost(z)
        weights = {name: tf.convert_to_tensor(weight.value) for name, weight in self._controls().items()}
        # Tapes of its own, of which no other variable is part: the caller's meets constants here.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            signal = tf.cast(costs, fixed.dtype)
            gradient = self._gradient(fixed, perturbed, z, signal, cost, weights)
            square = mean_of_examples(tf.reduce_sum(tf.square(gradient), axis=[-2, -1]))
        slopes = tape.gradient(square, weights, unconnected_gradients="zero")
        surrogate = tf.stop_gradient(tf.reduce_mean(gradient, axis=0)) * with_gradient_of(logits)
        value = reduce(costs) + tf.cast(tf.reduce_sum(surrogate, axis=[-2, -1]), costs.dtype)
        auxiliary = tf.stop_gradient(square)
        for name, weight in weights.items():
            slope = tf.stop_gradient(slopes[name])
            auxiliary += tf.cast(tf.reduce_sum(slope * with_gradient_of(weight)), auxiliary.dtype)
        return Estimate(value, cost.decode(z), tf.cast(auxiliary, value.dtype))

    def _gradient(self, logits, perturbed, z, signal, cost, weights: Weights) -> tf.Tensor:
        """g with respect to the logits `[*batch, N, K]`, of each sample: `[S, *batch, N, K]`."""
        pi = tf.nn.softmax(logits, axis=-1)
        learned = weights["log_temperature"]
        # Beyond the limits it still has a gradient, which leads back.
        log_temperature = straight_through(tf.clip_by_value(learned, math.log(LOWEST), math.log(HIGHEST)), learned)
        temperature = tf.exp(tf.cast(log_temperature, pi.dtype))
        y = relaxed_one_hot(perturbed, temperature)
        values, slope = self._control_variate(cost, y, weights)
        # dc / da, by the softmax's transposed Jacobian
        slope = y * (slope - tf.reduce_sum(y * slope, axis=-1, keepdims=True)) / temperature
        # da / dlog pi - da~ / dlog pi, and then the Jacobian of log_softmax
        slope *= tf.exp(perturbed - tf.reduce_max(perturbed, axis=-1, keepdims=True))
        pathwise = slope - pi * tf.reduce_sum(slope, axis=-1, keepdims=True)
        return (signal - values)[..., tf.newaxis, tf.newaxis] * (z - pi) + pathwise

    def _control_variate(self, cost, y, weights: Weights) -> tuple[tf.Tensor, tf.Tensor]:
        """c and its gradient with respect to y, at simplex points `[S, *batch, N, K]`."""
        costs, slope = cost.value_and_slope(y)
        eta = tf.cast(weights["eta"], y.dtype)
        return eta * tf.cast(costs, y.dtype), eta * slope

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}
