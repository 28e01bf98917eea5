import pytest

from tfdiscrete.errors import InputError
from tfdiscrete.runs import DiscreteVAERecipe, recipes


def test_it_survives_json():
    config = DiscreteVAERecipe(estimator="score_function", epochs=3, temperature=0.5)
    assert recipes.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "minst"}, "unknown dataset 'minst'. Did you mean 'mnist'"),
        ({"estimator": "gumbel"}, r"unknown estimator 'gumbel'. Did you mean 'gumbel_softmax'\? Known: arm"),
        ({"encoder": "mpl"}, "unknown encoder 'mpl'. Did you mean 'mlp'"),
        ({"temperature": 0.0}, r"temperature must be a positive finite number. Received: temperature=0.0"),
        ({"temperature": -1.0}, "Received: temperature=-1.0"),
        ({"temperature": float("nan")}, "Received: temperature=nan"),
        ({"temperature_min": 2.0}, "temperature_min must be at most temperature=1.0"),
        ({"num_categories": 0}, "num_categories must be an integer of at least 1. Received: num_categories=0"),
        ({"num_latents": -3}, "num_latents must be"),
        ({"epochs": 0}, "epochs must be"),
        ({"learning_rate": 0.0}, "learning_rate must be"),
        ({"anneal_rate": -1e-5}, "anneal_rate must be a finite number of at least 0"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"binarize": "none"}, "the Bernoulli likelihood is for bits and the others for grey"),
        (
            {"likelihood": "gaussian", "binarize": "sample"},
            "the Bernoulli likelihood is for bits and the others for grey",
        ),
        ({"likelihood": "categorical", "dataset": "binarized_mnist"}, "the others for grey values"),
        ({"seed": 2**62}, "seed must be an integer of at least 0 and at most"),
        ({"batch_size": 10**20}, "batch_size must be an integer of at least 1 and at most 2147483647"),
        ({"anneal_rate": "x"}, "anneal_rate must be a finite number of at least 0"),
        (
            {"estimator_options": "num_samples"},
            'must be like "num_samples=4,baseline=none". Received: estimator_options=',
        ),
        ({"estimator": "score_function", "estimator_options": "num_sample=2"}, "Did you mean 'num_samples'"),
    ],
)
def test_a_bad_setting_says_what_would_work(settings, message):
    with pytest.raises(InputError, match=message):
        DiscreteVAERecipe(**settings)


def test_a_setting_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match=r"unknown settings \['epoch'\]"):
        recipes.from_json({"epoch": 3})


def test_auto_is_the_estimator_of_the_family():
    assert DiscreteVAERecipe(family="gaussian").estimator_name == "pathwise"
    assert DiscreteVAERecipe().estimator_name == "straight_through_gumbel_softmax"
    assert DiscreteVAERecipe(family="bernoulli", estimator="disarm").estimator_name == "disarm"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family_options": "law=poisson"}, "unknown option of categorical 'law'. Known: num_categories"),
        ({"family": "truncated_counts", "family_options": "laws=poisson"}, "Did you mean 'law'"),
        ({"objective_options": "beta=2"}, "unknown option of elbo 'beta'"),
        ({"objective_options": "beta"}, 'objective_options must be like "beta=0.5"'),
    ],
)
def test_an_option_of_another_family_or_objective_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        DiscreteVAERecipe(**settings)


def test_estimator_options_are_numbers_truth_values_and_names():
    config = DiscreteVAERecipe(estimator="score_function", estimator_options="num_samples=4, baseline=none,decay=0.5")
    assert config.parsed_estimator_options() == {"num_samples": 4, "baseline": "none", "decay": 0.5}
    assert DiscreteVAERecipe().parsed_estimator_options() == {}
    for text, value in {"True": True, "true": True, "False": False, "false": False}.items():
        config = DiscreteVAERecipe(estimator="nvil", estimator_options=f"normalize={text}")
        assert config.parsed_estimator_options() == {"normalize": value}


def test_an_option_may_be_a_schedule_of_the_step():
    config = DiscreteVAERecipe(objective="beta_elbo", objective_options="beta=5:1:100")
    beta = config.parsed_objective_options()["beta"]
    assert [float(beta(step)) for step in (0, 50, 100, 1000)] == [5.0, 3.0, 1.0, 1.0]
    config = DiscreteVAERecipe(estimator="direct_arg_max", estimator_options="epsilon=0:0.5:10")
    assert float(config.parsed_estimator_options()["epsilon"](5)) == 0.25


@pytest.mark.parametrize("text", ["5:1", "5:1:0", "5:one:10", "5:1:10:2", "nan:1:10", "5:1:2.5"])
def test_a_schedule_of_another_form_is_refused(text):
    with pytest.raises(InputError, match=rf"START:END:STEPS, .* such as 5:1:20000. Received: beta={text}\."):
        DiscreteVAERecipe(objective="beta_elbo", objective_options=f"beta={text}")
