import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.distributions import ProductBernoulli, ProductCategorical
from tfdiscrete.objectives.codes import codes_at, count_codes


def test_numbers_are_the_codes_in_the_order_of_their_digits():
    q = ProductCategorical(tf.zeros([4, 2, 3]))
    expected = np.eye(3)[list(itertools.product(range(3), repeat=2))]
    found = codes_at(q, tf.range(9), tf.float32)
    np.testing.assert_array_equal(found, np.broadcast_to(expected[:, None], (9, 4, 2, 3)))
    np.testing.assert_array_equal(codes_at(q, tf.constant([5, 0]), tf.float64)[:, 1], expected[[5, 0]])


def test_codes_are_decoded():
    found = codes_at(ProductBernoulli(tf.zeros([1, 3])), tf.range(8), tf.float32)[:, 0]
    np.testing.assert_array_equal(found, list(itertools.product((0, 1), repeat=3)))


def test_as_many_codes_as_are_allowed_are_counted_and_one_more_refused():
    q = ProductCategorical(tf.zeros([4, 2, 3]))
    assert count_codes(q, 9) == 9
    with pytest.raises(InputError, match=r"3\^2 = 10\^1\.0 codes, more than max_codes=8"):
        count_codes(q, 8)
