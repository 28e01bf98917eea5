"""The invertible Gaussian layer: a Gaussian's parameters in, relaxed or straight-through one-hot samples out.

    x = softmax++(flow(mu + sigma eps) / tau; delta),    eps standard normal

Andres Potapczynski, Gabriel Loaiza-Ganem, John P. Cunningham (2020), "Invertible Gaussian Reparameterization:
Revisiting the Gumbel-Softmax", arXiv 1912.09588.
"""

import keras
import tensorflow as tf

from tfdiscrete.bijectors.owned_flow import FLOWS, add_flow_weights, flow_of
from tfdiscrete.distributions import InvertibleGaussian as Distribution
from tfdiscrete.errors import InputError, check_name, check_positive
from tfdiscrete.layers.stochastic import RelaxedLayer
from tfdiscrete.ops import log_softmax_plus_plus, normal, softmax_plus_plus_limit
from tfdiscrete.ops.loc_scale import loc_and_scale
from tfdiscrete.ops.temperature import Temperature


@keras.saving.register_keras_serializable(package="tfdiscrete.layers")
class InvertibleGaussian(RelaxedLayer):
    """Samples one categorical variable for each row of Gaussian parameters.

    While training each call draws new noise: relaxed samples on the simplex, or with `hard=True` the one-hot samples of
    the limit, whose gradient is the relaxed sample's.

    Example:

        model = keras.Sequential([
            keras.layers.Dense(20 * 2 * 9),
            keras.layers.Reshape((20, 2 * 9)),
            tfdiscrete.layers.InvertibleGaussian(temperature=0.5),          # [B, 20, 10]
        ])

    Args:
        temperature: a positive number, or a `keras.optimizers.schedules` schedule of the number of training calls.
        delta: positive; the weight of the last category.
        flow: "none" (IGR-I); "planar", one trained `PlanarFlow` for each latent variable; "stick_breaking" (IGR-SB),
            whose last category is never a hard sample.
        hard: whether samples are one-hot (straight-through).
        inference: the rule outside of training. "mode" (default): the hard outcome at the Gaussian's mode, one-hot;
            "mean": the hard samples' exact probabilities, by quadrature, for `flow="none"` alone; "sample": a sample as
            in training.
        seed: a non-negative integer; by default one is drawn from the system and kept in the config.

    Call arguments:
        inputs: `[..., 2 (K-1)]`, finite: the K-1 means, then the K-1 logarithms of the scales (kept within +-20).
        training: whether to sample.

    Returns:
        `[..., K]`, in the compute dtype. Noise and softmax are computed in float32 at least.

    Raises:
        InputError: for an argument out of its range, "mean" with a flow, or inputs without a static, even last
            dimension.
    """

    def __init__(
        self,
        temperature: Temperature = 1.0,
        delta: float = 1.0,
        flow: str = "none",
        hard: bool = False,
        inference: str = "mode",
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(temperature=temperature, hard=hard, inference=inference, seed=seed, **kwargs)
        self.delta = check_positive("delta", delta)
        self.flow = check_name("flow", flow, FLOWS)
        if inference == "mean" and flow != "none":
            raise InputError(
                'inference="mean" needs flow="none": there is no quadrature for the hard samples\' law behind a flow. '
                f'Received: flow={flow!r}. Use inference="mode" or "sample".'
            )

    def build(self, input_shape):
        if len(input_shape) < 1 or not input_shape[-1] or input_shape[-1] % 2:
            raise InputError(
                "inputs must have shape [..., 2 (K-1)], means and then log scales, with K >= 2 static. "
                f"Received: shape {input_shape}."
            )
        if self.flow == "planar":
            # One flow for each latent variable: all dimensions but the batch's.
            batch = tuple(input_shape[1:-1])
            if None in batch:
                raise InputError(
                    "a planar flow is made for each latent variable: all dimensions of the inputs but the first must "
                    f"be static. Received: shape {input_shape}."
                )
            add_flow_weights(self, self.flow, (*batch, input_shape[-1] // 2), self.seed)
        super().build(input_shape)

    def distribution(self, inputs) -> Distribution:
        """The distribution of the layer's relaxed samples at its present temperature, for densities and KLs.

        Raises:
            InputError: before the layer is built.
        """
        if not self.built:
            raise InputError(f"{self.name} has no step yet: call it on inputs first, or `build` it.")
        loc, scale = loc_and_scale(inputs)
        return Distribution(loc, scale, self.current_temperature(), self.delta, flow_of(self, self.flow))

    def _perturb(self, inputs, seed):
        loc, scale = loc_and_scale(inputs)
        return self._flowed(loc + scale * normal(tf.shape(loc), seed, dtype=loc.dtype))

    def _flowed(self, y):
        flow = flow_of(self, self.flow)
        return y if flow is None else flow.forward(y)

    def _relax(self, perturbed, temperature):
        return tf.exp(log_softmax_plus_plus(perturbed, temperature, self.delta))

    def _harden(self, perturbed):
        return softmax_plus_plus_limit(perturbed)

    def _mode(self, inputs):
        return softmax_plus_plus_limit(self._flowed(loc_and_scale(inputs)[0]))

    def _mean(self, inputs):
        return self.distribution(inputs).discretize().probs_parameter()

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // 2 + 1)

    def get_config(self):
        return {**super().get_config(), "delta": self.delta, "flow": self.flow}
