import math

import numpy as np
import pytest
import tensorflow as tf

import tfdiscrete
from tfdiscrete.errors import InputError, check_count, check_name, check_positive, unknown_name

COLOURS = ("yellow", "red", "green")


def test_input_error_is_the_package_s_own_value_error():
    assert issubclass(InputError, ValueError)
    assert tfdiscrete.InputError is InputError


@pytest.mark.parametrize("jit_compile", [False, True])
def test_input_error_keeps_its_type_and_message_under_tf_function(jit_compile):
    @tf.function(jit_compile=jit_compile)
    def traced():
        raise InputError("mend this")

    with pytest.raises(InputError, match=r"^mend this$"):
        traced()


def test_unknown_name_lists_all_names_in_order_and_the_nearest():
    message = str(unknown_name("colour", "gren", COLOURS))
    assert message == "unknown colour 'gren'. Did you mean 'green'? Known: green, red, yellow."


def test_unknown_name_far_from_all_names_gets_no_hint():
    assert str(unknown_name("colour", "###", COLOURS)) == "unknown colour '###'. Known: green, red, yellow."


@pytest.mark.parametrize("received", [None, 3, ["red"]])
def test_unknown_name_takes_what_is_not_a_string(received):
    assert repr(received) in str(unknown_name("colour", received, COLOURS))


def test_check_name_returns_a_known_name_and_takes_an_iterator():
    assert check_name("colour", "red", iter(COLOURS)) == "red"


def test_check_name_refuses_an_unknown_name_and_names_the_nearest_even_from_an_iterator():
    with pytest.raises(InputError, match=r"unknown colour 'redd'\. Did you mean 'red'"):
        check_name("colour", "redd", iter(COLOURS))


@pytest.mark.parametrize("value", [1, 1e-300, 0.5, 1e300])
def test_check_positive_returns_positive_numbers_unchanged(value):
    assert check_positive("rate", value) is value


@pytest.mark.parametrize("value", [0, 0.0, -1.0, math.nan, math.inf, -math.inf, True, "1", None, [1.0]])
def test_check_positive_refuses_everything_else_and_says_what_it_received(value):
    with pytest.raises(InputError, match=r"rate must be a positive finite number\. Received: rate=") as raised:
        check_positive("rate", value)
    assert repr(value) in str(raised.value)


@pytest.mark.parametrize(("value", "minimum"), [(1, 1), (7, 1), (2, 2), (0, 0), (2**31 - 1, 1)])
def test_check_count_returns_integers_from_the_minimum_on(value, minimum):
    assert check_count("size", value, minimum) is value


@pytest.mark.parametrize(
    ("value", "minimum"), [(0, 1), (-1, 1), (1, 2), (1.0, 1), (True, 1), ("1", 1), (None, 1), (math.nan, 1)]
)
def test_check_count_refuses_everything_else_and_says_what_it_received(value, minimum):
    with pytest.raises(InputError, match=f"size must be an integer of at least {minimum}. Received: size=") as raised:
        check_count("size", value, minimum)
    assert repr(value) in str(raised.value)


def test_check_count_refuses_what_no_32_bit_integer_holds():
    with pytest.raises(
        InputError, match="n must be an integer of at least 1 and at most 2147483647. Received: n=2147483648"
    ):
        check_count("n", 2**31)


@pytest.mark.parametrize("number", [np.float32(0.5), np.int64(3), np.float64(2.0)])
def test_numpys_numbers_are_taken_and_become_pythons(number):
    assert type(check_positive("x", number)) is float
    assert check_positive("x", number) == number
    assert type(check_count("n", np.int64(3))) is int
