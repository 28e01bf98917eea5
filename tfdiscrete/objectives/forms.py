"""The forms of the ELBO over a population of examples, with every term by enumeration of z.

    EM       log p(x) - KL(q(z|x) || p(z|x))
    JOINT    E_q[log p(x, z)] + H(q(z|x))
    VAE      E_q[log p(x|z)] - KL(q(z|x) || p(z))
    DVAE     E[log p(x|z)] - I_q(X; Z) - KL(q_Z || p_Z)
    MAXENT   E[log p(x|z)] + H_q(Z|X) - H(q_Z, p_Z)

with q_Z(z) = E_x[q(z|x)] the aggregate posterior, I_q(X; Z) = E_x[KL(q(z|x) || q_Z)] = H(q_Z) - H_q(Z|X), and
H(q_Z, p_Z) = -E_{q_Z}[log p(z)] = KL(q_Z || p_Z) + H(q_Z). All five are equal over any population that is its own,
a mini-batch included. What a mini-batch says of the terms over all data is another thing: those of DVAE are biased, I
downwards (it is at most the log of the batch's size) and KL(q_Z || p_Z) upwards by as much; H(q_Z) is too. Those of the
other forms are means over examples, and so is H(q_Z, p_Z): unbiased.

Karl Stratos, "Useful facts about latent-variable generative models", lecture notes, section 2.
Matthew D. Hoffman, Matthew J. Johnson (2016), "ELBO surgery: yet another way to carve up the variational evidence lower
bound", NIPS workshop on advances in approximate Bayesian inference.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.errors import check_count
from tfdiscrete.objectives.codes import codes_at, count_codes
from tfdiscrete.ops import log_mean_exp
from tfdiscrete.ops.precision import wide_dtype


class EM(NamedTuple):
    """What the E-step closes, and the M-step raises."""

    log_evidence: tf.Tensor
    """`[B]`: log p(x)."""
    gap: tf.Tensor
    """`[B]`: KL(q(z|x) || p(z|x))."""

    @property
    def elbo(self) -> tf.Tensor:
        """`[]`: the mean over the examples."""
        return tf.reduce_mean(self.log_evidence - self.gap)


class Joint(NamedTuple):
    """Energy and entropy, the second form of EM."""

    log_joint: tf.Tensor
    """`[B]`: E_q[log p(x, z)]."""
    entropy: tf.Tensor
    """`[B]`: H(q(z|x))."""

    @property
    def elbo(self) -> tf.Tensor:
        """`[]`: the mean over the examples."""
        return tf.reduce_mean(self.log_joint + self.entropy)


class VAE(NamedTuple):
    """Distortion and rate."""

    log_likelihood: tf.Tensor
    """`[B]`: E_q[log p(x|z)], minus the distortion."""
    rate: tf.Tensor
    """`[B]`: KL(q(z|x) || p(z))."""

    @property
    def elbo(self) -> tf.Tensor:
        """`[]`: the mean over the examples."""
        return tf.reduce_mean(self.log_likelihood - self.rate)


class DVAE(NamedTuple):
    """The rate as information about x and distance of the aggregate posterior from the prior."""

    log_likelihood: tf.Tensor
    """`[B]`: E_q[log p(x|z)]."""
    information: tf.Tensor
    """`[B]`: KL(q(z|x) || q_Z), whose mean is I_q(X; Z)."""
    aggregate_rate: tf.Tensor
    """`[]`: KL(q_Z || p_Z)."""

    @property
    def elbo(self) -> tf.Tensor:
        """`[]`: over the population."""
        return tf.reduce_mean(self.log_likelihood) - tf.reduce_mean(self.information) - self.aggregate_rate


class MaxEnt(NamedTuple):
    """A likelihood, and an entropy to be large while q_Z stays where the prior is."""

    log_likelihood: tf.Tensor
    """`[B]`: E_q[log p(x|z)]."""
    entropy: tf.Tensor
    """`[B]`: H(q(z|x)), whose mean is H_q(Z|X)."""
    cross_entropy: tf.Tensor
    """`[]`: H(q_Z, p_Z)."""
    aggregate_entropy: tf.Tensor
    """`[]`: H(q_Z), which the sum leaves out: H(q_Z, p_Z) less it is KL(q_Z || p_Z), it less H_q(Z|X) is I_q(X; Z)."""

    @property
    def elbo(self) -> tf.Tensor:
        """`[]`: over the population."""
        return tf.reduce_mean(self.log_likelihood) + tf.reduce_mean(self.entropy) - self.cross_entropy


class Forms(NamedTuple):
    """What `elbo_forms` returns, in nats: each form with its terms, and their sum as the property `elbo`, `[]`."""

    em: EM
    joint: Joint
    vae: VAE
    dvae: DVAE
    maxent: MaxEnt

    @property
    def bound(self) -> str:
        """Of which model's log p(x), on average over the population, each `elbo` is a lower bound: that of hard z."""
        return "discrete"

    @property
    def biased_on_batches(self) -> dict[str, tuple[str, ...]]:
        """The terms of each form that are biased where a mini-batch stands for all data: diagnostics, and no more."""
        return {"dvae": ("information", "aggregate_rate"), "maxent": ("aggregate_entropy",)}


def elbo_forms(q, prior, log_likelihood: Callable[[tf.Tensor], tf.Tensor], *, max_codes: int = 4096) -> Forms:
    """All terms of the ELBO's forms over the examples of a batch, which is the population.

    Args:
        q: the posterior, a `Family` with batch `[B]`: of the whole data set, where the terms shall be its.
        prior: a `priors.Prior`.
        log_likelihood: z `[S, B, *event]` to log p(x|z), `[S, B]`; called once, with all codes.
        max_codes: the largest number of codes that is enumerated.

    Returns:
        `Forms`, in float32 at least.

    Raises:
        InputError: for more codes than `max_codes`.
    """
    dtype = wide_dtype(q.dtype)
    z = codes_at(q, tf.range(count_codes(q, check_count("max_codes", max_codes))), dtype)
    log_q, log_prior, log_p_x = (tf.cast(law(z), dtype) for law in (q.log_prob, prior.log_prob, log_likelihood))
    log_joint = log_prior + log_p_x
    log_evidence = tf.reduce_logsumexp(log_joint, axis=0)
    log_aggregate = log_mean_exp(log_q, axis=1)[:, tf.newaxis]

    def expectation(values, log_law=log_q):
        # A code of no probability counts for nothing, whatever stands beside it.
        return tf.reduce_sum(tf.math.multiply_no_nan(values, tf.exp(log_law)), axis=0)

    def over_aggregate(values):
        return expectation(values, log_aggregate)[0]

    likelihood, entropy = expectation(log_p_x), -expectation(log_q)
    return Forms(
        EM(log_evidence, expectation(log_q - (log_joint - log_evidence))),
        Joint(expectation(log_joint), entropy),
        VAE(likelihood, expectation(log_q - log_prior)),
        DVAE(likelihood, expectation(log_q - log_aggregate), over_aggregate(log_aggregate - log_prior[:, :1])),
        MaxEnt(likelihood, entropy, -over_aggregate(log_prior[:, :1]), -over_aggregate(log_aggregate)),
    )
