import mpmath
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete.bijectors import StickBreaking


def sticks(y):
    """The weights by the loop of their definition."""
    left, weights = np.ones(y.shape[:-1]), []
    for k in range(y.shape[-1]):
        share = scipy.special.expit(y[..., k])
        weights.append(share * left)
        left = left * (1.0 - share)
    return np.stack(weights, axis=-1), left


@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_weights_are_the_shares_of_what_is_left(dimension):
    y = np.random.default_rng(0).normal(size=(5, dimension))
    weights, left = sticks(y)
    np.testing.assert_allclose(StickBreaking().forward(y), weights, rtol=1e-12)
    np.testing.assert_allclose(1.0 - weights.sum(-1), left, rtol=1e-9)


@pytest.mark.parametrize("dimension", [1, 2, 7])
def test_log_det_is_the_sum_of_the_log_weights_and_what_each_leaves(dimension):
    y = np.random.default_rng(0).normal(size=(5, dimension))
    weights, _ = sticks(y)
    expected = np.sum(np.log(weights) + np.log(1.0 - scipy.special.expit(y)), axis=-1)
    np.testing.assert_allclose(StickBreaking().forward_log_det_jacobian(y), expected, rtol=1e-12)


def test_weights_and_log_det_by_hand():
    np.testing.assert_allclose(StickBreaking().forward(np.zeros(3)), [0.5, 0.25, 0.125])
    # 1/2 1/2, 1/4 1/2, 1/8 1/2
    np.testing.assert_allclose(StickBreaking().forward_log_det_jacobian(np.zeros(3)), -9 * np.log(2.0))
    np.testing.assert_allclose(StickBreaking().inverse(np.array([0.2, 0.2])), np.log([0.2 / 0.8, 0.2 / 0.6]))


@pytest.mark.parametrize("y", [[30.0, -30.0, 5.0], [-200.0, 3.0, -300.0], [10.0, 10.0, 10.0]])
def test_weights_of_extreme_shares_are_those_of_many_digits(y):
    with mpmath.workdps(400):
        left, weights, log_det = mpmath.mpf(1), [], mpmath.mpf(0)
        for value in y:
            share = 1 / (1 + mpmath.exp(-mpmath.mpf(value)))
            weights.append(share * left)
            left *= 1 - share
            log_det += mpmath.log(weights[-1]) + mpmath.log(1 - share)
        weights, log_det = [float(weight) for weight in weights], float(log_det)
    np.testing.assert_allclose(StickBreaking().forward(np.array(y)), weights, rtol=1e-12)
    np.testing.assert_allclose(StickBreaking().forward_log_det_jacobian(np.array(y)), log_det, rtol=1e-12)


def test_weights_sum_to_less_than_one_and_decide_the_shares_of_those_before():
    y = np.random.default_rng(0).normal(size=(50, 6))
    weights = StickBreaking().forward(y).numpy()
    assert (weights > 0).all()
    assert (weights.sum(-1) < 1).all()
    np.testing.assert_allclose(StickBreaking().forward(y[:, :4]), weights[:, :4], rtol=1e-12)


@pytest.mark.parametrize("outside", [[0.6, 0.6], [0.5, -0.1], [1.5, -0.7], [-0.2, 0.3]])
def test_inverse_is_nan_outside_of_the_image(outside):
    assert np.isnan(StickBreaking().inverse(np.array(outside))).any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_result_has_the_dtype_of_the_argument(dtype):
    y = tf.zeros([2, 3], dtype)
    assert StickBreaking().forward(y).dtype == StickBreaking().forward_log_det_jacobian(y).dtype == dtype
