"""The evidence lower bound of a chain of layers, discrete below the top, each with a gradient estimator of its own.

    q(z|x) = q(z1|x) q(z2|z1) .. q(zL|z_{L-1}),    p(x, z) = p(zL) p(z_{L-1}|zL) .. p(z1|z2) p(x|z1)

    F_l(z_{l-1}) = E_{q(z_l|z_{l-1})}[-log p(z_{l-1}|z_l) + F_{l+1}(z_l)] - H(q(z_l|z_{l-1})),    z0 = x
    F_L(z_{L-1}) = E_{q(zL|z_{L-1})}[-log p(z_{L-1}|zL)] + KL(q(zL|z_{L-1}) || p(zL))
    F_1(x) = -ELBO >= -log p(x)

All of F_2 is rate: with a weight on the rate the first layer alone has it,

    E_{q(z1|x)}[-log p(x|z1) + beta F_2(z1)] - beta H(q(z1|x))

The expectations nest: the cost of a layer's estimator holds the estimate of the layer above. If value and gradient of
that are unbiased for each z_l, by noise of its own, an unbiased estimator makes an unbiased estimate of F_l of it.

Andriy Mnih, Karol Gregor (2014), "Neural Variational Inference and Learning in Belief Networks", arXiv 1402.0030 (each
layer's signal is of the terms that its variables have a part in).
Yuri Burda, Roger Grosse, Ruslan Salakhutdinov (2016), "Importance Weighted Autoencoders", arXiv 1509.00519 (the weights
of several layers).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from tfdiscrete.errors import check_name
from tfdiscrete.estimators import Estimate, Estimator
from tfdiscrete.objectives.base import weighted
from tfdiscrete.objectives.evaluation import Bounds, log_mean_exp_error
from tfdiscrete.ops import log_mean_exp, split_seed

NESTED_KL_CHOICES = ("analytic", "sampled")


class Level(NamedTuple):
    """A stochastic layer z_l above `below`: x `[B, *data]` for the first, z_{l-1} `[B, *event]` for the others.

    The batch of the others is that of all samples of z_{l-1}: all laws have one batch axis, however deep they are.
    """

    posterior: Callable[[tf.Tensor], Any]
    """`below` to q(z_l|below), batch `[B]`: a `Family` with log probabilities and an entropy, or on top a Gaussian."""
    log_likelihood: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    """`below` and z_l `[S, B, *event]` to log p(below|z_l), `[S, B]`, in float32 at least."""
    estimator: Estimator
    """Its context is `below`."""


class NestedElbo(NamedTuple):
    """What `nested_negative_elbo` returns."""

    loss: tf.Tensor
    """`[B]`, nats: its gradient is that of the estimators."""
    rate: tf.Tensor
    """`[B]`, nats: what all latent variables cost, without a weight; no gradient."""
    distortion: tf.Tensor
    """`[B]`, nats: -E log p(x|z1); no gradient."""
    estimates: list[tuple[Estimator, Estimate]]
    """Each level's estimator, with what it returned first; the auxiliary of the first level's is the sum of all."""


def nested_negative_elbo(
    x: tf.Tensor,
    levels: Sequence[Level],
    prior,
    *,
    seed: tf.Tensor,
    kl: str = "analytic",
    weight: tf.Tensor | None = None,
    training: bool = True,
) -> NestedElbo:
    """The negative ELBO, or an estimate of it with the gradient of all its parts.

    For each sample of a level the next one draws its own, in one call: with `S` samples each, the top level has `S^L`.

    Args:
        x: `[B, *data]`.
        levels: from z1 to zL.
        prior: p(zL), a `priors.Prior`.
        seed: int32 `[2]`.
        kl: "analytic", what has a closed form outside of the estimators: the entropies of all levels, and for the top
            one the KL, if the prior has it; or "sampled", log q - log p at the samples, inside their costs.
        weight: what training multiplies the rate by, `[]`; by default 1.
        training: passed on to the estimators; False gives the discrete bound.

    Returns:
        A `NestedElbo`. At relaxed z log probabilities are extended linearly, and `loss` bounds nothing.

    Raises:
        InputError: for another `kl`.
    """
    check_name("kl", kl, NESTED_KL_CHOICES)
    weight = weight if training else None
    seeds = split_seed(seed, len(levels))
    first: dict[int, Estimate] = {}
    # Of the first level: its cost's distortion and parts of the rate, and what of the rate has a closed form.
    parts: list[tf.Tensor] = []
    closed_form: list[tf.Tensor] = []

    def expectation(number: int, below: tf.Tensor) -> Estimate:
        """F of a level, of each `below`; the first one's with the weight."""
        level, top = levels[number], number == len(levels) - 1
        own_weight = None if number else weight
        q = level.posterior(below)

        def cost(z):
            each = [-level.log_likelihood(below, z)]
            if kl == "sampled":
                each.append(q.log_prob(z))
            if not top:
                above = expectation(number + 1, _joined(z))
                each.append(tf.reshape(above.value, tf.shape(each[0])))
            elif kl == "sampled" or not prior.has_analytic_kl:
                each.append(-prior.log_prob(z))
            each = [tf.cast(part, each[0].dtype) for part in each]
            if number == 0 and not parts:
                tape.watch(each[0])
                parts.extend(each)
            value = sum((weighted(part, own_weight) for part in each[1:]), start=each[0])
            return value if top else above._replace(value=value)

        estimate = level.estimator.estimate(q, cost, seed=seeds[number], context=below, training=training)
        # Estimators evaluate hard z first, if at all; only that evaluation counts for their statistics.
        first.setdefault(number, estimate)
        if kl == "sampled":
            return estimate
        closed = prior.kl_divergence(q) if top and prior.has_analytic_kl else -q.entropy()
        closed = tf.cast(closed, estimate.value.dtype)
        if number == 0:
            closed_form.append(closed)
        return estimate._replace(value=estimate.value + weighted(closed, own_weight))

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        loss = expectation(0, x).value
    # The derivative of the value by a cost is the weight of its sample: nothing else in it depends on costs.
    shares = tape.gradient(first[0].value, parts[0])
    distortion, *rates = (tf.stop_gradient(tf.reduce_sum(shares * part, axis=0)) for part in parts)
    if weight is None:
        rate = tf.stop_gradient(loss) - distortion
    else:
        rate = tf.add_n([*rates, *map(tf.stop_gradient, closed_form)])
    estimates = [(levels[0].estimator, first[0])]
    for number, level in enumerate(levels[1:], 1):
        counted = tf.zeros_like(first[number].auxiliary)
        estimates.append((level.estimator, first[number]._replace(auxiliary=counted)))
    return NestedElbo(loss, rate, distortion, estimates)


