"""The generalized Gumbel-Softmax estimator (GenGS): relaxed counts, hard ones, and its Rao-Blackwellized form.

    z = T(y) = sum_k c_k y_k,    y = softmax((log pi + G) / tau),    grad E[f(z)] = E[grad f(T(y))]

with c the outcomes. Rao-Blackwellized, for one variable, with k* the most likely category and pi* its mass:

    E[f(z)] = pi* f(c_k*) + (1 - pi*) E[f(z) | z != c_k*],    the last by GenGS on the other categories

Weonyoung Joo, Dongjun Kim, Seungjae Shin, Il-Chul Moon (2020), "Generalized Gumbel-Softmax Gradient Estimator for
Generic Discrete Random Variables", arXiv 2003.01847.
Runjing Liu, Jeffrey Regier, Nilesh Tripuraneni, Michael I. Jordan, Jon McAuliffe (2019), "Rao-Blackwellized Stochastic
Gradients for Discrete Distributions", arXiv 1810.04777.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import check_bool
from tfdiscrete.estimators.base import Estimate
from tfdiscrete.estimators.gumbel_softmax import GumbelSoftmax
from tfdiscrete.ops import gumbel_max, gumbel_softmax, perturb, straight_through, with_gradient_of
from tfdiscrete.ops.logspace import IMPOSSIBLE
from tfdiscrete.ops.precision import widen
from tfdiscrete.ops.temperature import Temperature


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class GeneralizedGumbelSoftmax(GumbelSoftmax):
    """`GumbelSoftmax` for counts: on the categories of a truncated law, then mapped to its outcomes by `decode`.

    Without options it is `GumbelSoftmax`. Explicit and implicit inference are this one estimator with two families:

        q = Truncated(tfd.Poisson(rate), low=0, high=12)            # explicit: the gradient goes to the rate
        q = Truncated(tfd.FiniteDiscrete(range(13), logits=logits)) # implicit: to free logits

    Approximates: grad E_q[f(z)] by grad E[f(T(y))], y on the simplex.
    With: relaxed samples; with `rao_blackwell` the mode's part is exact, and only the rest is relaxed.
    Requires: f differentiable between the outcomes; with `straight_through`, at them.
    Returns: as `sample`, the relaxed counts; with `rao_blackwell` all `2 N S` points of evaluation.

    Bias: that of the relaxation, vanishing as temperature goes to 0, while the variance grows. With
    `straight_through`, f's derivative is taken at hard z: in the limit at both ends of each step between categories
    alike, as the trapezoidal rule does, so that the bias vanishes where f is at most quadratic.
    With `rao_blackwell` each variable in turn is conditioned on, the others being at their GenGS samples: another bias,
    vanishing in the same limit; one variable of two categories has none. Only the mean over samples is supported.
    Variance: with `rao_blackwell` less than of `S` plain samples. Than of `2 N S`, which cost as much, it is less for
    one variable with a heavy mode (of Poisson(0.3) a tenth) and more otherwise (of Poisson(2.3) 1.6 times), and more
    for several variables, of which the others' noise remains.
    Evaluations of f: `S` with gradient; with `rao_blackwell` `2 N S`, in one call.
    Source: Joo, Kim, Shin, Moon (2020), arXiv 2003.01847.

    Args:
        temperature: a positive number, or a schedule of the number of `update` calls.
        num_samples: samples for each example.
        straight_through: whether the cost is evaluated at hard counts, the gradient being that of the relaxed ones.
        rao_blackwell: whether to take the most likely category of each variable exactly.

    Raises:
        InputError: for a temperature that is not positive, a count below 1, and a cost without a gradient.
    """

    def __init__(
        self,
        temperature: Temperature = 1.0,
        num_samples: int = 1,
        straight_through: bool = False,
        rao_blackwell: bool = False,
        **kwargs,
    ):
        super().__init__(temperature, num_samples, **kwargs)
        self.straight_through = check_bool("straight_through", straight_through)
        self.rao_blackwell = check_bool("rao_blackwell", rao_blackwell)
        if straight_through:
            self.needs = frozenset({"hard", "gradient"})
        if rao_blackwell:
            self.any_reduce = self.independent = False

    def _estimate(self, q, cost, seed, reduce, context):
        if not self.rao_blackwell:
            return super()._estimate(q, cost, seed, reduce, context)
        logits = widen(q.logits)
        latents, batch_rank = logits.shape[-2], logits.shape.rank - 2
        mode = gumbel_max(logits)
        # One noise serves both, since a code never has the same variable from both.
        rest = self._relaxed(tf.where(mode > 0.0, tf.constant(IMPOSSIBLE, logits.dtype), logits), seed)
        others = tf.stop_gradient(self._relaxed(logits, seed))

        def of_its_own_term(tensor):
            # The mean over the N terms below is for the value; variable n's gradient comes from term n alone.
            return tf.stop_gradient(tensor) + latents * with_gradient_of(tensor)

        # [2, N, S, *batch, N, K]: in term n variable n is its mode, or among the rest.
        replacing = tf.stack([tf.broadcast_to(mode, tf.shape(rest)), of_its_own_term(rest)])[:, tf.newaxis]
        own = tf.reshape(tf.eye(latents, dtype=tf.int32) == 1, [latents, *[1] * (batch_rank + 1), latents, 1])
        codes = tf.where(own, replacing, others)
        points = tf.reshape(codes, tf.concat([[-1], tf.shape(logits)], axis=0))
        points = tf.ensure_shape(points, [2 * latents * self.num_samples, *logits.shape])
        costs = tf.reshape(cost.differentiable(points), tf.shape(codes)[:-2])
        masses = self._masses(logits, mode)
        weights = of_its_own_term(tf.cast(masses, costs.dtype))[:, :, tf.newaxis]
        value = reduce(tf.reduce_mean(tf.reduce_sum(weights * costs, axis=0), axis=0))
        return Estimate(value, cost.decode(points), tf.zeros([], value.dtype))

    def _relaxed(self, logits, seed) -> tf.Tensor:
        perturbed = perturb(logits, self.num_samples, seed)
        y = tf.exp(gumbel_softmax(perturbed, self.annealed_value()))
        return straight_through(gumbel_max(perturbed), y) if self.straight_through else y

    @staticmethod
    def _masses(logits, mode) -> tf.Tensor:
        """The masses of each variable's mode and of its other categories, `[2, N, *batch]`."""
        pi = tf.nn.softmax(logits, axis=-1)
        masses = tf.stack([tf.reduce_sum(part * pi, axis=-1) for part in (mode, 1.0 - mode)])
        return tf.transpose(masses, [0, masses.shape.rank - 1, *range(1, masses.shape.rank - 1)])

    def get_config(self):
        return {
            **super().get_config(),
            "straight_through": self.straight_through,
            "rao_blackwell": self.rao_blackwell,
        }
