"""A codebook: its codes, their start from data, and their update, equal on all replicas of a strategy."""

import functools
from typing import NamedTuple

import keras
import tensorflow as tf

from tfdiscrete.layers.codebook_update import CodebookState, EMAUpdate, LossUpdate
from tfdiscrete.ops import kmeans, nearest_code, seed_of, step_seed, uniform
from tfdiscrete.ops.counter import add_counter
from tfdiscrete.ops.global_batch import on_global_batch
from tfdiscrete.ops.nearest_code import CodeStatistics, code_statistics, gather_codes, unit_rows
from tfdiscrete.ops.precision import wide_dtype


class Assigned(NamedTuple):
    """Rows and their codes."""

    rows: tf.Tensor
    """`[M, D]`, as they were compared: of length 1 for the metric "cosine"."""
    codes: tf.Tensor
    """`[M, D]`, with a gradient to the codebook where it is trained by a loss."""
    index: tf.Tensor
    """int32 `[M]`."""
    learned: tf.Tensor
    """int32 `[M]`, the index, or -1 for the rows that the codebook is not to learn from."""


class Codebook(keras.layers.Layer):
    """`K` codes of dimension `D`: a part of the quantizers, which hand it rows.

    Its codes are weights in float32 at least, whatever the dtype policy. Rows that hold a NaN or an infinite value
    never reach them.

    Args:
        num_codes: `K`.
        update: how codes learn.
        metric: "euclidean" or "cosine"; codes have length 1 for the latter.
        kmeans_iterations: of the start from the first training batch; 0 for a random start.
        seed: of all draws.
        purpose: sets the draws apart from those of other codebooks with this seed.
    """

    def __init__(
        self,
        num_codes: int,
        update: EMAUpdate | LossUpdate,
        *,
        metric: str,
        kmeans_iterations: int,
        seed: int,
        purpose: str,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_codes = num_codes
        self.update = update
        self.metric = metric
        self.kmeans_iterations = kmeans_iterations
        self.seed = seed
        self.purpose = purpose
        self.normalize = unit_rows if metric == "cosine" else tf.identity

    def build(self, input_shape):
        shape = (self.num_codes, input_shape[-1])
        trained = self.update.trains_codes
        self.codes = self._add_state("codes", shape, self._random_codes, trainable=trained)
        self.started = self._add_state("started", (), "zeros", dtype="bool")
        if not trained:
            # One row each: an untouched code is the mean of its rows from the start.
            self.counts = self._add_state("counts", shape[:1], "ones")
            self.sums = self._add_state("sums", shape, self._random_codes)
            self.step = add_counter(self, "step")
        self.built = True

    def _add_state(self, name, shape, initializer, *, trainable=False, dtype=None):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype=dtype or wide_dtype(self.variable_dtype).name,
            trainable=trainable,
            autocast=False,
            aggregation="mean" if trainable else "only_first_replica",
        )

    def _random_codes(self, shape, dtype=None):
        """Uniform on [-1, 1]^D."""
        seed = seed_of(self.seed, f"{self.purpose} codes")
        return self.normalize(2.0 * uniform(shape, seed, dtype=dtype or tf.float32) - 1.0)

    def embeddings(self) -> tf.Tensor:
        """The codes as they are compared and handed out, `[K, D]`."""
        return self.normalize(tf.convert_to_tensor(self.codes.value))

    def assign(self, x: tf.Tensor, *, training: bool, kept=True, starts: bool = True, learns: bool = True) -> Assigned:
        """The nearest code of each row `[M, D]` in the codebook as it stands; while training, it learns afterwards.

        A codebook whose `trainable` is false neither starts nor learns.

        Args:
            x: `[M, D]`, in the codebook's dtype.
            training: whether the codebook starts and learns from these rows.
            kept: bool `[]`, whether it may.
            starts: whether it may start from them.
            learns: whether it learns from them here, and not in a later call of `learn`.
        """
        training = training and self.trainable
        rows = self.normalize(x)
        values = tf.stop_gradient(rows)
        valid = tf.math.is_finite(tf.reduce_sum(values, axis=-1)) & kept
        if training and starts and self.kmeans_iterations:
            on_global_batch(self._start, values, valid, tf.math.count_nonzero(valid))
        codes = self.embeddings()
        index = nearest_code(values, codes, metric=self.metric)
        learned = tf.where(valid, index, -1)
        if training and learns:
            self.learn(values, learned)
        return Assigned(rows, gather_codes(codes, index), index, learned)

    def learn(self, rows, index) -> None:
        """One update of the averages from rows `[M, D]` and their codes `[M]`; those of index -1 count for nothing."""
        if isinstance(self.update, EMAUpdate):
            on_global_batch(
                functools.partial(self._learn, self.update), rows, index, code_statistics(rows, index, self.num_codes)
            )

    def _start(self, batch, rows, valid, num_valid) -> None:
        started = tf.convert_to_tensor(self.started.value)
        num_valid = batch.total(num_valid)
        codes = tf.convert_to_tensor(self.codes.value)
        ones = tf.ones([self.num_codes], codes.dtype)

        def from_data():
            seed = seed_of(self.seed, f"{self.purpose} start")
            found, counts = kmeans(
                batch.gather(rows),
                batch.gather(valid),
                self.num_codes,
                seed,
                iterations=self.kmeans_iterations,
                metric=self.metric,
            )
            return found, tf.maximum(counts, ones)

        starts = ~started & (num_valid > 0)
        counts = ones if self.update.trains_codes else tf.convert_to_tensor(self.counts.value)
        codes, counts = tf.cond(starts, from_data, lambda: (codes, counts))
        self.codes.assign(codes)
        if not self.update.trains_codes:
            sums = tf.convert_to_tensor(self.sums.value)
            self.counts.assign(counts)
            self.sums.assign(tf.where(starts, counts[:, None] * codes, sums))
        self.started.assign(started | starts)

    def _learn(self, update: EMAUpdate, batch, rows, index, statistics) -> None:
        statistics = CodeStatistics(*map(batch.total, statistics))
        state = CodebookState(*(tf.convert_to_tensor(v.value) for v in (self.codes, self.counts, self.sums)))
        state = update.moved(state, statistics)
        has_rows = (statistics.counts > 0.0)[:, None]
        state = state._replace(codes=tf.where(has_rows, self.normalize(state.codes), state.codes))
        if update.restart_threshold:
            state = self._restarted(update, state, tf.reduce_sum(statistics.counts) > 0.0, batch, rows, index)
        self.codes.assign(state.codes)
        self.counts.assign(state.counts)
        self.sums.assign(state.sums)
        self.step.assign_add(1)

    def _restarted(self, update, state, any_rows, batch, rows, index) -> CodebookState:
        """The state with its dead codes at random rows; one that drew a row to leave out waits for the next batch."""
        dead = update.dead(state.counts)

        def from_rows():
            all_rows, usable = batch.gather(rows), batch.gather(index) >= 0
            count = tf.shape(all_rows)[0]
            draws = uniform([self.num_codes], step_seed(self.seed, self.step.value, f"{self.purpose} restart"))
            drawn = tf.minimum(tf.cast(draws * tf.cast(count, draws.dtype), tf.int32), count - 1)
            return update.restarted(state, dead & tf.gather(usable, drawn), tf.gather(all_rows, drawn))

        return CodebookState(*tf.cond(any_rows & tf.reduce_any(dead), from_rows, lambda: state))
