import numpy as np
import pytest

from tfdiscrete.errors import InputError
from tfdiscrete.training import digit_attributes
from tfdiscrete.training.data import Split

X = np.random.default_rng(0).random((1000, 2, 2), np.float32)
DIGITS = Split(X, np.arange(1000) % 10)


def test_digits_have_three_attributes_and_half_are_inverted():
    x, y = digit_attributes(DIGITS, seed=0)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(y[:10, 0], [1, 0, 1, 0, 1, 0, 1, 0, 1, 0])
    np.testing.assert_array_equal(y[:10, 1], [0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    inverted = y[:, 2] == 1
    assert 430 < inverted.sum() < 570  # 4.4 standard deviations
    np.testing.assert_array_equal(x[~inverted], X[~inverted])
    np.testing.assert_array_equal(x[inverted], 1.0 - X[inverted])


def test_the_seed_says_what_is_inverted():
    first, again, other = (digit_attributes(DIGITS, seed=seed).y[:, 2] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("y", [None, np.arange(1000)])
def test_classes_that_are_no_digits_are_refused(y):
    with pytest.raises(InputError, match="those of the digits 0 to 9"):
        digit_attributes(Split(X, y), seed=0)
