"""The most probable joint codes of independent categorical variables, and joint codes drawn without replacement.

A code c = (c_1, ..., c_N) has the log probability phi(c) = sum_n log pi_{n c_n}. None of the K^N codes is made that is
not looked for: a beam of k prefixes is extended variable by variable, each by its K categories, and cut to the k best.

The k most probable codes have prefixes among the k most probable ones, since what follows adds the same to each.

A sample without replacement is the k largest of phi(c) + G_c, with Gumbel noise G_c of each code. The largest below a
prefix p is a Gumbel variable of location phi(p); given its value T_p, those of the K extensions pk are, with
a_k = log pi_{nk} + G_k in new noise,

    exp(-T_pk) = exp(-T_p) + exp(-phi(p)) (exp(-a_k) - min_j exp(-a_j))

so that one of them has T_p itself and the prefixes of the k largest are among the k largest.

Wouter Kool, Herke van Hoof, Max Welling (2019), "Stochastic Beams and Where to Find Them: The Gumbel-Top-k Trick for
Sampling Sequences Without Replacement", arXiv 1903.06059.
"""

from typing import NamedTuple

import tensorflow as tf

from tfdiscrete.errors import InputError, check_count
from tfdiscrete.ops.gumbel import gumbel_noise
from tfdiscrete.ops.precision import widen
from tfdiscrete.ops.random import split_seed


class TopCodes(NamedTuple):
    """`k` different joint codes, in the order of what they were chosen by."""

    index: tf.Tensor
    """int32 `[k, *batch, N]`: the category of each variable."""
    log_prob: tf.Tensor
    """`[k, *batch]`, of the whole code; differentiable in the logits."""
    perturbed: tf.Tensor
    """`[k, *batch]`: the perturbed log probability, falling, without a gradient; without noise `log_prob` itself."""
    log_rest: tf.Tensor
    """`[*batch]`: the log of the mass of all other codes, without a gradient.

    Summed over them, so that it is exact in relative terms however little is left; -inf if there are none.
    """


def top_codes(logits: tf.Tensor, k: int) -> TopCodes:
    """The `k` most probable joint codes, the most probable first.

    Example:

        codes = top_codes(tf.constant([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), 3)
        codes.index         # [[0, 0, 0], [0, 1, 0], [1, 0, 0]]
        tf.exp(codes.log_rest) + tf.reduce_sum(tf.exp(codes.log_prob))      # 1

    Args:
        logits: `[*batch, N, K]`, finite, not necessarily normalized; `N` and `K` static. Half types are computed in
            float32.
        k: how many codes, from 1 to `K^N`.

    Returns:
        `TopCodes`, float64 for float64 logits and float32 otherwise.

    Raises:
        InputError: for `k` that is not an integer from 1 to `K^N`, or an `N` or `K` that is not static.
    """
    return _search(logits, k, None)


def perturbed_top_codes(logits: tf.Tensor, k: int, seed) -> TopCodes:
    """`k` joint codes drawn without replacement, the first draw first: those of the largest perturbed log probability.

    The codes follow the Plackett-Luce law over all `K^N`, as `gumbel_top_k` of their perturbed log probabilities would.
    The noise has the resolution that `gumbel_noise` states.

    Example:

        codes = perturbed_top_codes(tf.zeros([100, 20, 10]), 4, [0, 1])
        codes.index.shape           # [4, 100, 20], of 10^20 codes

    Args:
        logits: as of `top_codes`.
        k: how many draws, from 1 to `K^N`.
        seed: int32 `[2]`.

    Returns:
        `TopCodes`, float64 for float64 logits and float32 otherwise.

    Raises:
        InputError: for `k` that is not an integer from 1 to `K^N`, or an `N` or `K` that is not static.
    """
    return _search(logits, k, seed)


class _Beam(NamedTuple):
    """The best prefixes of each of `R` rows."""

    index: tf.Tensor  # int32 [R, width, N], zeros behind the prefix
    log_prob: tf.Tensor  # [R, width]
    perturbed: tf.Tensor  # [R, width]
    log_rest: tf.Tensor  # [R]


def _search(logits, k: int, seed) -> TopCodes:
    wide = widen(logits)
    _check_draws(wide.shape, k)
    log_pi = tf.nn.log_softmax(wide, axis=-1)
    latents, categories = log_pi.shape[-2:]
    rows = tf.reshape(log_pi, [-1, latents, categories])
    beam = _search_rows(tf.stop_gradient(rows), k, seed)

    def unflatten(flat):
        """`[R, k, ...]` to `[k, *batch, ...]`."""
        tail = flat.shape[2:]
        shape = tf.concat([[k], tf.shape(log_pi)[:-2], tail], axis=0)
        moved = tf.reshape(tf.transpose(flat, [1, 0, *range(2, flat.shape.rank)]), shape)
        return tf.ensure_shape(moved, [k, *log_pi.shape[:-2], *tail])

    chosen = tf.gather(rows, tf.transpose(beam.index, [0, 2, 1]), axis=-1, batch_dims=2)  # [R, N, k]
    log_prob = unflatten(tf.reduce_sum(chosen, axis=1))
    log_rest = tf.reshape(beam.log_rest, tf.shape(log_pi)[:-2])
    return TopCodes(
        unflatten(beam.index),
        log_prob,
        log_prob if seed is None else unflatten(beam.perturbed),
        tf.ensure_shape(log_rest, log_pi.shape[:-2]),
    )


