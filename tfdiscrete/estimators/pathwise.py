"""The pathwise estimator of Gaussian variables, for models that mix them with discrete ones.

    z = mu + sigma eps,  eps standard normal,    grad E[f(z)] = E[grad f(z)]

Diederik P. Kingma, Max Welling (2014), "Auto-Encoding Variational Bayes", arXiv 1312.6114.
"""

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.estimators.base import CheckedCost, Estimate, Estimator
from tfdiscrete.ops import normal
from tfdiscrete.ops.precision import wide_dtype, widen

tfd = tfp.distributions


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class Pathwise(Estimator):
    """Evaluates the cost at samples mu + sigma eps of a Gaussian, and differentiates through them.

    It takes `tfd.Normal`, `tfd.Independent` of one, and multivariate normals with a scale operator
    (`tfd.MultivariateNormalDiag`, `MultivariateNormalTriL`, `MultivariateNormalLinearOperator`). The cost has one
    value for each member of q's batch.

    Approximates: grad E_q[f(z)].
    With: noise that does not depend on the parameters.
    Requires: f differentiable almost everywhere and continuous, on all real z (its need "relaxed").
    Returns: as `sample`, z.

    Bias: none. Evaluations of f: `S`, with gradient.
    Source: Kingma, Welling (2014), arXiv 1312.6114.

    Args:
        num_samples: samples for each example.
        shared_axes: the leading axes of q's batch whose members share their noise. Where the estimate is the cost of
            an outer estimator, `shared_axes=1` gives all codes of an example the same noise: the cost is then one
            function of the code, whose differences have less variance.

    Raises:
        InputError: from `estimate`, for another distribution.
    """

    unbiased = True
    needs = frozenset({"relaxed", "gradient"})
    takes = tfd.Distribution
    any_reduce = True

    def __init__(self, num_samples: int = 1, shared_axes: int = 0, **kwargs):
        super().__init__(num_samples=num_samples, **kwargs)
        self.shared_axes = check_count("shared_axes", shared_axes, 0)

    def _sample(self, q, seed):
        return reparameterized_sample(q, seed, self.num_samples, shared_axes=self.shared_axes)

    def _estimate(self, q, cost, seed, reduce, context):
        z = self._sample(q, seed)
        return self._reduced(z, cost.differentiable(z), cost, reduce)

    def _evaluate(self, q, cost, seed, reduce):
        z = tf.stop_gradient(self._sample(q, seed))
        return self._reduced(z, cost(z), cost, reduce)

    def _reduced(self, z, costs, cost, reduce) -> Estimate:
        return Estimate(reduce(costs), cost.decode(z), tf.zeros([], costs.dtype))

    def _check_distribution(self, q):
        base = q.distribution if isinstance(q, tfd.Independent) else q
        if not isinstance(base, (tfd.Normal, tfd.MultivariateNormalLinearOperator)):
            raise InputError(
                "Pathwise takes a Gaussian: tfd.Normal, tfd.Independent of one, or a multivariate normal with a scale "
                f"operator, such as tfd.MultivariateNormalDiag. Received: {q!r}. Estimators of discrete variables, "
                "such as 'score_function', take a Family."
            )

    def _logits_shape(self, q):
        return (*q.batch_shape, *q.event_shape)

    def _checked(self, q, cost):
        return CheckedCost(cost, lambda z: tf.cast(z, q.dtype), type(self).__name__, event_rank=len(q.event_shape))

    def get_config(self):
        return {**super().get_config(), "shared_axes": self.shared_axes}


def reparameterized_sample(q, seed, num_samples: int, *, shared_axes: int = 0) -> tf.Tensor:
    """Samples of a Gaussian, `[S, *batch, *event]`, differentiable in its parameters, in float32 at least.

    Members of the batch that differ in its first `shared_axes` axes alone share their noise.
    """
    base = q.distribution if isinstance(q, tfd.Independent) else q
    own_batch = q.batch_shape_tensor()[shared_axes:]
    shape = tf.concat([[num_samples], [1] * shared_axes, own_batch, q.event_shape_tensor()], axis=0)
    noise = normal(shape, seed, dtype=wide_dtype(q.dtype))
    if isinstance(base, tfd.Normal):
        z = widen(base.loc) + widen(base.scale) * noise
    else:
        z = widen(base.scale.matvec(tf.cast(noise, q.dtype)))
        z = z if base.loc is None else widen(base.loc) + z
    return tf.ensure_shape(z, [num_samples, *q.batch_shape, *q.event_shape])
