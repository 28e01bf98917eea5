import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.runs import DiscreteVAERecipe
from tfdiscrete.runs.recipes.bounds import counted_bound, relaxed_temperature
from tfdiscrete.training import data


@pytest.fixture(scope="module")
def held_out():
    images = data.load("digits", binarize="threshold").test
    return images._replace(x=images.x[:50], y=None)


def recipe_and_model(held_out, flow, prior="fixed", estimator="auto"):
    recipe = DiscreteVAERecipe(
        dataset="digits",
        family="invertible_gaussian",
        family_options=f"flow={flow}",
        num_latents=4,
        num_categories=5,
        prior=prior,
        estimator=estimator,
    )
    return recipe, recipe.make_model(held_out.x.shape[1:], 10)


def test_behind_a_flow_the_counted_rate_is_a_figure_of_its_own_and_less_than_the_gaussians(held_out):
    recipe, model = recipe_and_model(held_out, "planar")
    metrics = recipe.evaluate(model, held_out)
    assert metrics["counted_rate"] < metrics["rate"]
    assert metrics["counted_elbo"] == pytest.approx(-(metrics["distortion"] + metrics["counted_rate"]), rel=1e-6)
    assert {"counted ELBO", "counted rate"} < {label for label, *_ in recipe.rows(metrics)}


@pytest.mark.parametrize("flow", ["planar", "stick_breaking"])
def test_counted_rate_is_that_of_other_samples_of_both_laws(flow, held_out):
    _, model = recipe_and_model(held_out, flow)
    figures = counted_bound(model, held_out.x, distortion=40.0)
    q, p = model.posterior(held_out.x), model.prior.distribution()
    of_q, of_p = (
        tf.reduce_mean(law.sample_hard(size, [3, 4]), axis=0).numpy() for law, size in ((q, 20_000), (p, 1_000_000))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.nansum(of_q * np.log(of_q / of_p), axis=(1, 2)).mean()
    # The counted one is larger by at most log(1 + (K - 1) / S) for each of the four variables.
    assert -0.005 < figures["counted_rate"] - expected < 4 * np.log1p(4 / 1000) + 0.005
    assert figures["counted_elbo"] == pytest.approx(-40.0 - figures["counted_rate"])


@pytest.mark.parametrize(("flow", "prior"), [("none", "fixed"), ("planar", "mixture")])
def test_a_closed_form_and_a_prior_of_dependent_variables_are_not_counted(flow, prior, held_out):
    _, model = recipe_and_model(held_out, flow, prior)
    assert counted_bound(model, held_out.x, distortion=40.0) == {}


@pytest.mark.parametrize("flow", [pytest.param("none", marks=pytest.mark.slow), "planar"])
def test_invertible_gaussians_under_a_mixture_are_evaluated(flow, held_out):
    recipe, model = recipe_and_model(held_out, flow, "mixture")
    metrics = recipe.evaluate(model, held_out)
    assert all(np.isfinite(metrics[name]) for name in ("discrete_elbo", "relaxed_elbo", "iwae_100"))


def test_where_the_prior_has_no_density_there_is_no_relaxed_figure(held_out):
    estimator = "straight_through_gumbel_softmax"
    assert relaxed_temperature(recipe_and_model(held_out, "none", "hierarchical", estimator)[1]) is None
    assert relaxed_temperature(recipe_and_model(held_out, "none", "mixture", estimator)[1]) == 1.0
    assert relaxed_temperature(recipe_and_model(held_out, "none", "fixed", "score_function")[1]) is None