def _search_rows(log_pi: tf.Tensor, k: int, seed) -> _Beam:
    """The search from the empty prefix, `log_pi` `[R, N, K]`."""
    count, (latents, categories) = tf.shape(log_pi)[0], log_pi.shape[1:]
    steps = tf.transpose(log_pi, [1, 0, 2])
    nothing = tf.zeros([count, 1], log_pi.dtype)
    top, noise = nothing, None
    if seed is not None:
        of_the_top, of_the_steps = split_seed(seed, 2)
        top = gumbel_noise(tf.stack([count, 1]), of_the_top, dtype=log_pi.dtype)
        noise = gumbel_noise(tf.stack([latents, count, k, categories]), of_the_steps, dtype=log_pi.dtype)
        noise = tf.ensure_shape(noise, [latents, None, k, categories])
    index = tf.zeros([count, 1, latents], tf.int32)
    beam = _Beam(index, nothing, top, tf.fill([count], tf.constant(-float("inf"), log_pi.dtype)))

    def extend(n, beam: _Beam, width: int) -> _Beam:
        here = None if noise is None else noise[n][:, : beam.log_prob.shape[1]]
        return _extend(n, beam, steps[n], here, width)

    # Until the beam is full all prefixes are kept, so that no place of it is ever empty; its width is then static. The
    # rest is a loop: unrolled, 20 variables take XLA six times as long to compile and run no faster.
    first = 0
    while beam.log_prob.shape[1] < k:
        beam = extend(first, beam, min(k, beam.log_prob.shape[1] * categories))
        first += 1
    if first == latents:
        return beam
    _, beam = tf.while_loop(
        lambda n, _: n < latents,
        lambda n, beam: (n + 1, extend(n, beam, k)),
        (tf.constant(first), beam),
        maximum_iterations=latents - first,
    )
    return beam


def _extend(n, beam: _Beam, log_pi: tf.Tensor, noise: tf.Tensor | None, width: int) -> _Beam:
    """All extensions of the prefixes by variable `n`, cut to the `width` best.

    Args:
        n: the position of the variable, `[]`.
        beam: with `b` prefixes.
        log_pi: `[R, K]`.
        noise: `[R, b, K]`, if what counts is the perturbed log probability.
        width: at most `b K`.
    """
    candidates = beam.log_prob.shape[1] * log_pi.shape[1]
    log_prob = beam.log_prob[:, :, tf.newaxis] + log_pi[:, tf.newaxis]
    perturbed = log_prob if noise is None else _extended_maximum(beam, log_pi[:, tf.newaxis] + noise)
    log_prob, perturbed = (tf.reshape(each, [-1, candidates]) for each in (log_prob, perturbed))
    best = tf.cast(tf.math.top_k(perturbed, width).indices, tf.int32)
    parent, category = best // log_pi.shape[1], best % log_pi.shape[1]
    index = tf.gather(beam.index, parent, batch_dims=1)
    index = tf.where(tf.range(index.shape[2]) == n, category[:, :, tf.newaxis], index)
    # The codes below the prefixes that are cut off here are others than below those cut off before.
    kept = tf.reduce_any(best[:, :, tf.newaxis] == tf.range(candidates), axis=1)
    cut = tf.where(kept, tf.constant(-float("inf"), log_prob.dtype), log_prob)
    return _Beam(
        index,
        tf.gather(log_prob, best, batch_dims=1),
        tf.gather(perturbed, best, batch_dims=1),
        tf.reduce_logsumexp(tf.concat([beam.log_rest[:, tf.newaxis], cut], axis=1), axis=1),
    )


def _extended_maximum(beam: _Beam, a: tf.Tensor) -> tf.Tensor:
    """The largest perturbed log probability below each extension, given that below the prefix; `a` `[R, b, K]`.

    T_pk = -log(exp(-T_p) + exp(-phi(p)) (exp(-a_k) - exp(-max_j a_j))), in log space.
    """
    below = tf.reduce_max(a, axis=-1, keepdims=True) - a
    later = tf.math.log(-tf.math.expm1(-below)) - a  # log(exp(-a_k) - exp(-max)), -inf at the maximum
    return beam.perturbed[:, :, tf.newaxis] - tf.nn.softplus((beam.perturbed - beam.log_prob)[:, :, tf.newaxis] + later)


def _check_draws(shape: tf.TensorShape, k) -> None:
    if shape.rank is None or shape.rank < 2 or not shape[-1] or not shape[-2]:
        raise InputError(f"logits must have shape [*batch, N, K], N and K at least 1 and static. Received: {shape}.")
    latents, categories = shape[-2:]
    if check_count("k", k) > categories**latents:
        raise InputError(
            f"k must be at most the number of codes, {categories}^{latents} = {categories**latents}. Received: k={k}."
        )
