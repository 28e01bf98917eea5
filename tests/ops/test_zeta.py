import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete.ops.zeta import log_hurwitz_zeta


@pytest.mark.parametrize("q", [1.0, 2.0, 7.0, 50.0, 4000.0])
@pytest.mark.parametrize("s", [1.001, 1.5, 2.5, 7.0, 30.0])
def test_it_is_the_log_of_scipy_s_zeta(s, q):
    log_zeta = log_hurwitz_zeta(tf.constant(s, tf.float64), q)
    np.testing.assert_allclose(log_zeta, np.log(scipy.special.zeta(s, q)), rtol=1e-13, atol=1e-14)


def test_it_does_not_underflow():
    s = tf.constant([50.0, 100.0, 300.0], tf.float64)
    leading = -s * np.log(4000.0) + np.log(4000.0 / (s - 1.0) + 0.5)
    np.testing.assert_allclose(log_hurwitz_zeta(s, 4000.0), leading, rtol=1e-5)


@pytest.mark.parametrize("q", [1.0, 5.0, 100.0])
def test_gradient_with_respect_to_s_is_the_finite_difference(q):
    s, step = tf.constant([1.2, 2.5, 9.0], tf.float64), 1e-5
    with tf.GradientTape() as tape:
        tape.watch(s)
        log_zeta = log_hurwitz_zeta(s, q)
    difference = (log_hurwitz_zeta(s + step, q) - log_hurwitz_zeta(s - step, q)) / (2 * step)
    np.testing.assert_allclose(tape.gradient(log_zeta, s), difference, rtol=1e-7)
