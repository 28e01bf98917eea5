"""No example of a batch is lost or seen twice, however it is divided."""

import numpy as np
import pytest
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete.ops.shares import Shares, WorkerBatch


class Worker(Shares):
    """One of several workers with as many replicas each."""

    def __init__(self, index, workers, replicas_each):
        self._count = workers * replicas_each
        self._first, self._end = index * replicas_each, (index + 1) * replicas_each


@pytest.mark.parametrize(("workers", "replicas_each"), [(1, 1), (2, 1), (3, 1), (2, 4)])
def test_the_workers_in_their_order_read_the_whole_batch_in_its_order(workers, replicas_each):
    for size in range(20):
        rows = tf.range(size) + 100
        parts = [Worker(i, workers, replicas_each).of_worker(rows) for i in range(workers)]
        np.testing.assert_array_equal(np.concatenate([part.rows for part in parts]), rows)
        assert {int(part.size) for part in parts} == {size}
        lengths = [len(part.rows) for part in parts]
        assert max(lengths) - min(lengths) <= replicas_each


@pytest.mark.parametrize("size", [0, 1, 2, 5, 8])
def test_the_replicas_in_their_order_hold_the_batch_and_differ_by_a_row_at_most(size):
    strategy = two_replicas()
    shares = Shares(strategy)
    x, y = np.arange(2.0 * size).reshape(size, 2), np.arange(size)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float64), tf.TensorSpec([None], tf.int64)])
    def divided(x, y):
        parts = shares.of_replicas(shares.of_worker((x, y)))
        return [strategy.experimental_local_results(part) for part in parts]

    of_x, of_y = divided(x, y)
    np.testing.assert_array_equal(np.concatenate(of_x), x)
    np.testing.assert_array_equal(np.concatenate(of_y), y)
    assert abs(len(of_x[0]) - len(of_x[1])) <= 1


@pytest.mark.parametrize("in_scope", [False, True])
def test_a_worker_reads_as_many_batches_as_there_are_each_time_it_begins(in_scope):
    strategy = two_replicas()
    with strategy.scope() if in_scope else tf.name_scope("none"):
        read = Shares(strategy).read(tf.data.Dataset.range(7).batch(3))
        assert int(read.cardinality()) == 3
        for _ in range(2):
            batches = list(read)
            assert all(isinstance(batch, WorkerBatch) for batch in batches)
            assert [int(batch.size) for batch in batches] == [3, 3, 1]
            assert np.concatenate([batch.rows for batch in batches]).tolist() == list(range(7))


def test_a_reader_of_rows_is_asked_for_those_of_its_worker_alone():
    x = tf.range(10) * 10
    read = Worker(1, 2, 1).read(tf.data.Dataset.range(10).batch(5), lambda index: tf.gather(x, index))
    assert [batch.rows.numpy().tolist() for batch in read] == [[20, 30, 40], [70, 80, 90]]
    asked = Worker(1, 2, 1).read(tf.data.Dataset.range(10).batch(5), lambda index: index)
    assert [batch.rows.numpy().tolist() for batch in asked] == [[2, 3, 4], [7, 8, 9]]
