import inspect

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfdiscrete
from tests.test_docstrings import example_of
from tfdiscrete import InputError, estimators
from tfdiscrete.distributions import ProductBernoulli, ProductCategorical
from tfdiscrete.estimators import GumbelSoftmax, Problem, ScoreFunction, compare, problems
from tfdiscrete.estimators.compare import exact_gradient, named, prepare

tfd = tfp.distributions

SCORES = np.random.default_rng(0).normal(size=(2, 3))


def scores_problem(**changes):
    """A user's own: a function of z, and parameters in a dict."""
    problem = Problem(
        name="mine",
        parameters={"first": np.array([0.1, -0.2, 0.3]), "second": np.array([1.0, 0.0, 0.5])},
        distribution=lambda p: ProductCategorical(tf.stack([p["first"], p["second"]], axis=1)),
        cost=lambda z: tf.reduce_sum(z * SCORES, axis=[-2, -1]) ** 2,
    )
    return problem._replace(**changes)


def measure(problem, chosen, **options):
    return {row.estimator: row for row in compare(problem, chosen, **{"num_draws": 4000, **options})}


UNBIASED = ["disarm", "enumeration", "relax", "score_function", "vimco"]


def test_unbiased_estimators_are_within_their_noise_and_relaxations_are_not():
    rows = measure("vae_layer", [*UNBIASED, "gumbel_softmax", "straight_through"])
    for name in UNBIASED:
        assert rows[name].biased is False, rows[name]
        assert rows[name].bias < 3 * rows[name].bias_error + 1e-12
    for name in ("gumbel_softmax", "straight_through"):
        assert rows[name].biased is True, rows[name]
        assert rows[name].bias > 10 * rows[name].bias_error
    assert rows["enumeration"].signal_to_noise == np.inf


class Halved(ScoreFunction):
    """Its gradient is too small by half."""

    def _estimate(self, *arguments):
        estimate = super()._estimate(*arguments)
        value = estimate.value
        return estimate._replace(value=0.5 * value + 0.5 * tf.stop_gradient(value))


def test_a_broken_estimator_is_shown_biased():
    row = measure("vae_layer", {"sound": ScoreFunction(), "broken": Halved()}, num_draws=20_000)
    assert row["sound"].biased is False
    assert row["broken"].biased is True
    assert row["broken"].bias == pytest.approx(0.5 * row["broken"].gradient_norm, rel=0.2)


@pytest.mark.parametrize("probability", [0.3, 0.5])
def test_variance_and_signal_of_the_score_function_are_those_of_its_two_outcomes(probability):
    problem = problems.bit()._replace(parameters=np.log(probability / (1 - probability)))
    row = measure(problem, {"reinforce": ScoreFunction("none")}, num_draws=20_000)["reinforce"]
    # (cost) (b - p), b in {1, 0}
    draws = np.array([0.51**2 * (1 - probability), 0.49**2 * -probability])
    weights = np.array([probability, 1 - probability])
    mean = weights @ draws
    variance = weights @ draws**2 - mean**2
    assert row.draws == 20_000
    assert row.gradient_norm == pytest.approx(abs(mean), rel=1e-9)
    assert abs(row.variance - variance) < 4.5 * row.variance_error + 1e-3 * variance
    assert row.variance_error == pytest.approx(
        np.sqrt((weights @ (draws - mean) ** 4 - variance**2) / 20_000), rel=0.05, abs=1e-3 * variance
    )
    assert row.bias_error == pytest.approx(np.sqrt(variance / 20_000), rel=0.05)
    assert row.signal_to_noise == pytest.approx(
        mean**2 / variance, abs=4.5 * 2 * abs(mean) / np.sqrt(variance * 20_000)
    )


def test_draws_that_are_all_zero_prove_no_bias():
    row = measure("bit", estimators.DirectArgMax(epsilon=1e-6), num_draws=100)["direct_arg_max(epsilon=1e-06)"]
    assert row.variance == 0.0
    assert row.bias == pytest.approx(row.gradient_norm)
    assert row.biased is None


# Of vae_layer: 4 variables of 3 categories.
@pytest.mark.parametrize(
    ("name", "options", "evaluations", "with_gradient"),
    [
        ("score_function", {}, 2, 0),
        ("score_function", {"num_samples": 5}, 5, 0),
        ("gumbel_softmax", {"num_samples": 3}, 3, 3),
        ("straight_through_gumbel_softmax", {}, 1, 1),
        ("enumeration", {}, 3**4, 0),
        ("direct_arg_max", {}, 1 + 4 * (3 - 1), 0),
        ("mu_prop", {}, 2, 1),
        ("generalized_gumbel_softmax", {"rao_blackwell": True}, 2 * 4, 2 * 4),
    ],
)
def test_evaluations_of_the_cost_are_counted(name, options, evaluations, with_gradient):
    sampler = prepare(problems.vae_layer(), estimators.get(name, **options))
    assert (sampler.evaluations, sampler.with_gradient) == (evaluations, with_gradient)


