"""RELAX: REBAR, with a network of its own in the control variate.

    g = (f(z) - c(y~)) grad log q(z) + grad c(y) - grad c(y~),    c(y) = eta f(y) + r(y)

with z, y and y~ as for REBAR. The network r is trained with eta and the temperature, on the variance of g. Without
eta f(y) it is LAX's form for discrete z, and asks nothing of f but its values at hard z.

Will Grathwohl, Dami Choi, Yuhuai Wu, Geoffrey Roeder, David Duvenaud (2018), "Backpropagation through the Void:
Optimizing control variates for black-box gradient estimation", arXiv 1711.00123.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_bool, check_count
from tfdiscrete.estimators.rebar import REBAR


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class RELAX(REBAR):
    """REINFORCE with the relaxed cost and a learned network as its control variate, or the network alone.

    Approximates: grad E_q[f(z)].
    With: (f(z) - c(y~)) grad log q(z) + grad c(y) - grad c(y~), averaged over samples, y and y~ as for REBAR.
    Requires: f at hard z, and f twice differentiable on the simplex, unless `relaxed_cost=False`.
    Returns: as `sample`, one-hot z, decoded.

    Bias: none. Variance: falls with training, as `Estimate.auxiliary` is minimized over the network, eta and the
    temperature; the network begins at r = 0, which is REBAR.
    Evaluations of f: as REBAR; with `relaxed_cost=False` the `S` hard ones alone.
    Source: Grathwohl, Choi, Wu, Roeder, Duvenaud (2018), arXiv 1711.00123.

    Args:
        temperature: of the relaxation at the start of training; learned from there.
        num_samples: samples for each example.
        hidden: the tanh units of r, whose input is the flattened `[N K]`.
        relaxed_cost: False leaves eta f(y) out, for an f that is not defined or not differentiable on the simplex.

    Raises:
        InputError: for a temperature or a number of units that is not positive, for variables other than those that it
            was built for, and for a cost without a gradient on the simplex, unless `relaxed_cost=False`.
    """

    def __init__(
        self, temperature: float = 0.5, num_samples: int = 1, hidden: int = 50, relaxed_cost: bool = True, **kwargs
    ):
        super().__init__(temperature=temperature, num_samples=num_samples, **kwargs)
        self.hidden = check_count("hidden", hidden)
        self.relaxed_cost = check_bool("relaxed_cost", relaxed_cost)
        if not relaxed_cost:
            self.needs = frozenset({"hard"})

    def _build_control_variate(self, logits_shape):
        if self.relaxed_cost:
            super()._build_control_variate(logits_shape)
        glorot = keras.initializers.GlorotUniform(seed=0)
        inputs = logits_shape[-2] * logits_shape[-1]
        self.hidden_kernel = self._add_control("hidden_kernel", (inputs, self.hidden), glorot)
        self.hidden_bias = self._add_control("hidden_bias", (self.hidden,), "zeros")
        self.output_kernel = self._add_control("output_kernel", (self.hidden, 1), "zeros")
        self.output_bias = self._add_control("output_bias", (1,), "zeros")

    def _check_distribution(self, q):
        super()._check_distribution(q)
        inputs = self.hidden_kernel.shape[0] if self.built else None
        if inputs is not None and inputs != q.logits_shape[-2] * q.logits_shape[-1]:
            raise InputError(
                f"RELAX was built with a network of N K = {inputs} inputs: make another one for other variables. "
                f"Received: logits of shape {q.logits_shape}."
            )

    def _controls(self):
        names = ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
        shared = super()._controls() if self.relaxed_cost else {"log_temperature": self.log_temperature}
        return {**shared, **{name: getattr(self, name) for name in names}}

    def _control_variate(self, cost, y, weights):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(y)
            values = network(y, weights)
        slope = tape.gradient(values, y)
        if not self.relaxed_cost:
            return values, slope
        costs, cost_slope = super()._control_variate(cost, y, weights)
        return costs + values, cost_slope + slope

    def get_config(self):
        return {**super().get_config(), "hidden": self.hidden, "relaxed_cost": self.relaxed_cost}


def network(y: tf.Tensor, weights: dict[str, tf.Tensor]) -> tf.Tensor:
    """r, `[*batch, N, K]` to `[*batch]`, in the precision of y."""
    kernel, bias, output, offset = (
        tf.cast(weights[name], y.dtype) for name in ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
    )
    flat = tf.reshape(y, [-1, y.shape[-2] * y.shape[-1]])
    result = tf.matmul(tf.tanh(tf.matmul(flat, kernel) + bias), output) + offset
    return tf.ensure_shape(tf.reshape(result, tf.shape(y)[:-2]), y.shape[:-2])
