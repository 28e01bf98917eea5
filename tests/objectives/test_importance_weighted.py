"""L_S as it is trained: its value, and VIMCO's gradient against a sum over all S-tuples of codes."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.conftest import assert_mean_is
from tfdiscrete import InputError, estimators
from tfdiscrete.distributions import ProductCategorical, ProductInvertibleGaussian
from tfdiscrete.objectives import ImportanceWeighted, discrete_bounds
from tfdiscrete.objectives.importance_weighted import negative_log_mean_exp

SEED = [1, 2]
ANY_REDUCE = ["gumbel_softmax", "reinmax", "straight_through", "straight_through_gumbel_softmax", "vimco"]
LOGITS, PRIOR_LOGITS, LOG_P_X = np.array([0.4, -0.9, 0.1]), np.array([0.0, 0.5, -0.4]), np.array([-0.3, -2.0, 0.8])


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum())


def bound_over_all_tuples(samples, logits, prior_logits, log_p_x):
    """L_S of one variable of three categories, in NumPy, of complex numbers too."""
    log_q = log_softmax(logits)
    log_weight = log_p_x + log_softmax(prior_logits) - log_q
    tuples = np.array(list(itertools.product(range(3), repeat=samples))).T
    return np.sum(np.exp(log_q[tuples].sum(0)) * np.log(np.exp(log_weight[tuples]).mean(0)))


def gradient_over_all_tuples(samples):
    """With respect to the posterior's, the prior's and the likelihood's parameters, by complex steps."""
    gradient = []
    for which, index in itertools.product(range(3), range(3)):
        arguments = [LOGITS.astype(complex), PRIOR_LOGITS.astype(complex), LOG_P_X.astype(complex)]
        arguments[which][index] += 1e-30j
        gradient.append(bound_over_all_tuples(samples, *arguments).imag / 1e-30)
    return np.array(gradient)


class TinyPrior:
    has_analytic_kl = False

    def __init__(self, logits):
        self.logits = logits

    def log_prob(self, z):
        return tf.reduce_sum(z * tf.nn.log_softmax(self.logits)[:, tf.newaxis], axis=[-2, -1])


def loss_and_gradient(estimator, stop=lambda logits: logits, replicates=20_000):
    """Each example has parameters of its own, and so a gradient: `[R]` and `[R, 9]`."""
    parameters = [tf.constant(np.broadcast_to(each, (replicates, 3))) for each in (LOGITS, PRIOR_LOGITS, LOG_P_X)]
    with tf.GradientTape() as tape:
        tape.watch(parameters)
        logits, prior_logits, log_p_x = parameters
        q = ProductCategorical(logits[:, tf.newaxis])
        if stop is tf.stop_gradient:
            q.log_prob = ProductCategorical(tf.stop_gradient(logits)[:, tf.newaxis]).log_prob
        loss = ImportanceWeighted()(
            q,
            TinyPrior(prior_logits),
            lambda z: tf.reduce_sum(z[..., 0, :] * log_p_x, axis=-1),
            estimator,
            seed=SEED,
        ).loss
    return loss, np.concatenate(tape.gradient(loss, parameters), axis=-1)


@pytest.mark.parametrize("samples", [2, 3, 5])
def test_vimco_s_value_and_gradient_average_to_those_over_all_tuples(samples):
    loss, gradient = loss_and_gradient(estimators.VIMCO(samples))
    assert_mean_is(-bound_over_all_tuples(samples, LOGITS, PRIOR_LOGITS, LOG_P_X), loss)
    assert_mean_is(-gradient_over_all_tuples(samples), gradient)


def test_a_stopped_log_q_is_found_by_that_test():
    gradient = loss_and_gradient(estimators.VIMCO(3), tf.stop_gradient)[1]
    with pytest.raises(AssertionError, match="the mean is another one"):
        assert_mean_is(-gradient_over_all_tuples(3), gradient)


def test_oracle_with_one_sample_is_the_elbo():
    q = np.exp(log_softmax(LOGITS))
    elbo = (q * (LOG_P_X + log_softmax(PRIOR_LOGITS) - log_softmax(LOGITS))).sum()
    assert bound_over_all_tuples(1, LOGITS, PRIOR_LOGITS, LOG_P_X) == pytest.approx(elbo)


