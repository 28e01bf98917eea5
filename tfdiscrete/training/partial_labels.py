"""Labels for some examples: a class-balanced choice of them, and batches in which they are seen often."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.errors import InputError, check_count, check_finite, check_seed
from tfdiscrete.models.labels import check_learnable
from tfdiscrete.ops import fold_in, seed_of
from tfdiscrete.ops.shares import Shares, WorkerDataset
from tfdiscrete.training.batches import finished

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def hide_labels(y: np.ndarray, num_labelled: int, *, seed: int) -> np.ndarray:
    """Keeps as many labels of each class as there are of any other, and hides the rest.

    Example:

        hide_labels(np.array([0, 0, 0, 1, 1, 1]), 2, seed=0)        # one 0 and one 1, and -1 four times

    Args:
        y: integers, `[n]`, or `[n, A]`, of which every combination is a class. Examples with a missing label, -1, are
            left as they are and not counted.
        num_labelled: how many examples keep their labels. Where classes differ in number, or this is no multiple of
            the number of classes, some get one more than others; which ones is drawn too.
        seed: of the choice.

    Returns:
        A copy of `y`, -1 where a label is hidden.

    Raises:
        InputError: for labels that are no integers, or fewer of them than asked for.
    """
    y = np.asarray(y)
    if not np.issubdtype(y.dtype, np.integer) or y.ndim not in (1, 2):
        raise InputError(f"labels must be integers, [n] or [n, A]. Received: {y.dtype} of shape {y.shape}.")
    rows = y.reshape(len(y), -1)
    complete = np.flatnonzero((rows >= 0).all(-1))
    if check_count("num_labelled", num_labelled) > len(complete):
        raise InputError(
            f"num_labelled must be at most the number of labelled examples, {len(complete)}. Received: {num_labelled}."
        )
    rng = np.random.default_rng(check_seed(seed))
    shuffled = rng.permutation(complete)
    classes, which = np.unique(rows[shuffled], axis=0, return_inverse=True)
    which = which.reshape(-1)
    # The place of each example among those of its class: all first ones are taken, then all second ones.
    place = np.empty(len(which), np.int64)
    for k in range(len(classes)):
        members = np.flatnonzero(which == k)
        place[members] = np.arange(len(members))
    order = np.lexsort((rng.permutation(len(classes))[which], place))
    kept = shuffled[order[:num_labelled]]
    hidden = np.full_like(y, -1, dtype=np.int64 if np.issubdtype(y.dtype, np.unsignedinteger) else y.dtype)
    # What was known in part stays as it was.
    partial = np.setdiff1d(np.arange(len(y)), complete)
    for index in (kept, partial):
        hidden[index] = y[index]
    return hidden


class PartiallyLabelledBatches(keras.callbacks.Callback):
    """A `tf.data.Dataset` of batches `(x, y)` of which each has labelled examples, and the callback of its epochs.

    Each batch is `labelled` examples with labels, then `unlabelled` ones of all the data, whose labels are hidden. An
    epoch passes once over all the data, but for what does not fill the last batch, and as often as it takes over the
    labelled ones. The order, and what `augment` draws, is a function of the seed and the epoch alone. Labelled examples
    alone are augmented: a classifier is not to see its few always alike, while a generative model is of the data.

    Example:

        batches = PartiallyLabelledBatches(x, hide_labels(y, 100, seed=0), labelled=20, unlabelled=100, seed=0)
        model.fit(batches.dataset, epochs=10, callbacks=[batches])

    Args:
        x: `[n, ...]`, all finite.
        y: integers `[n]` or `[n, A]`; labelled is an example of which any label is known, not -1.
        labelled: examples in a batch, at least 1.
        unlabelled: examples in a batch, at least 1 and at most `n`.
        seed: of the order.
        augment: labelled x `[labelled, ...]` and a seed, int32 `[2]`, to x of the same shape.

    Raises:
        InputError: for arrays of different lengths, values that are not finite, or labels of which none is known or all
            known ones are alike.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        *,
        labelled: int,
        unlabelled: int,
        seed: int,
        augment: Augmentation | None = None,
    ):
        super().__init__()
        check_finite(x)
        y = np.asarray(y)
        if len(x) != len(y) or not np.issubdtype(y.dtype, np.integer):
            raise InputError(
                f"x and y must have one length, and y integers. Received: {len(x)} examples and {len(y)} labels of "
                f"{y.dtype}."
            )
        check_learnable(y)
        known = np.flatnonzero((y.reshape(len(y), -1) >= 0).any(-1))
        self._epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
        counts = (check_count("labelled", labelled), check_count("unlabelled", unlabelled, maximum=len(x)))
        self.steps_per_epoch = len(x) // unlabelled
        base = seed_of(check_seed(seed), "order")
        self.dataset = self._make_dataset(x, y.astype(np.int32), known, counts, base, augment)

    def _make_dataset(self, x, y, known, counts, base, augment):
        data, labels = tf.constant(x), tf.constant(y)
        labelled, unlabelled = counts
        steps = self.steps_per_epoch
        passes = -(-steps * labelled // len(known))

        def one_epoch(_):
            seed = fold_in(base, self._epoch)
            shuffle = tf.random.experimental.stateless_shuffle
            order, again = shuffle(tf.range(len(x)), fold_in(seed, 0)), fold_in(seed, 1)
            orders = tf.map_fn(lambda i: shuffle(tf.constant(known, tf.int32), fold_in(again, i)), tf.range(passes))
            repeated = tf.reshape(orders, [-1])

            def batch(step):
                first = repeated[step * labelled : (step + 1) * labelled]
                rest = order[step * unlabelled : (step + 1) * unlabelled]
                known_x = tf.gather(data, first)
                if augment is not None:
                    known_x = tf.ensure_shape(augment(known_x, fold_in(fold_in(seed, 2), step)), known_x.shape)
                inputs = tf.concat([known_x, tf.gather(data, rest)], axis=0)
                hidden = tf.fill([unlabelled, *y.shape[1:]], -1)
                targets = tf.concat([tf.gather(labels, first), hidden], axis=0)
                size = labelled + unlabelled
                return tf.ensure_shape(inputs, [size, *x.shape[1:]]), tf.ensure_shape(targets, [size, *y.shape[1:]])

            return tf.data.Dataset.range(steps).map(batch)

        batches = tf.data.Dataset.from_tensors(0).flat_map(one_epoch)
        return finished(batches, steps)

    def shared(self, strategy: tf.distribute.Strategy) -> WorkerDataset:
        """This worker's part of the batches, as `fit` takes it under the strategy: see `ops.shares`."""
        return Shares(strategy).read(self.dataset)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch.assign(epoch)
