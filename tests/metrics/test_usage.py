import numpy as np
import pytest

from tfdiscrete.metrics import active_latents, active_units, codes_used, distinct_codes, latent_usage

# Four examples, three variables of two categories: certain and dependent on x, certain and constant, nearly constant.
PROBABILITIES = np.array(
    [
        [[1.0, 0.0], [1.0, 0.0], [0.50, 0.50]],
        [[0.0, 1.0], [1.0, 0.0], [0.55, 0.45]],
        [[1.0, 0.0], [1.0, 0.0], [0.50, 0.50]],
        [[0.0, 1.0], [1.0, 0.0], [0.55, 0.45]],
    ]
)
# Summed variances by hand: 2 * 0.25, 0, and 2 * 0.025^2 = 0.00125.
INDEX = np.array([[0, 0, 2], [1, 0, 2], [0, 0, 1], [1, 0, 2]])


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(0.6, [False] * 3), (0.01, [True, False, False]), (0.0012, [True, False, True]), (0.0013, [True, False, False])],
)
def test_active_variables_are_those_whose_summed_variance_exceeds_the_threshold(threshold, expected):
    np.testing.assert_array_equal(active_latents(PROBABILITIES, threshold=threshold), expected)
    assert active_units(PROBABILITIES, threshold=threshold) == sum(expected)


def test_threshold_is_the_hundredth_of_the_source_by_default():
    assert active_units(PROBABILITIES) == 1
    assert active_units(np.repeat(PROBABILITIES, 3, axis=0)) == 1


def test_variance_is_taken_in_float64_whatever_comes_in():
    constant = np.full((100_000, 1, 1), 1 / 3, "float16")
    assert active_units(constant, threshold=1e-12) == 0


def test_usage_is_the_fraction_of_examples_in_each_category():
    expected = [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.25, 0.75]]
    np.testing.assert_array_equal(latent_usage(INDEX, 3), expected)
    np.testing.assert_array_equal(latent_usage(INDEX, 4), np.pad(expected, [(0, 0), (0, 1)]))


def test_used_codes_are_the_pairs_that_some_example_has():
    assert codes_used(INDEX, 3) == 5
    assert codes_used(INDEX[:1], 3) == 3


def test_distinct_codes_are_the_different_rows():
    assert distinct_codes(INDEX) == 3
    assert distinct_codes(INDEX[:1]) == 1
    assert distinct_codes([[0, 1], [1, 0], [0, 1]]) == 2
