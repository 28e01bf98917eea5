import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from scipy.special import expit, softmax

from tfdiscrete import InputError
from tfdiscrete.estimators import Problem, problems
from tfdiscrete.estimators.compare import exact_gradient, exact_gradients, replicate

# Name -> of the parameters, the untruncated law's mean [D] and total variance.
LAWS = {
    "poisson": lambda x: (np.exp(x), np.exp(x)),
    "binomial": lambda x: (
        scipy.stats.binom(20, expit(x[0])).mean(),
        scipy.stats.binom(20, expit(x[0])).var(),
    ),
    "multinomial": lambda x: (
        scipy.stats.multinomial(3, softmax(x)).mean(),
        np.trace(scipy.stats.multinomial(3, softmax(x)).cov()),
    ),
    # SciPy's probability is that of a success, and the problem's log odds are those of a failure.
    "negative_binomial": lambda x: (
        scipy.stats.nbinom(3, expit(-x[0])).mean(),
        scipy.stats.nbinom(3, expit(-x[0])).var(),
    ),
}


def targets_of(problem):
    """The t that the cost holds."""
    rng = np.random.default_rng(0)
    draw = {
        "poisson": lambda: rng.poisson(20.0, 5),
        "binomial": lambda: rng.binomial(20, 0.3, 5),
        "multinomial": lambda: rng.multinomial(3, [0.7, 0.2, 0.1], 5),
        "negative_binomial": lambda: rng.negative_binomial(3, 0.4, 5),
    }
    return draw[problem.name]().astype(float)


def expected(name, x, targets):
    """E sum_i (z_i - t_i)^2 = k Var z + sum_i (E z - t_i)^2."""
    mean, variance = LAWS[name](x)
    return float(len(targets) * variance + np.sum((mean - targets) ** 2))


@pytest.mark.parametrize("name", LAWS)
def test_value_and_gradient_in_closed_form_are_those_of_scipy_s_moments(name):
    problem = problems.get(name)
    targets, step = targets_of(problem), 1e-5
    start = np.atleast_1d(problem.parameters)
    numeric = [
        (expected(name, start + step * e, targets) - expected(name, start - step * e, targets)) / (2 * step)
        for e in np.eye(len(start))
    ]
    value, gradient = exact_gradients(problem, replicate(problem, 1))
    np.testing.assert_allclose(value[0], expected(name, start, targets), rtol=1e-4)
    np.testing.assert_allclose(gradient[0], numeric, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", LAWS)
def test_cost_is_the_squared_distance_to_the_targets(name):
    problem = problems.get(name)
    targets = targets_of(problem)
    np.testing.assert_array_equal(problem.cost(tf.constant(targets[None, None])), [[0.0]])
    other = targets + np.arange(targets.size).reshape(targets.shape)
    np.testing.assert_allclose(problem.cost(tf.constant(other[None, None])), [[(np.arange(targets.size) ** 2).sum()]])


@pytest.mark.parametrize("name", LAWS)
def test_law_is_cut_where_next_to_no_mass_is(name):
    problem = problems.get(name)
    q = problem.distribution(replicate(problem, 3))
    assert q.batch_shape == [3, 5]
    assert q.tail_mass().numpy().max() <= 1e-6


def test_gradient_of_the_bit_is_that_of_two_terms():
    gradient, error, reference = exact_gradient(problems.bit())
    np.testing.assert_allclose(gradient, [0.25 * (0.51**2 - 0.49**2)], rtol=1e-12)
    assert error == [0.0]
    assert reference == "closed form"


@pytest.mark.parametrize("name", ["vae_layer", "invertible_gaussian_layer"])
def test_gradient_of_a_layer_by_enumeration_is_the_slope_of_its_value(name):
    problem = problems.get(name)
    gradient, _, reference = exact_gradient(problem)
    assert reference == "enumeration"
    flat = np.concatenate([np.ravel(part) for part in tf.nest.flatten(problem.parameters)])
    # All perturbed parameters as one batch.
    batch = np.concatenate([flat + 1e-5 * np.eye(len(flat)), flat - 1e-5 * np.eye(len(flat))])
    parts = np.split(batch, np.cumsum([np.size(part) for part in tf.nest.flatten(problem.parameters)])[:-1], axis=-1)
    parts = [
        tf.constant(p.reshape(-1, *np.shape(like)))
        for p, like in zip(parts, tf.nest.flatten(problem.parameters), strict=True)
    ]
    value, _ = exact_gradients(problem, tf.nest.pack_sequence_as(problem.parameters, parts))
    above, below = np.split(value.numpy(), 2)
    np.testing.assert_allclose(gradient, (above - below) / 2e-5, rtol=1e-5, atol=1e-8)


def test_an_unknown_problem_is_refused_and_the_nearest_named():
    with pytest.raises(InputError, match="unknown problem 'poison'. Did you mean 'poisson'"):
        problems.get("poison")


@pytest.mark.parametrize("name", problems.PROBLEMS)
def test_a_built_in_problem_has_the_name_that_it_is_found_by(name):
    problem = problems.get(name)
    assert isinstance(problem, Problem)
    assert problem.name == name
    assert problem.description
    assert problems.get(problem) is problem