def test_a_cost_that_scores_neighbours_is_asked_for_them_and_they_are_counted():
    asked = []

    def cost(z):
        return tf.reduce_sum(z * SCORES, axis=[-2, -1])

    def neighbours(z):
        asked.append(z.shape)
        return cost(z)[..., None, None] - tf.reduce_sum(z * SCORES, axis=-1, keepdims=True) + SCORES

    cost.neighbours = neighbours
    sampler = prepare(scores_problem(cost=cost), estimators.DirectArgMax())
    assert asked
    assert sampler.evaluations == 1 + 2 * (3 - 1)


def test_neighbours_of_bits_are_counted_too():
    weights = tf.constant([1.0, -2.0, 0.5], tf.float64)

    def cost(z):
        return tf.linalg.matvec(z, weights) ** 2

    def neighbours(z):
        moved = tf.stack(
            [cost(z - z[..., n : n + 1] * np.eye(3)[n] + k * np.eye(3)[n]) for n in range(3) for k in (0, 1)]
        )
        return tf.reshape(tf.transpose(moved, [1, 2, 0]), [*z.shape[:2], 3, 2])

    cost.neighbours = neighbours
    problem = Problem("bits", np.zeros([3]), ProductBernoulli, cost)
    (row,) = compare(problem, "local_expectation", num_draws=10)
    assert row.evaluations == 1 + 3
    assert not row.biased


def test_a_gradient_that_is_always_zero_has_no_signal_to_noise_ratio():
    """With so small an epsilon no perturbation moves a code, in as many draws."""
    rows = measure(scores_problem(), [estimators.DirectArgMax(epsilon=1e-6)], num_draws=100)
    (row,) = rows.values()
    assert row.variance == 0.0
    assert np.isnan(row.signal_to_noise)
    assert row.biased is None


def test_an_own_function_is_a_problem_and_parameters_may_be_a_dict():
    problem = scores_problem()
    gradient, _, reference = exact_gradient(problem)
    assert reference == "enumeration"
    assert gradient.shape == (6,)
    rows = measure(problem, ["score_function", GumbelSoftmax(temperature=0.5)])
    assert [row.biased for row in rows.values()] == [False, True]
    assert list(rows) == ["score_function", "gumbel_softmax(temperature=0.5)"]


@pytest.mark.parametrize("public", [compare, Problem], ids=lambda public: public.__name__)
def test_the_docstring_s_example_runs(public):
    names = {"np": np, "tf": tf, "ProductCategorical": ProductCategorical, **vars(estimators)}
    exec(compile(example_of(inspect.getdoc(public)), "example", "exec"), names)
    assert names["mine"].name == "mine"
    assert [row.biased for row in names.get("rows", [])] == ([False, True] if public is compare else [])


def test_where_codes_are_too_many_a_long_run_is_the_reference():
    problem = problems.vae_layer(num_latents=8)
    assert 3**8 > 4096
    rows = measure(problem, ["rebar", "gumbel_softmax", "enumeration"], num_draws=2000)
    assert rows["rebar"].reference == "long run"
    assert rows["rebar"].biased is False
    assert rows["gumbel_softmax"].biased is True
    exact = tfdiscrete.estimators.Enumeration(max_terms=10_000)
    with tf.GradientTape() as tape:
        logits = tf.constant(problem.parameters[None])
        tape.watch(logits)
        value = exact.estimate(problem.distribution(logits), problem.cost, seed=[0, 0]).value
    gradient, error, _ = exact_gradient(problem, num_draws=2000)
    assert (abs(gradient - np.ravel(tape.gradient(value, logits))) < 4.5 * error).all()


def normal_problem(**changes):
    return Problem(
        name="normal",
        parameters=np.array([0.5, -0.2]),
        distribution=lambda loc: tfd.Independent(tfd.Normal(loc, tf.ones_like(loc)), 1),
        cost=lambda z: tf.reduce_sum((z - 1.0) ** 2, axis=-1),
    )._replace(**changes)


def test_a_continuous_problem_with_its_expectation_can_be_measured():
    problem = normal_problem(expected_cost=lambda loc: tf.reduce_sum((loc - 1.0) ** 2 + 1.0, axis=-1))
    rows = measure(problem, ["pathwise", "score_function"])
    assert rows["pathwise"].biased is False
    assert rows["pathwise"].gradient_norm == pytest.approx(2.0 * np.hypot(0.5, 1.2))
    assert "takes" in rows["score_function"].reason


def test_a_problem_without_any_exact_gradient_is_refused():
    with pytest.raises(InputError, match="'normal' cannot be had: give the problem an expected_cost"):
        compare(normal_problem(), "pathwise")


