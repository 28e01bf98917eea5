import numpy as np
import pytest
import tensorflow as tf

from tests.estimators.control_variates import Training, draw, one_bit, quadratic_with_offset, softmax, variance
from tests.estimators.problems import quadratic, random_problem
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import REBAR, RELAX, ScoreFunction
from tfdiscrete.estimators.relax import network

LOGITS = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("float32")


def test_before_training_it_is_rebar():
    def cost(z):
        return tf.reduce_sum(z**2, axis=[-2, -1])

    gradients = [draw(estimator, cost, LOGITS, (1, 2))[1] for estimator in (REBAR(), RELAX())]
    np.testing.assert_array_equal(*gradients)


def test_before_training_it_is_the_score_function_without_the_relaxed_cost():
    def cost(z):
        return tf.reduce_sum(z**2, axis=[-2, -1])

    gradients = [
        draw(estimator, cost, LOGITS, (1, 2))[1] for estimator in (ScoreFunction("none"), RELAX(relaxed_cost=False))
    ]
    np.testing.assert_allclose(*gradients, rtol=1e-5, atol=1e-6)


def test_the_network_is_one_hidden_layer_of_tanh_units_of_the_flattened_point():
    rng = np.random.default_rng(0)
    y = rng.dirichlet(np.ones(3), size=(4, 5, 2))
    kernel, bias, output, offset = (rng.normal(size=shape) for shape in ((6, 7), (7,), (7, 1), (1,)))
    weights = {"hidden_kernel": kernel, "hidden_bias": bias, "output_kernel": output, "output_bias": offset}
    result = network(tf.constant(y), {name: tf.constant(weight) for name, weight in weights.items()})
    expected = np.tanh(y.reshape(4, 5, 6) @ kernel + bias) @ output[:, 0] + offset
    np.testing.assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.parametrize(("relaxed_cost", "needs"), [(True, {"hard", "relaxed", "gradient"}), (False, {"hard"})])
def test_needs_and_weights_follow_what_the_control_variate_is_made_of(relaxed_cost, needs):
    estimator = RELAX(hidden=7, relaxed_cost=relaxed_cost)
    estimator.build((None, 2, 3))
    assert estimator.needs == needs
    shapes = {variable.name: tuple(variable.shape) for variable in estimator.trainable_variables}
    assert shapes.pop("eta", None) == (() if relaxed_cost else None)
    assert shapes == {
        "log_temperature": (),
        "hidden_kernel": (6, 7),
        "hidden_bias": (7,),
        "output_kernel": (7, 1),
        "output_bias": (1,),
    }


@pytest.mark.parametrize("hidden", [0, -1, 1.5, True, "2"])
def test_other_than_positive_numbers_of_units_are_refused(hidden):
    with pytest.raises(InputError, match="hidden must be an integer of at least 1"):
        RELAX(hidden=hidden)


def test_other_variables_than_those_it_was_built_for_are_refused():
    relax = RELAX()
    relax.build((None, 3, 4))
    with pytest.raises(InputError, match=r"network of N K = 12 inputs: .* Received: logits of shape \(5, 3, 7\)"):
        relax.estimate(
            ProductCategorical(tf.zeros([5, 3, 7])), lambda z: tf.reduce_sum(z**2, axis=[-2, -1]), seed=[0, 1]
        )


@pytest.mark.parametrize("relaxed_cost", [None, 1, "no"])
def test_relaxed_cost_is_yes_or_no(relaxed_cost):
    with pytest.raises(InputError, match="relaxed_cost must be True or False. Received: relaxed_cost="):
        RELAX(relaxed_cost=relaxed_cost)


@pytest.mark.parametrize("relaxed_cost", [True, False])
def test_variance_on_one_bit_falls_a_hundredfold_while_the_optimum_is_found(relaxed_cost):
    """Logits from 0 and the control variate together, each by Adam at 0.01, on 100 draws a step."""
    relax, score_function = RELAX(relaxed_cost=relaxed_cost), ScoreFunction("none")
    training = Training(relax, one_bit, np.zeros((1, 2)))
    for _ in range(3):
        training.run(500)
        assert variance(relax, one_bit, training.logits) < 0.01 * variance(score_function, one_bit, training.logits)
    assert softmax(training.logits)[0, 0] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_variance_is_at_most_that_of_rebar_for_a_cost_with_an_offset(seed):
    """Usual, though no theorem: both trained alike, for 3000 steps of Adam at 0.01 at fixed logits."""
    problem = random_problem(quadratic, 3, 4, seed)
    cost, logits = quadratic_with_offset(problem.parameters), problem.logits.astype("float32")
    variances = []
    for estimator in (RELAX(), REBAR()):
        Training(estimator, cost, logits, train_logits=False).run(3000)
        variances.append(variance(estimator, cost, logits, draws=100_000))
    assert variances[0] <= variances[1]
