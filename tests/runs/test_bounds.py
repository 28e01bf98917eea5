import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete.runs import DiscreteVAERecipe
from tfdiscrete.runs.recipes.bounds import counted_bound
from tfdiscrete.training import data


@pytest.fixture(scope="module")
def held_out():
    images = data.load("digits", binarize="threshold").test
    return images._replace(x=images.x[:100], y=None)


def recipe_and_model(held_out, flow, prior="fixed"):
    recipe = DiscreteVAERecipe(
        dataset="digits",
        family="invertible_gaussian",
        family_options=f"flow={flow}",
        num_latents=4,
        num_categories=5,
        prior=prior,
    )
    return recipe, recipe.make_model(held_out.x.shape[1:], 10)


def test_behind_a_flow_the_rate_of_hard_samples_is_counted_and_less_than_the_gaussians(held_out):
    recipe, model = recipe_and_model(held_out, "planar")
    metrics = recipe.evaluate(model, held_out)
    # Counting adds (K - 1) / 2S = 0.002 nats a variable.
    assert -0.001 < metrics["counted_rate"] < metrics["rate"] + 4 * 0.002
    assert metrics["counted_elbo"] == pytest.approx(-(metrics["distortion"] + metrics["counted_rate"]), rel=1e-6)
    assert metrics["counted_elbo"] >= metrics["discrete_elbo"] - 4 * 0.002
    assert "counted ELBO" in [label for label, *_ in recipe.rows(metrics)]


def test_sticks_are_counted_too(held_out):
    _, model = recipe_and_model(held_out, "stick_breaking")
    figures = counted_bound(model, held_out.x, distortion=40.0)
    q, p = model.posterior(held_out.x), model.prior.distribution()
    shares = [tf.reduce_mean(law.sample_hard(20_000, [3, 4]), axis=0).numpy() for law in (q, p)]
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = np.nansum(shares[0] * np.log(shares[0] / shares[1]), axis=(1, 2)).mean()
    assert figures["counted_rate"] == pytest.approx(expected, abs=0.02)
    assert figures["counted_elbo"] == pytest.approx(-40.0 - figures["counted_rate"])


@pytest.mark.parametrize(("flow", "prior"), [("none", "fixed"), ("planar", "mixture")])
def test_a_closed_form_and_a_prior_of_dependent_variables_are_not_counted(flow, prior, held_out):
    _, model = recipe_and_model(held_out, flow, prior)
    assert counted_bound(model, held_out.x, distortion=40.0) == {}