# Relaxed samples are weighed by their densities in training, which test_relaxed_rate.py tests.
@pytest.mark.parametrize(
    ("name", "training"), [(name, False) for name in ANY_REDUCE] + [(name, True) for name in ANY_REDUCE[1:]]
)
def test_loss_is_the_log_mean_weight_of_its_own_hard_samples_and_the_parts_are_the_elbo_s(
    model, logits, name, training
):
    q, prior = ProductCategorical(tf.constant(logits)), model.double_prior()
    found = ImportanceWeighted(4)(
        q, prior, model.log_likelihood, estimators.get(name, num_samples=4), seed=SEED, training=training
    )
    index = found.estimate.sample.numpy().argmax(-1) @ [3, 1]
    examples = np.arange(5)
    log_weights = (model.log_joint() - model.log_q(logits))[index, examples]
    np.testing.assert_allclose(found.loss, -np.log(np.exp(log_weights).mean(0)), rtol=1e-9)
    rate = (model.log_q(logits) - model.log_prior()[:, None])[index, examples].mean(0)
    np.testing.assert_allclose(found.rate, rate, rtol=1e-9)
    np.testing.assert_allclose(found.rate + found.distortion, -log_weights.mean(0), rtol=1e-9)
    sum_of_parts = (found.rate + found.distortion).numpy()
    assert (found.loss.numpy() <= sum_of_parts).all()
    assert (found.loss.numpy() < sum_of_parts - 0.1).any()


def test_evaluation_averages_to_that_of_discrete_bounds(replicated_model, replicated_logits):
    q, estimator = ProductCategorical(tf.constant(replicated_logits)), estimators.GumbelSoftmax(num_samples=3)
    arguments = q, replicated_model.prior(), replicated_model.log_likelihood
    objective = ImportanceWeighted()
    loss = objective(*arguments, estimator, seed=SEED, training=False).loss
    bounds = discrete_bounds(*arguments, seed=[9, 9], num_samples=3, kl="analytic")
    assert objective.evaluated(bounds) is bounds.importance_weighted
    error = np.std(loss) * np.sqrt(2 / 20_000)
    assert abs(np.mean(bounds.importance_weighted) + np.mean(loss)) < 4.5 * error
    assert abs(np.mean(bounds.elbo) + np.mean(loss)) > 10 * error


def test_reduction_is_that_of_huge_costs_too():
    np.testing.assert_allclose(negative_log_mean_exp(tf.constant([[1e4], [1e4 + 1e9]])), [1e4 + np.log(2)], rtol=1e-6)


class TestRefusals:
    def call(self, model, logits, estimator, objective=None, **options):
        q = ProductCategorical(tf.constant(logits))
        (objective or ImportanceWeighted())(
            q, model.prior(), model.log_likelihood, estimator, seed=SEED, context=q.logits, **options
        )

    @pytest.mark.parametrize("name", ["score_function", "enumeration", "rebar", "disarm", "direct_arg_max"])
    @pytest.mark.parametrize("training", [True, False])
    def test_estimators_that_take_the_mean_alone(self, model, logits, name, training):
        with pytest.raises(InputError, match=r"log mean of weights in place of the mean: .*'vimco'\. Received: "):
            self.call(model, logits, estimators.get(name), training=training)

    def test_another_number_of_samples(self, model, logits):
        with pytest.raises(InputError, match=r"make it with num_samples=50. Received: VIMCO with num_samples=5"):
            self.call(model, logits, estimators.VIMCO(), ImportanceWeighted(50))

    def test_the_analytic_kl(self, model, logits):
        with pytest.raises(InputError, match=r"takes kl in 'relaxed', 'sampled' or 'auto'. Received: kl='analytic'"):
            self.call(model, logits, estimators.VIMCO(), kl="analytic")

    def test_hard_evaluation_of_a_relaxed_posterior(self, model):
        q = ProductInvertibleGaussian(tf.zeros([5, 2, 2]), tf.ones([5, 2, 2]))
        with pytest.raises(InputError, match=r"evaluate by `discrete_bounds` with the law of the hard samples"):
            ImportanceWeighted()(
                q, model.prior(), model.log_likelihood, estimators.InvertibleGaussian(), seed=SEED, training=False
            )
