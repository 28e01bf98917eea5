import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.ops.temperature import (
    check_temperature,
    deserialize_temperature,
    serialize_temperature,
    temperature_at,
)

HALVING = keras.optimizers.schedules.ExponentialDecay(2.0, decay_steps=10, decay_rate=0.5)


@pytest.mark.parametrize("temperature", [1, 0.5, 1e-3, HALVING])
def test_numbers_and_schedules_pass_the_check_unchanged(temperature):
    assert check_temperature(temperature) is temperature


@pytest.mark.parametrize("temperature", [0, -1, -0.5, math.nan, math.inf, True, "1", None, [0.5], lambda step: 0.5])
def test_anything_else_is_refused(temperature):
    with pytest.raises(InputError, match=r"temperature must be a positive .* Received: temperature="):
        check_temperature(temperature)


@pytest.mark.parametrize("step", [0, 7, 1000])
def test_a_number_is_the_same_at_every_step(step):
    temperature = temperature_at(0.25, tf.constant(step, tf.int64))
    assert temperature.dtype == tf.float32
    assert float(temperature) == 0.25


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_schedule_is_evaluated_at_the_step_inside_the_graph(jit_compile):
    traced = tf.function(lambda step: temperature_at(HALVING, step), jit_compile=jit_compile)
    steps = [0, 10, 25]
    temperatures = [traced(tf.constant(step, tf.int64)) for step in steps]
    assert traced.experimental_get_tracing_count() == 1
    assert temperatures[0].dtype == tf.float32
    np.testing.assert_allclose(temperatures, [2.0 * 0.5 ** (step / 10) for step in steps], rtol=1e-6)


def test_a_number_survives_a_config():
    assert deserialize_temperature(json.loads(json.dumps(serialize_temperature(0.25)))) == 0.25


def test_a_schedule_survives_a_config():
    restored = deserialize_temperature(json.loads(json.dumps(serialize_temperature(HALVING))))
    assert isinstance(restored, keras.optimizers.schedules.ExponentialDecay)
    np.testing.assert_allclose(temperature_at(restored, 25), 2.0 * 0.5**2.5, rtol=1e-6)
