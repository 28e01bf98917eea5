import keras
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete.ops.counter import add_counter


def test_a_counter_is_an_untrained_integer_that_replicas_share():
    strategy = two_replicas()
    with strategy.scope():
        layer = keras.layers.Layer(dtype="mixed_float16")
        counter = add_counter(layer, "counter")
    assert (counter.dtype, counter.shape, counter.trainable) == ("int64", (), False)
    assert layer.non_trainable_weights == [counter]
    strategy.run(tf.function(lambda: counter.assign_add(1)))
    assert [int(part) for part in strategy.experimental_local_results(counter.value)] == [1, 1]
