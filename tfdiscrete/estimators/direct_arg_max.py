"""Direct optimization through the arg max.

    z(phi) = arg max_k (phi_k + G_k),    phi = log pi

    grad E[f(z)] = lim_{epsilon -> 0} (1 / epsilon) (E[z(phi + epsilon f)] - E[z(phi)])    with respect to phi

f is the cost to be minimised, so that epsilon > 0 perturbs towards higher cost. Both arg max share their noise: most
of the time they agree, and the difference is 0.

Of N variables, each is scored with the others fixed at the sample: f_n(k) = f(z_1, .., e_k, .., z_N), and variable n
has (1 / epsilon) (z_n(phi_n + epsilon f_n) - z_n(phi_n)). As a way to find the joint arg max this is approximate; as a
gradient it is not, in the limit. z_{-n}, and with it f_n, does not depend on the noise G_n, so that given z_{-n}

    E[z_n(phi_n + epsilon f_n) - z_n(phi_n)] / epsilon = (softmax(phi_n + epsilon f_n) - softmax(phi_n)) / epsilon

which goes to J(pi_n) f_n, J(p) = diag(p) - p p^T: the gradient of sum_k pi_{nk} f_n(k) with respect to phi_n. Its mean
over z_{-n} is the gradient of E[f(z)], since pi_n stands in that sum alone.

For the same reason G_n may be drawn anew, many times for one table of scores f_n: the scores are what takes the time,
and the differences are what varies. Their mean over ever more noise is the difference quotient above.

Guy Lorberbom, Andreea Gane, Tommi Jaakkola, Tamir Hazan (2019), "Direct Optimization through arg max for Discrete
Variational Auto-Encoder", arXiv 1806.02867.
"""

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.estimators.base import Estimate, Estimator
from tfdiscrete.ops import fold_in, gumbel_max, perturb, with_gradient_of
from tfdiscrete.ops.precision import widen
from tfdiscrete.ops.temperature import (
    Temperature,
    check_temperature,
    deserialize_temperature,
    serialize_temperature,
)

SIGNS = (1, -1, "both")


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class DirectArgMax(Estimator):
    """The difference between the arg max with the costs added to the perturbed logits and the one without them.

    Approximates: grad E_q[f(z)] by a difference quotient of step epsilon.
    With: Gumbel-max samples and the costs of all codes that differ from them in one variable.
    Requires: f at hard z; nothing of its gradient with respect to z. A cost with an attribute `neighbours` is asked
    for those codes' costs at once (see `CheckedCost.neighbours`).
    Returns: as `sample`, one-hot z, decoded; `value` is an unbiased estimate of E_q[f(z)].

    Bias: of order epsilon, with `sign="both"` of its square; it vanishes as epsilon goes to 0, for any N.
    Variance: that of one noise grows as 1 / epsilon, since the gradient is either 0 or 1 / epsilon times a difference
    of codes; that of the mean over `num_noises` of them is between that and the difference quotient's, which is that of
    `LocalExpectation` as epsilon goes to 0.
    Evaluations of f: `S (1 + N (K - 1))`, of which `S` with gradient for what f closes over.
    Source: Lorberbom, Gane, Jaakkola, Hazan (2019), arXiv 1806.02867.

    Args:
        epsilon: a positive number, or a schedule of the number of `update` calls. Its unit is 1 / f.
        sign: 1 perturbs towards higher cost, -1 towards lower, and "both" takes the mean of the two.
        num_samples: samples for each example.
        num_noises: perturbations for each sample, which all have its scores; 1 is the published estimator.

    Raises:
        InputError: for a count below 1, an `epsilon` that is not positive, or another sign.
    """

    needs = frozenset({"hard"})
    annealed = "epsilon"

    def __init__(
        self, epsilon: Temperature = 1.0, sign: int | str = 1, num_samples: int = 1, num_noises: int = 1, **kwargs
    ):
        super().__init__(num_samples=num_samples, **kwargs)
        self.epsilon = check_temperature(deserialize_temperature(epsilon), name="epsilon")
        if isinstance(sign, bool) or sign not in SIGNS:
            raise InputError(f"sign must be 1, -1 or 'both'. Received: sign={sign!r}.")
        self.sign = sign
        self.num_noises = check_count("num_noises", num_noises)

    def _estimate(self, q, cost, seed, reduce, context):
        logits = widen(q.logits)
        perturbed = perturb(logits, self.num_samples, seed)
        y = gumbel_max(perturbed)
        costs = cost(y)
        # The arg max does not see a shift of the costs, but float32 loses the logits beside a large one.
        rise = cost.neighbours(y, costs) - tf.stop_gradient(costs)[..., tf.newaxis, tf.newaxis]
        scores = tf.cast(self.annealed_value(), costs.dtype) * rise
        scores = tf.cast(scores, perturbed.dtype)
        gradient = self._difference(perturbed, scores, y)
        if self.num_noises > 1:
            others = (self.num_noises - 1) * self.num_samples
            fresh = perturb(logits, others, fold_in(seed, 1))
            fresh = tf.reshape(fresh, tf.concat([[self.num_noises - 1], tf.shape(perturbed)], axis=0))
            gradient += tf.reduce_sum(self._difference(fresh, scores, gumbel_max(fresh)), axis=0)
        gradient /= self.num_noises * tf.cast(self.annealed_value(), gradient.dtype)
        # An arg max does not see NaN, and a step along what it gives then is worse than NaN.
        sound = tf.reduce_all(tf.math.is_finite(scores), axis=[-2, -1], keepdims=True)
        gradient = tf.where(sound, gradient, tf.constant(float("nan"), gradient.dtype))
        surrogate = tf.reduce_sum(gradient * with_gradient_of(logits), axis=[-2, -1])
        value = reduce(costs) + reduce(tf.cast(surrogate, costs.dtype))
        return Estimate(value, cost.decode(y), tf.zeros([], value.dtype))

    def _difference(self, perturbed, scores, y) -> tf.Tensor:
        """The difference of one-hot codes, per unit of the scores."""
        if self.sign == "both":
            return (gumbel_max(perturbed + scores) - gumbel_max(perturbed - scores)) / 2.0
        sign = float(self.sign)
        return sign * (gumbel_max(perturbed + sign * scores) - y)

    def get_config(self):
        return {
            **super().get_config(),
            "epsilon": serialize_temperature(self.epsilon),
            "sign": self.sign,
            "num_noises": self.num_noises,
        }