def nested_bounds(x: tf.Tensor, levels: Sequence[Level], prior, *, seed: tf.Tensor, num_samples: int) -> Bounds:
    """The discrete ELBO and the importance-weighted bound on log p(x), of hard samples of all levels together.

    Args:
        x: `[B, *data]`.
        levels: from z1 to zL.
        prior: p(zL), a `priors.Prior`.
        seed: int32 `[2]`.
        num_samples: `S`.

    Returns:
        `Bounds`; of each example `elbo <= importance_weighted`, the same samples making both.
    """
    below, log_weights, distortion = x, tf.zeros([]), None
    for number, (level, own_seed) in enumerate(zip(levels, split_seed(seed, len(levels)), strict=True)):
        q = level.posterior(below)
        z = q.sample(num_samples if number == 0 else 1, seed=own_seed)
        log_p = level.log_likelihood(below, z)
        distortion = -tf.reduce_mean(log_p, axis=0) if distortion is None else distortion
        ratio = log_p - tf.cast(q.log_prob(z), log_p.dtype)
        log_weights = tf.cast(log_weights, ratio.dtype) + tf.reshape(ratio, [num_samples, -1])
        below = _joined(z)
    log_prior = tf.reshape(prior.log_prob(below), [num_samples, -1])
    log_weights += tf.cast(log_prior, log_weights.dtype)
    elbo = tf.reduce_mean(log_weights, axis=0)
    importance = log_mean_exp(log_weights, axis=0)
    return Bounds(elbo, importance, -elbo - distortion, distortion, log_mean_exp_error(log_weights))


def _joined(z: tf.Tensor) -> tf.Tensor:
    """Samples `[S, B, *event]` as one batch, `[S B, *event]`."""
    return tf.reshape(z, [-1, *z.shape[2:]])
