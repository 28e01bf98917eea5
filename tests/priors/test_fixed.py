import numpy as np
import pytest

from tfdiscrete import InputError
from tfdiscrete.priors import Fixed


def test_nothing_is_trained():
    prior = Fixed()
    prior.build((2, 3))
    assert prior.weights == []


@pytest.mark.parametrize(
    "probabilities",
    [[0.2, 0.5, 0.3], [[0.2, 0.5, 0.3]], [[0.2, 0.5, 0.3]] * 2, np.array([0.2, 0.5, 0.3], "float32")],
    ids=["row", "one row", "all rows", "array"],
)
def test_probabilities_broadcast_to_all_variables(probabilities):
    prior = Fixed(probabilities)
    prior.build((2, 3))
    np.testing.assert_allclose(prior.distribution().mean(), [[0.2, 0.5, 0.3]] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    "probabilities", [[0.5, 0.6], [0.5, 0.4], [1.0, 0.0], [1.5, -0.5], [[0.5, 0.5], [0.1, 0.8]], [np.nan, 1.0]]
)
def test_probabilities_that_are_not_positive_or_do_not_sum_to_one_are_refused(probabilities):
    with pytest.raises(InputError, match=r"must be positive and sum to 1 along the last axis\. Received: \["):
        Fixed(probabilities)


@pytest.mark.parametrize("probabilities", [[0.5, 0.5], [[0.2, 0.5, 0.3]] * 3, [[[0.2, 0.5, 0.3]]]])
def test_probabilities_of_another_shape_than_the_code_s_are_refused(probabilities):
    prior = Fixed(probabilities)
    with pytest.raises(InputError, match=r"must broadcast to \[N, K\] = \(2, 3\)\. Received: shape \("):
        prior.build((2, 3))
