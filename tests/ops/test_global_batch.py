import numpy as np
import pytest
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete.ops.global_batch import gathered, on_global_batch, sum_over_replicas

ROWS = np.arange(12.0, dtype="float32").reshape(6, 2)


def strategies():
    mirrored = two_replicas()
    return {"default": tf.distribute.get_strategy(), "mirrored": mirrored}


def shards(strategy):
    count = strategy.num_replicas_in_sync
    return strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(np.split(ROWS, count)[context.replica_id_in_sync_group])
    )


@pytest.mark.parametrize("name", ["default", "mirrored"])
@pytest.mark.parametrize("graph", [False, True])
def test_totals_and_rows_are_those_of_the_global_batch_inside_a_condition_too(name, graph):
    strategy = strategies()[name]
    with strategy.scope():
        total = tf.Variable(tf.zeros([2]), aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        rows = tf.Variable(tf.zeros([6, 2]), aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

    def update(batch, local_rows, local_sum):
        total.assign(batch.total(local_sum))
        rows.assign(tf.cond(total[0] > 0.0, lambda: batch.gather(local_rows), lambda: tf.zeros([6, 2])))

    def step(local):
        on_global_batch(update, local, tf.reduce_sum(local, axis=0))

    def run():
        strategy.run(step, args=(shards(strategy),))

    (tf.function(run) if graph else run)()
    for value in strategy.experimental_local_results(rows):
        np.testing.assert_array_equal(value, ROWS)
    for value in strategy.experimental_local_results(total):
        np.testing.assert_array_equal(value, ROWS.sum(axis=0))


@pytest.mark.parametrize("name", ["default", "mirrored"])
def test_the_sum_over_replicas_has_the_gradient_of_the_global_loss(name):
    strategy = strategies()[name]

    @tf.function
    def step(local):
        with tf.GradientTape() as tape:
            tape.watch(local)
            total = sum_over_replicas(tf.reduce_sum(local))
            loss = total**2 / strategy.num_replicas_in_sync
        return total, tape.gradient(loss, local)

    totals, gradients = strategy.run(step.python_function, args=(shards(strategy),))
    for total in strategy.experimental_local_results(totals):
        np.testing.assert_allclose(total, ROWS.sum())
    for gradient in strategy.experimental_local_results(gradients):
        np.testing.assert_allclose(gradient, np.full_like(gradient, 2.0 * ROWS.sum()))


@pytest.mark.parametrize("name", ["default", "mirrored"])
@pytest.mark.parametrize("dtype", ["bool", "bfloat16", "int8", "float32", "int64"])
def test_rows_of_every_type_are_gathered_in_the_order_of_the_replicas(name, dtype):
    strategy = strategies()[name]
    rows = tf.function(lambda: gathered(strategy, strategy.run(tf.cast, args=(shards(strategy), dtype))))()
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows, tf.cast(ROWS, dtype))
