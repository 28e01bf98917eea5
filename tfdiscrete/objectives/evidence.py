"""log p(x) itself, where z can be enumerated, and its bound by samples of the prior where it cannot.

    log p(x) = log sum_z p(x|z) p(z)  >=  E log (1/S) sum_s p(x|z_s),    z_s ~ p(z)

The bound rises in S and needs no posterior; with S = 1 it is E_{p(z)}[log p(x|z)]. Its gap is of the order of
Var(p(x|z)) / (2 S p(x)^2): it wants many samples where few codes explain an example.

Karl Stratos, "Useful facts about latent-variable generative models", lecture notes, section 2.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.errors import check_count
from tfdiscrete.objectives.codes import codes_at, count_codes
from tfdiscrete.ops import fold_in
from tfdiscrete.ops.precision import wide_dtype


class PriorBound(NamedTuple):
    """What `prior_sampling_bound` returns."""

    value: tf.Tensor
    """`[B]`, nats: below log p(x) in expectation."""
    standard_error: tf.Tensor
    """`[B]`, nats: of the sampling, as `log_mean_exp_error` has it; examples have samples of their own."""


def log_evidence(
    q,
    prior,
    log_likelihood: Callable[[tf.Tensor], tf.Tensor],
    *,
    max_codes: int = 65_536,
    chunk_size: int = 256,
) -> tf.Tensor:
    """log p(x) by summing over all `K^N` codes.

    Args:
        q: a `Family` with batch `[B]`, such as the posterior: only its shape and `decode` are used.
        prior: a `priors.Prior`.
        log_likelihood: z `[S, B, *event]` to log p(x|z), `[S, B]`.
        max_codes: the largest number of codes that is enumerated.
        chunk_size: how many codes are evaluated at once.

    Returns:
        `[B]`, nats, in float32 at least.

    Raises:
        InputError: for more codes than `max_codes`.
    """
    count = count_codes(q, check_count("max_codes", max_codes))
    dtype = wide_dtype(q.dtype)
    chunk_size = min(check_count("chunk_size", chunk_size), count)

    def add(start, total):
        numbers = start + tf.range(chunk_size)
        z = codes_at(q, tf.minimum(numbers, count - 1), dtype)
        log_joint = tf.cast(prior.log_prob(z), dtype) + tf.cast(log_likelihood(z), dtype)
        return start + chunk_size, log_add(total, _only(numbers < count, log_joint))

    start = tf.fill(tf.shape(q.logits)[:1], tf.constant(float("-inf"), dtype))
    return _loop(-(-count // chunk_size), add, start, static=q.logits_shape[:1])[0]


def prior_sampling_bound(
    prior,
    log_likelihood: Callable[[tf.Tensor], tf.Tensor],
    *,
    seed: tf.Tensor,
    num_samples: int,
    batch_size: int | tf.Tensor,
    chunk_size: int = 100,
) -> PriorBound:
    """log (1/S) sum_s p(x|z_s) with z from the prior, in chunks, so that `S` may be large.

    Args:
        prior: a `priors.Prior`.
        log_likelihood: z `[S, B, *event]` to log p(x|z), `[S, B]`.
        seed: int32 `[2]`.
        num_samples: `S`, at least 2, without which there is no standard error.
        batch_size: `B`.
        chunk_size: how many samples of each example are evaluated at once.

    Returns:
        A `PriorBound`, in float32 at least.
    """
    chunk_size = min(check_count("chunk_size", chunk_size), check_count("num_samples", num_samples, 2))

    def chunk(start):
        z = prior.sample(chunk_size * batch_size, fold_in(seed, start))
        z = tf.reshape(z, tf.concat([[chunk_size, batch_size], tf.shape(z)[1:]], axis=0))
        log_p = log_likelihood(z)
        log_p = tf.cast(log_p, wide_dtype(log_p.dtype))
        return _only(start + tf.range(chunk_size) < num_samples, log_p)

    def add(start, first, second):
        log_p = chunk(start)
        return start + chunk_size, log_add(first, log_p), log_add(second, 2.0 * log_p)

    first = chunk(tf.constant(0))
    sums = tf.reduce_logsumexp(first, axis=0), tf.reduce_logsumexp(2.0 * first, axis=0)
    sums = _loop(-(-num_samples // chunk_size) - 1, add, *sums, start=chunk_size, static=first.shape[1:])
    count = tf.cast(num_samples, first.dtype)
    log_mean, log_mean_square = (total - tf.math.log(count) for total in sums)
    # Var(w) / mean(w)^2, by its moments
    relative = tf.maximum(tf.math.expm1(log_mean_square - 2.0 * log_mean), 0.0)
    return PriorBound(log_mean, tf.sqrt(relative / (count - 1.0)))


def log_add(total: tf.Tensor, terms: tf.Tensor) -> tf.Tensor:
    """log(e^total + sum_s e^terms), `[B]` and `[S, B]` to `[B]`."""
    return tf.reduce_logsumexp(tf.concat([total[tf.newaxis], terms], axis=0), axis=0)


def _only(condition: tf.Tensor, log_terms: tf.Tensor) -> tf.Tensor:
    """Terms `[S, B]` with those of a false condition, `[S]`, counted as log 0."""
    return tf.where(condition[:, tf.newaxis], log_terms, tf.constant(float("-inf"), log_terms.dtype))


def _loop(times: int, body, *sums: tf.Tensor, start: int = 0, static) -> tuple[tf.Tensor, ...]:
    """`body(start, *sums)` so many times, of which the sums `[B]` are returned."""
    _, *sums = tf.while_loop(
        lambda *state: True,
        body,
        (tf.constant(start), *(tf.ensure_shape(each, static) for each in sums)),
        maximum_iterations=times,
    )
    return tuple(sums)
