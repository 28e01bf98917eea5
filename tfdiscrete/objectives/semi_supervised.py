"""The loss of a model whose latent label is known for some examples.

    unknown    U(x) = E_{q(y|x)}[L(x, y)] + KL(q(y|x) || p(y))   >= -log p(x)
    known      L(x, y) - log p(y) >= -log p(x, y), and what the supervision adds

L(x, y) is the cost of a label: here -log p(x|y), or its bound over further latent variables. Of several labels some may
be known: these are fixed at their values, the others are latent variables.

Diederik P. Kingma, Danilo J. Rezende, Shakir Mohamed, Max Welling (2014), "Semi-supervised Learning with Deep
Generative Models", arXiv 1406.5298.
"""

from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import Estimate, Estimator
from tfdiscrete.estimators.base import Cost
from tfdiscrete.objectives.supervision import Labels, Supervision
from tfdiscrete.ops.precision import widen

# exp(-100) is nothing beside 1, and finite where it meets its logarithm.
_CERTAIN = 100.0


class SemiSupervisedLoss(NamedTuple):
    """What `semi_supervised_loss` returns."""

    loss: tf.Tensor
    """`[B]`, nats: its gradient is the estimator's."""
    estimate: Estimate
    """What the estimator returned."""


def semi_supervised_loss(
    q: ProductCategorical,
    prior,
    cost: Cost,
    estimator: Estimator,
    labels: Labels,
    supervision: Supervision,
    *,
    seed: tf.Tensor,
    context: tf.Tensor | None = None,
    training: bool = True,
) -> SemiSupervisedLoss:
    """The bound, with the known labels in their places, and what the supervision adds.

    Args:
        q: q(y|x), batch `[B]` and event `[N, K]`.
        prior: p(y), a `priors.Prior`. Without a closed-form KL, the KL is part of the estimator's cost.
        cost: L(x, y), codes `[S, B, N, K]` to `[S, B]` or an `Estimate` of them.
        estimator: how the gradient passes through the labels that are not known.
        labels: of the batch.
        supervision: how labels enter.
        seed: int32 `[2]`.
        context: passed on to the estimator.
        training: passed on to the estimator; False gives the discrete bound.

    Returns:
        A `SemiSupervisedLoss`.
    """
    given = supervision.in_bound(labels)
    known = given.known[..., tf.newaxis]
    log_all = tf.nn.log_softmax(widen(q.logits), axis=-1)
    # What is given leaves nothing to choose: no estimator's noise reaches the classifier through it.
    q = ProductCategorical(tf.where(known, tf.stop_gradient(q.logits), q.logits))
    log_q = tf.nn.log_softmax(widen(q.logits), axis=-1)

    def whole_cost(z):
        inner = cost(given.fill(z))
        result = inner if isinstance(inner, Estimate) else Estimate(inner, z, tf.zeros([], inner.dtype))
        added = supervision.cost(z, labels)
        if not prior.has_analytic_kl:
            log_ratio = tf.where(known, tf.zeros([], log_q.dtype), log_q * tf.cast(z, log_q.dtype))
            added += tf.cast(tf.reduce_sum(log_ratio, axis=[-2, -1]), z.dtype) - prior.log_prob(given.fill(z))
        return result._replace(value=result.value + tf.cast(added, result.value.dtype))

    estimate = estimator.estimate(q, whole_cost, seed=seed, context=context, training=training)
    loss = estimate.value + tf.cast(supervision.loss(log_all, labels), estimate.value.dtype)
    if prior.has_analytic_kl:
        loss += tf.cast(prior.kl_divergence(_certain(q, given)), loss.dtype)
    return SemiSupervisedLoss(loss, estimate)


def _certain(q: ProductCategorical, given: Labels) -> ProductCategorical:
    """q with all mass on what is given: its KL is -log p_n(y_n) there, and as ever elsewhere."""
    one_hot = tf.cast(given.one_hot, q.dtype)
    return ProductCategorical(tf.where(given.known[..., tf.newaxis], _CERTAIN * (one_hot - 1.0), q.logits))
