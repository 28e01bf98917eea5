import numpy as np
import pytest
import scipy.special
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import InputError
from tfdiscrete.distributions import GumbelSoftmax
from tfdiscrete.distributions.kl import categorical_kl, refuse_kl

tfd = tfp.distributions


def test_categorical_kl_is_that_of_scipy_and_broadcasts():
    rng = np.random.default_rng(0)
    log_q = scipy.special.log_softmax(rng.normal(size=(4, 3)), axis=-1)
    log_p = scipy.special.log_softmax(rng.normal(size=3))
    expected = scipy.special.rel_entr(np.exp(log_q), np.exp(log_p)).sum(-1)
    np.testing.assert_allclose(categorical_kl(tf.constant(log_q), tf.constant(log_p)), expected, rtol=1e-12)


def test_an_impossible_category_of_q_counts_as_zero_and_one_of_p_as_infinity():
    log_half = np.log([0.5, 0.5])
    certain = np.array([0.0, -np.inf])
    assert float(categorical_kl(tf.constant(certain), tf.constant(certain))) == 0.0
    assert float(categorical_kl(tf.constant(certain), tf.constant(log_half))) == pytest.approx(np.log(2))
    assert float(categorical_kl(tf.constant(log_half), tf.constant(certain))) == np.inf


def test_a_refused_kl_says_what_to_use_in_its_place():
    class Mine(tfd.Normal):
        pass

    refuse_kl(Mine, Mine, "Use another.")
    with pytest.raises(InputError, match=r"KL\(Mine \|\| Mine\) has no closed form\. Use another\."):
        Mine(0.0, 1.0).kl_divergence(Mine(0.0, 1.0))


def test_kl_of_relaxed_one_hot_variables_is_refused_with_what_works():
    q, p = GumbelSoftmax(0.5, tf.zeros([3])), GumbelSoftmax(0.8, tf.ones([3]))
    with pytest.raises(InputError, match=r"no closed form.*sample_log.*ProductCategorical.*gives no bound"):
        tfd.kl_divergence(q, p)
