import numpy as np
import tensorflow as tf

from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.priors import Learned


def test_logits_are_the_only_weight_and_are_trained():
    prior = Learned()
    prior.build((2, 3))
    assert [weight.shape for weight in prior.trainable_weights] == [(2, 3)]
    assert len(prior.weights) == 1


def test_descent_on_the_kl_finds_the_mean_of_the_posteriors():
    logits = np.random.default_rng(0).normal(size=(50, 2, 3)).astype("float32")
    q, prior = ProductCategorical(logits), Learned()
    prior.build((2, 3))
    for _ in range(300):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(prior.kl_divergence(q))
        logits = prior.trainable_variables[0]
        logits.assign_sub(2.0 * tape.gradient(loss, logits.value))
    np.testing.assert_allclose(prior.distribution().mean(), tf.reduce_mean(q.mean(), axis=0), atol=1e-5)