def test_what_a_problem_does_not_allow_is_a_row_with_the_reason():
    rows = measure("poisson", ["enumeration", "invertible_gaussian", "straight_through"], num_draws=100)
    assert "has 46^5" in rows["enumeration"].reason
    assert "takes a distributions.InvertibleGaussian" in rows["invertible_gaussian"].reason
    assert rows["enumeration"].biased is None
    assert np.isnan(rows["enumeration"].variance)
    assert rows["straight_through"].reason == ""


def test_all_is_every_registered_estimator():
    assert list(named("all")) == sorted(estimators.REGISTRY)


@pytest.mark.slow
def test_every_registered_estimator_can_be_measured_or_says_why_not():
    rows = measure("bit", "all", num_draws=10, warm_up=1)
    assert list(rows) == sorted(estimators.REGISTRY)
    assert {name for name, row in rows.items() if row.reason} == {"invertible_gaussian", "pathwise"}


def test_an_estimator_that_learns_is_trained_first_and_the_given_one_is_not():
    given = estimators.NVIL()
    untrained, trained = (measure("bit", given, warm_up=steps)["nvil"] for steps in (0, 200))
    assert trained.variance < 0.1 * untrained.variance
    assert not given.built
    assert given.step.numpy() == 0


@pytest.mark.slow
def test_seed_alone_determines_the_numbers():
    def numbers(seed, **options):
        row = compare("bit", "nvil", num_draws=200, warm_up=5, seed=seed, **options)[0]
        return row._replace(milliseconds=0.0)

    assert numbers(1) == numbers(1)
    assert numbers(1) != numbers(2)
    assert numbers(1).variance == pytest.approx(numbers(1, jit_compile=True).variance, rel=1e-6)


def test_small_chunks_give_the_moments_of_all_draws(monkeypatch):
    # Not `import ... as`, which finds the function of that name.
    module = inspect.getmodule(compare)
    whole = measure("vae_layer", "score_function")["score_function"]
    monkeypatch.setattr(module, "_CHUNK", 24 * 100)  # 2 evaluations of 12 numbers
    parts = measure("vae_layer", "score_function")["score_function"]
    assert parts.draws == whole.draws == 4000
    assert parts.biased is whole.biased is False
    assert abs(parts.variance - whole.variance) < 4.5 * np.hypot(parts.variance_error, whole.variance_error)
    monkeypatch.setattr(module, "_WORK", 24 * 1000)
    assert measure("vae_layer", "score_function")["score_function"].draws == 1000


def test_moments_are_merged_over_chunks_of_different_means(monkeypatch):
    module = inspect.getmodule(compare)
    draws = np.random.default_rng(0).normal(size=(5, 8, 3)) + np.arange(5.0)[:, None, None]
    chunks = iter([draws[0], *draws])
    monkeypatch.setattr(module, "gradients", lambda *_: (tf.py_function(lambda: next(chunks), [], tf.float64), None))
    sampler = module.Sampler(ScoreFunction(), 1, 0, elements=module._CHUNK // 8)
    moments = module._draw(problems.bit(), sampler, 40, [0, 0], False)
    np.testing.assert_allclose(moments.mean, draws.reshape(40, 3).mean(axis=0))
    np.testing.assert_allclose(moments.variances, draws.reshape(40, 3).var(axis=0, ddof=1))
    assert moments.draws == 40


def test_progress_is_told_of_each_estimator():
    told = []
    compare(
        "bit",
        ["score_function", "arm"],
        num_draws=10,
        progress=lambda name, done, total: told.append((name, done, total)),
    )
    assert told == [("score_function", 0, 2), ("arm", 1, 2), ("", 2, 2)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem": "bits"}, "unknown problem 'bits'. Did you mean 'bit'"),
        ({"estimators": "rebarr"}, "unknown estimator 'rebarr'. Did you mean 'rebar'"),
        ({"estimators": ["rebar", "rebar"]}, "each estimator must be given once"),
        ({"num_draws": 1}, "num_draws must be an integer of at least 2"),
        ({"warm_up": -1}, "warm_up must be an integer of at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        compare(**{"problem": "bit", "estimators": "score_function", **changes})


@pytest.mark.parametrize(
    ("cost", "reason"),
    [
        (lambda z: tf.reduce_mean(z * SCORES), "one value per sample and example"),
        (lambda z: tf.reduce_sum(z * SCORES, axis=[-2, -1]) * np.nan, "NaN or infinity"),
        (lambda z: tf.reduce_sum(z * tf.constant(SCORES, tf.float32), axis=[-2, -1]), "float tensor|float32"),
    ],
    ids=["shape", "nan", "float32"],
)
def test_a_cost_that_cannot_be_measured_is_refused_for_what_is_wrong_with_it(cost, reason):
    with pytest.raises(InputError, match=f"in float64, as its constants must be. Received: .*({reason})"):
        measure(scores_problem(cost=cost), "score_function")
