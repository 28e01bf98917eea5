"""The loss of partly known labels, with the cost of each label in a table."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfdiscrete import InputError, estimators
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import DirectArgMax, ScoreFunction
from tfdiscrete.objectives import CrossEntropy, TaskLoss, semi_supervised_loss, supervision
from tfdiscrete.objectives.supervision import Labels
from tfdiscrete.priors import Fixed, Learned

LOGITS = np.array([0.5, -0.4, 0.2, -0.1])
TABLE = np.array([1.0, 3.0, 0.5, 2.0])
K = len(TABLE)
EYE = np.eye(K)


def gradient_of(estimator, supervision, y, *, copies=1, logits=LOGITS, seed=(3, 4), prior=None):
    """The gradient with respect to the logits of each of `copies` examples with label `y`, `[copies, K]`."""
    if prior is None:
        prior = Fixed()
        prior.build((1, K))
    parameters = tf.Variable(np.tile(logits, (copies, 1, 1)), dtype=tf.float32)
    table = tf.constant(TABLE, tf.float32)
    with tf.GradientTape() as tape:
        result = semi_supervised_loss(
            ProductCategorical(parameters.value()),
            prior,
            lambda z: tf.reduce_sum(z * table, axis=[-2, -1]),
            estimators.get(estimator),
            Labels.from_integers(tf.fill([copies, 1], y), K),
            supervision,
            seed=tf.constant(seed),
        )
        loss = tf.reduce_sum(result.loss)
    gradient = tape.gradient(loss, parameters)
    return np.zeros((copies, K)) if gradient is None else gradient.numpy()[:, 0].astype(np.float64)


def tangent(costs):
    """The gradient of the expected cost with respect to the logits."""
    pi = scipy.special.softmax(LOGITS)
    return pi * (costs - pi @ costs)


def rate_gradient():
    return tangent(np.log(scipy.special.softmax(LOGITS) * K))


UNBIASED = ["enumeration", "rao_blackwell", "rebar", "relax", "score_function", "unordered_set"]


@pytest.mark.parametrize("estimator", UNBIASED)
def test_of_unknown_labels_unbiased_estimators_have_the_gradient_of_the_sum_over_all(estimator):
    gradients = gradient_of(estimator, CrossEntropy(3.0), -1, copies=20_000)
    error = gradients.std(0) / np.sqrt(len(gradients))
    np.testing.assert_array_less(np.abs(gradients.mean(0) - tangent(TABLE) - rate_gradient()), 4.5 * error + 1e-5)


@pytest.mark.parametrize("estimator", UNBIASED)
def test_the_task_loss_is_part_of_the_expected_cost(estimator):
    gradients = gradient_of(estimator, TaskLoss(3.0), 2, copies=20_000)
    error = gradients.std(0) / np.sqrt(len(gradients))
    expected = tangent(TABLE + 3.0 * (1.0 - EYE[2])) + rate_gradient()
    np.testing.assert_array_less(np.abs(gradients.mean(0) - expected), 4.5 * error + 1e-5)


@pytest.mark.parametrize("estimator", ["direct_arg_max", "gumbel_softmax", ScoreFunction("none"), *UNBIASED], ids=str)
def test_the_cross_entropy_of_a_known_label_has_no_noise_of_any_estimator(estimator):
    gradient = gradient_of(estimator, CrossEntropy(3.0), 2)
    np.testing.assert_allclose(gradient[0], 3.0 * (scipy.special.softmax(LOGITS) - EYE[2]), atol=1e-5)


def test_direct_arg_max_steps_from_the_sampled_to_the_true_label_under_the_task_loss():
    epsilon, copies = 0.05, 20_000
    gradients = gradient_of(DirectArgMax(epsilon, sign=-1), TaskLoss(1e5), 2, copies=copies)
    steps = epsilon * (gradients - rate_gradient())
    # A code minus the true one, whatever was sampled.
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert (np.round(steps + EYE[2]).sum(-1) == 1.0).all()
    error = steps.std(0) / np.sqrt(copies)
    expected = scipy.special.softmax(LOGITS) - EYE[2]
    np.testing.assert_array_less(np.abs(steps.mean(0) - expected), 4.5 * error + 1e-4)


def test_the_prior_of_a_known_label_is_trained_towards_it():
    prior = Learned()
    prior.build((1, K))
    with tf.GradientTape() as tape:
        loss = semi_supervised_loss(
            ProductCategorical(tf.constant(LOGITS[None, None], tf.float32)),
            prior,
            lambda z: tf.zeros(tf.shape(z)[:2]),
            estimators.get("enumeration"),
            Labels.from_integers(tf.constant([[2]]), K),
            CrossEntropy(0.0),
            seed=tf.constant([0, 0]),
        ).loss
    assert float(loss[0]) == pytest.approx(np.log(K), rel=1e-5)
    (gradient,) = tape.gradient(loss, prior.trainable_variables)
    np.testing.assert_allclose(np.reshape(gradient, -1), 1 / K - EYE[2], atol=1e-6)


@pytest.mark.parametrize("cls", [CrossEntropy, TaskLoss])
def test_a_supervision_is_serialized_with_its_weight(cls):
    config = keras.saving.serialize_keras_object(cls(2.5))
    assert keras.saving.deserialize_keras_object(config).weight == 2.5


def test_a_weight_below_0_a_class_and_an_unknown_name_are_refused():
    with pytest.raises(InputError, match="weight must be a finite number of at least 0. Received: weight=-1"):
        CrossEntropy(-1)
    with pytest.raises(InputError, match=r"pass a supervision, TaskLoss\(...\)"):
        supervision.get(TaskLoss)
    with pytest.raises(InputError, match="unknown supervision 'task'. Did you mean 'task_loss'"):
        supervision.get("task")
