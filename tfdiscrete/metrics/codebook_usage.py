"""How many codes of a codebook are in use, counted over an epoch.

perplexity = exp(-sum_k p_k log p_k),    usage = |{k: p_k > 0}| / K,    p_k the fraction of indices that are k
"""

import abc

import keras
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count


class CodeCounts(keras.metrics.Metric, abc.ABC):
    """Base of the metrics of code indices: exact counts since the last reset, whatever the batches.

    The counts are int64, and those of the replicas of a `tf.distribute` strategy are added up.

    Args:
        num_codes: `K`.
        num_books: None where all indices are of one codebook, else `G`: the last axis of an index holds one of each.
        name: of the metric.
    """

    def __init__(self, num_codes: int, num_books: int | None = None, *, name: str | None = None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_codes = check_count("num_codes", num_codes)
        self.num_books = None if num_books is None else check_count("num_books", num_books)
        books = self.num_books or 1
        self.counts = self.add_variable((books, self.num_codes), "zeros", dtype="int64", name="counts")
        self.refused = self.add_variable((), "zeros", dtype="int64", name="refused")

    def update_state(self, index) -> None:
        """Counts integers `[...]`, or `[..., G]` of `num_books=G`; negative ones, of masked inputs say, are left out.

        In a graph, where nothing can be raised on every device, an index of `num_codes` or more makes results NaN.

        Raises:
            InputError: for numbers that are not integers or another shape, and eagerly for an index out of range.
        """
        index = tf.convert_to_tensor(index)
        if not index.dtype.is_integer:
            raise InputError(f"the index must be integers. Received: dtype {index.dtype.name}.")
        if self.num_books is not None and (index.shape.rank == 0 or index.shape[-1] != self.num_books):
            raise InputError(f"the index must have shape [..., {self.num_books}]. Received: shape {index.shape}.")
        books = self.num_books or 1
        index = tf.reshape(tf.cast(index, tf.int64), [-1, books])
        too_large = index >= self.num_codes
        if tf.executing_eagerly() and bool(tf.reduce_any(too_large)):
            raise InputError(f"the index must be below {self.num_codes}. Received: {int(tf.reduce_max(index))}.")
        place = index + self.num_codes * tf.range(books, dtype=tf.int64)
        place = tf.reshape(tf.where((index >= 0) & ~too_large, place, -1), [-1])
        counts = tf.math.unsorted_segment_sum(tf.ones_like(place, tf.int32), place, books * self.num_codes)
        self.counts.assign_add(tf.cast(tf.reshape(counts, [books, self.num_codes]), tf.int64))
        self.refused.assign_add(tf.reduce_sum(tf.cast(too_large, tf.int64)))

    def per_book(self) -> tf.Tensor:
        """The figure of each codebook, `[G]`; NaN for one of which nothing was counted."""
        counts = tf.cast(tf.convert_to_tensor(self.counts.value), tf.float64)
        counted = tf.reduce_sum(counts, axis=-1) > 0.0
        known = counted & (tf.convert_to_tensor(self.refused.value) == 0)
        return tf.cast(tf.where(known, self._figure(counts), float("nan")), self.dtype)

    def _averaged(self, values: tf.Tensor, otherwise: float) -> tf.Tensor:
        """The mean over the codebooks that were counted, `[G]` to `[]`; another number if none was."""
        counted = tf.reduce_any(tf.convert_to_tensor(self.counts.value) > 0, axis=-1)
        number = tf.math.count_nonzero(counted, dtype=values.dtype)
        mean = tf.math.divide_no_nan(tf.reduce_sum(tf.where(counted, values, tf.zeros_like(values))), number)
        mean = tf.where(number > 0.0, mean, tf.constant(otherwise, values.dtype))
        nan = tf.constant(float("nan"), values.dtype)
        return tf.where(tf.convert_to_tensor(self.refused.value) == 0, mean, nan)

    @abc.abstractmethod
    def _figure(self, counts: tf.Tensor) -> tf.Tensor:
        """Of float64 counts `[G, K]`, `[G]`; any number for a row of zeros."""

    def get_config(self):
        return {**super().get_config(), "num_codes": self.num_codes, "num_books": self.num_books}


@keras.saving.register_keras_serializable(package="tfdiscrete.metrics")
class CodebookPerplexity(CodeCounts):
    """The perplexity of code indices over an epoch: from 1, for one code alone, to `num_codes`, for equal use.

    Of several codebooks, the geometric mean of the perplexities of those that were counted, as quantizing layers
    report it; `per_book()` gives each. It is 1 where nothing was counted.

    Example:

        perplexity = CodebookPerplexity(512)
        perplexity.update_state([[3, 3], [7, 7]])
        perplexity.result()     # 2

    Arguments as for `CodeCounts`.
    """

    def __init__(self, num_codes, num_books=None, *, name="codebook_perplexity", dtype=None):
        super().__init__(num_codes, num_books, name=name, dtype=dtype)

    def result(self):
        return tf.exp(self._averaged(tf.math.log(self.per_book()), 0.0))

    def _figure(self, counts):
        p = tf.math.divide_no_nan(counts, tf.reduce_sum(counts, axis=-1, keepdims=True))
        return tf.exp(-tf.reduce_sum(tf.math.xlogy(p, p), axis=-1))


@keras.saving.register_keras_serializable(package="tfdiscrete.metrics")
class CodebookUsage(CodeCounts):
    """The fraction of a codebook's codes that some index of the epoch was: from 0 to 1.

    Of several codebooks, the mean over those that were counted; `per_book()` gives each. It is 0 where nothing was
    counted.

    Example:

        usage = CodebookUsage(512)
        usage.update_state([[3, 3], [7, 7]])
        usage.result()      # 2 / 512

    Arguments as for `CodeCounts`.
    """

    def __init__(self, num_codes, num_books=None, *, name="codebook_usage", dtype=None):
        super().__init__(num_codes, num_books, name=name, dtype=dtype)

    def result(self):
        return self._averaged(self.per_book(), 0.0)

    def _figure(self, counts):
        return tf.math.count_nonzero(counts, axis=-1, dtype=counts.dtype) / self.num_codes
