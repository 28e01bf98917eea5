import keras
import numpy as np
import pytest

from tfdiscrete.errors import InputError
from tfdiscrete.training import ExponentialAnnealing


def test_the_value_decays_in_stairs_to_its_floor():
    schedule = ExponentialAnnealing(1.0, rate=1e-3, minimum=0.3, every=100)
    steps = np.array([0, 99, 100, 250, 1000, 1203, 10**6])
    expected = [1.0, 1.0, np.exp(-0.1), np.exp(-0.2), np.exp(-1.0), np.exp(-1.2), 0.3]
    np.testing.assert_allclose([schedule(step).numpy() for step in steps], expected, rtol=1e-6)


def test_it_survives_serialization():
    schedule = ExponentialAnnealing(2.0, rate=0.01, minimum=0.5, every=7)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert again.get_config() == schedule.get_config()
    assert float(again(20)) == float(schedule(20)) != 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": -1.0, "minimum": 0.1}, "rate must be"),
        ({"rate": float("nan"), "minimum": 0.1}, "rate must be"),
        ({"rate": 0.1, "minimum": 2.0}, "minimum must be at most initial=1.0"),
        ({"rate": 0.1, "minimum": 0.0}, "minimum must be a positive"),
        ({"rate": 0.1, "minimum": 0.1, "every": 0}, "every must be"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ExponentialAnnealing(1.0, **options)
