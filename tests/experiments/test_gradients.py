import contextlib
import csv
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfdiscrete import InputError, cli, estimators
from tfdiscrete.estimators import problems
from tfdiscrete.estimators.compare import named
from tfdiscrete.experiments import gradient_curves, gradient_figures, gradient_tables, gradients

RESULTS = Path(__file__).parents[2] / "results" / "gradients"
CHOSEN = ["score_function", "generalized_gumbel_softmax", "enumeration"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The command's folder and what it printed, for two problems and three estimators."""
    out = tmp_path_factory.mktemp("gradients") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        chosen = [*CHOSEN, "gumbel_softmax:temperature=0.5"]
        settings = ["--out", str(out), "--steps", "20", "--draws", "400"]
        printed = run_command(["gradients", "bit", "multinomial", "--estimators", *chosen, *settings])
    return out, printed


def run_command(arguments):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert cli.main(arguments) == 0
    return text.getvalue()


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_writes_tables_and_pictures_and_says_so(small):
    out, printed = small
    pictures = {"bit.png", "multinomial.png", "multinomial-curves.png", "trade-off.png"}
    assert {path.name for path in out.iterdir()} == {"gradients.csv", "optimization.csv", "settings.json", *pictures}
    assert all(f"wrote {path}" in printed for path in out.iterdir())
    assert printed.splitlines()[-1].startswith(f"look at the pictures in {out}; ")
    for name in pictures:
        with Image.open(out / name) as picture:
            assert min(picture.size) > 300


def test_an_exact_estimator_does_not_stretch_the_curves_of_the_others():
    steps = 10
    curves = [
        gradient_curves.Curves(
            "poisson", name, 1, np.full([steps, 16], 2.0), 1.0, np.full(steps, v), np.full([steps, 1], v)
        )
        for name, v in (("score_function", 1.0), ("enumeration", 1e-27))
    ]
    contestants = {one.estimator: estimators.get(one.estimator) for one in curves}
    figure = gradient_figures.curves_figure(problems.poisson(), curves, contestants, 0.02)
    loss, variance, bias = (column[0] for column in np.reshape(figure.axes, [3, -1]))
    assert 0.01 < loss.get_ylim()[0] < 1.0
    for axes in (variance, bias):
        assert 1e-7 < axes.get_ylim()[0] < 1e-5


def test_every_measurement_is_a_row(small):
    rows = rows_of(small[0] / "gradients.csv")
    names = [*CHOSEN, "gumbel_softmax(temperature=0.5)"]
    assert [(row["problem"], row["estimator"]) for row in rows] == [
        (problem, name) for problem in ("bit", "multinomial") for name in names
    ]
    refused = [row for row in rows if row["reason"]]
    assert [(row["problem"], row["estimator"]) for row in refused] == [("multinomial", "enumeration")]
    assert all(float(row["bias"]) >= 0.0 for row in rows if not row["reason"])


def test_every_optimization_is_a_row_and_the_best_are_named(small):
    out, printed = small
    rows = rows_of(out / "optimization.csv")
    # On counts the Gumbel-Softmax is GenGS, and left out.
    assert [row["estimator"] for row in rows] == ["score_function", "generalized_gumbel_softmax"]
    assert {row["problem"] for row in rows} == {"multinomial"}
    assert "the best in optimization" in printed
    assert "not allowed here, for the reasons in gradients.csv: enumeration" in " ".join(printed.split())
    assert "of 2" in printed


def test_optimization_with_the_exact_gradient_reaches_the_minimum():
    class OfOneVariable(estimators.Estimator):
        """The exact value: costs of counts add up over independent variables of one law."""

        unbiased = True

        def _estimate(self, q, cost, seed, reduce, context):
            outcomes = tf.tile(q.outcomes[:, None, None], [1, tf.shape(q.logits)[0], q.logits.shape[1]])
            weights = tf.transpose(tf.exp(q.logits[:, 0]))
            value = tf.reduce_sum(weights * cost._cost(outcomes), axis=0)
            return estimators.Estimate(value, outcomes, tf.zeros([], value.dtype))

    problem = problems.get("poisson")
    (curves,) = gradient_curves.optimize(problem, "exact", OfOneVariable(), steps=100, learning_rate=0.05, seed=0)
    assert curves.loss.shape == (100, gradient_curves.PATHS)
    np.testing.assert_allclose(curves.variance, 0.0, atol=1e-12)
    np.testing.assert_allclose(curves.error, 0.0, atol=1e-8)
    assert curves.loss[0].mean() - curves.minimum > 100.0
    assert 0.0 <= curves.final_loss < 1.0


def test_minimum_is_where_the_rate_is_the_mean_target_less_a_half():
    # k rate + sum (rate - t_i)^2 is least at rate = mean t - 1/2.
    targets = np.random.default_rng(0).poisson(20.0, 5)
    rate = targets.mean() - 0.5
    expected = 5 * rate + np.sum((rate - targets) ** 2)
    assert gradient_curves.minimum(problems.get("poisson")) == pytest.approx(expected, rel=1e-5)


def test_curves_measure_the_variance_and_bias_of_their_estimator():
    """With a step of next to nothing the parameter stays, and the averages are those of `compare`."""
    problem = problems.get("multinomial")
    for name in ("gumbel_softmax", "score_function"):
        (curves,) = gradient_curves.optimize(problem, name, estimators.get(name), steps=100, learning_rate=1e-9, seed=0)
        (row,) = estimators.compare(problem, name, num_draws=10_000)
        assert curves.mean_variance == pytest.approx(row.variance, rel=0.1)
        assert abs(curves.bias - row.bias) < 4.5 * np.hypot(curves.bias_error, row.bias_error)
        assert curves.within_noise == (not row.biased)
        assert curves.single_error == pytest.approx(np.sqrt(row.variance + row.bias**2), rel=0.1)


def curves_of(name, final, variance, error):
    steps = np.ones(10)
    return gradient_curves.Curves(
        "poisson", name, 1, final * steps[:, None] * np.ones(4), 1.0, variance * steps, error * steps[:, None]
    )


def test_ranking_names_the_best_and_the_place_of_gengs():
    ranking = gradient_tables.rank(
        [
            curves_of("generalized_gumbel_softmax", final=3.0, variance=1e-4, error=1.0),
            curves_of("noisy", final=2.0, variance=1e4, error=0.5),
            curves_of("worse", final=4.0, variance=1.0, error=2.0),
        ]
    )
    assert ranking == [
        gradient_tables.Ranking(
            "poisson",
            lowest_loss="noisy",
            lowest_variance="generalized_gumbel_softmax",
            lowest_bias="noisy",
            lowest_single_error="generalized_gumbel_softmax",
            ranks=(2, 1, 2, 1),
            contestants=3,
        )
    ]


def test_an_estimator_is_named_with_its_options():
    made = gradients.estimator_of("score_function:baseline=none,num_samples=4")
    assert (made.baseline, made.num_samples) == ("none", 4)
    assert gradients.estimator_of(made) is made


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rebarr", "unknown estimator 'rebarr'"),
        ("rebarr:num_samples=2", "unknown estimator 'rebarr'"),
        ("score_function:", 'like "score_function:num_samples=4"'),
        ("score_function:samples=2", "unknown option"),
        ("score_function:num_samples", "num_samples"),
    ],
)
def test_what_is_no_estimator_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        gradients.estimator_of(text)


def test_default_estimators_are_all_that_are_registered_and_variants():
    names = [one for one in gradients.default_estimators() if isinstance(one, str)]
    assert names == sorted(estimators.REGISTRY)


def test_the_published_measurements_are_of_every_estimator_there_is():
    settings = json.loads((RESULTS / "settings.json").read_text())["settings"]
    assert settings["estimators"] == list(named([estimators.get(one) for one in gradients.default_estimators()]))
    measured = {(row["problem"], row["estimator"]) for row in rows_of(RESULTS / "gradients.csv")}
    assert measured == set(itertools.product(settings["problems"], settings["estimators"]))
