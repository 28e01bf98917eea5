"""NVIL: REINFORCE with a learned baseline of the input.

    grad E_q[f(z)] = E_q[(f(z) - b(x)) grad log q(z | x)] + E_q[grad f(z)],    b(x) = c + s net(x)

where c and s are the running mean and standard deviation of the cost, and the network is trained on the squared error
of the standardized cost, ((f(z) - c) / s - net(x))^2.

Andriy Mnih, Karol Gregor (2014), "Neural Variational Inference and Learning in Belief Networks", arXiv 1402.0030.
"""

import math

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_bool, check_count
from tfdiscrete.estimators.base import Estimate, Estimator, log_mass, mean_of_examples
from tfdiscrete.estimators.running_moments import RunningMoments, check_decay
from tfdiscrete.ops import with_gradient_of
from tfdiscrete.ops.precision import widen


@keras.saving.register_keras_serializable(package="tfdiscrete.estimators")
class NVIL(Estimator):
    """REINFORCE with a baseline that a network of one hidden layer reads from `context`.

    Approximates: grad E_q[f(z)].
    With: (f(z_s) - b(x)) grad log q(z_s | x), averaged over samples.
    Requires: f at hard z; nothing of its gradient with respect to z. A `context`, the model's input, of which no
        gradient is asked.
    Returns: as `sample`, one-hot z, decoded; as `auxiliary`, the baseline's squared error in units of s.

    Bias: none, except with `normalize=True`: the learning signal is then divided by max(1, s), as the paper does, so
    that the gradient with respect to q's parameters (and it alone) is that much shorter, and `unbiased` is False. The
    paper takes for s the deviation of the learning signal; here it is that of the cost.
    Variance: that of a constant baseline at first; the network takes away what of the cost its input explains.
    Evaluations of f: `S`.
    Source: Mnih, Gregor (2014), arXiv 1402.0030.

    Args:
        num_samples: samples for each example.
        hidden_units: of the network, with tanh between; its last layer starts at zero.
        decay: of the running mean and variance, in [0, 1).
        normalize: whether to divide the learning signal by max(1, s).

    Raises:
        InputError: for a decay outside [0, 1), or a `context` that does not have a row of static size per example.
    """

    unbiased = True
    needs = frozenset({"hard", "context"})

    def __init__(self, num_samples: int = 1, hidden_units: int = 100, decay=0.99, normalize: bool = False, **kwargs):
        super().__init__(num_samples=num_samples, **kwargs)
        self.hidden_units = check_count("hidden_units", hidden_units)
        self.decay = check_decay(decay)
        self.normalize = check_bool("normalize", normalize)
        self.unbiased = not normalize
        self._moments = RunningMoments(self, self.decay)

    def _add_weight_of_network(self, name, shape, initializer="zeros"):
        return self.add_weight(name=name, shape=shape, initializer=initializer, dtype="float32", autocast=False)

    def build(self, logits_shape=None, context_shape=None):
        if logits_shape is None or context_shape is None:
            raise InputError("NVIL makes its network when it knows the context: build(logits_shape, context_shape).")
        features = self._features(context_shape, len(logits_shape) - 2)
        glorot = keras.initializers.GlorotUniform(seed=0)
        self.hidden_kernel = self._add_weight_of_network("hidden_kernel", [features, self.hidden_units], glorot)
        self.hidden_bias = self._add_weight_of_network("hidden_bias", [self.hidden_units])
        self.output_kernel = self._add_weight_of_network("output_kernel", [self.hidden_units, 1])
        self.output_bias = self._add_weight_of_network("output_bias", [1])
        super().build(logits_shape, context_shape)

    @staticmethod
    def _features(context_shape, batch_rank: int) -> int:
        """The numbers in one example's context."""
        features = tuple(context_shape)[batch_rank:]
        if len(context_shape) < batch_rank or None in features:
            raise InputError(
                f"the context must have shape [*batch, ...] with a batch of {batch_rank} dimensions, as the logits "
                f"have, and the others static. Received: context of shape {tuple(context_shape)}."
            )
        return math.prod(features)

    def _estimate(self, q, cost, seed, reduce, context):
        y = q.sample_one_hot(seed, self.num_samples)
        costs = cost(y)
        log_q = log_mass(tf.nn.log_softmax(widen(q.logits), axis=-1), y)
        mean, deviation = (tf.cast(m, costs.dtype) for m in (self._moments.mean, self._moments.deviation))
        prediction = self._predict(tf.convert_to_tensor(context), costs)
        standardized = tf.stop_gradient((costs - mean) / deviation)
        signal = deviation * (standardized - tf.stop_gradient(prediction))
        if self.normalize:
            signal /= tf.maximum(deviation, 1.0)
        value = reduce(costs) + reduce(signal * with_gradient_of(tf.cast(log_q, costs.dtype)))
        return Estimate(value, cost.decode(y), mean_of_examples(tf.square(standardized - prediction)))

    def _predict(self, context, costs: tf.Tensor) -> tf.Tensor:
        """The network's output for each example, `[*batch]`, in the precision of `costs` `[S, *batch]`."""
        features = self._features(context.shape, costs.shape.rank - 1)
        if features != self.hidden_kernel.shape[0]:
            raise InputError(
                f"the context must have the {self.hidden_kernel.shape[0]} numbers per example with which NVIL was "
                f"built. Received: {features}, of a context of shape {context.shape}."
            )
        batch = costs.shape[1:]
        if not context.shape[: batch.rank].is_compatible_with(batch):
            raise InputError(
                f"the context must have a row for each example, shape {batch} and what describes it. "
                f"Received: context of shape {context.shape}."
            )
        x = tf.reshape(tf.cast(tf.stop_gradient(context), costs.dtype), [-1, features])
        hidden = tf.tanh(x @ tf.cast(self.hidden_kernel.value, x.dtype) + tf.cast(self.hidden_bias.value, x.dtype))
        output = hidden @ tf.cast(self.output_kernel.value, x.dtype) + tf.cast(self.output_bias.value, x.dtype)
        return tf.reshape(output, tf.shape(costs)[1:])

    def update(self, estimate):
        super().update(estimate)
        self._moments.update(estimate.value, self.step.value)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_units": self.hidden_units,
            "decay": self.decay,
            "normalize": self.normalize,
        }
