import itertools

import numpy as np
import pytest
import tensorflow as tf

from tests.objectives.conftest import random_model
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.objectives import elbo_forms

SEEDS = [0, 1, 2]


def forms(model, logits):
    return elbo_forms(ProductCategorical(tf.constant(logits)), model.double_prior(), model.log_likelihood)


def expected_terms(model, logits):
    """Each form's terms, in NumPy, by sums over the nine codes."""
    log_q, log_joint, log_prior = model.log_q(logits), model.log_joint(), model.log_prior()
    q, evidence = np.exp(log_q), model.log_evidence()
    aggregate = q.mean(1)
    likelihood = (q * (log_joint - log_prior[:, None])).sum(0)
    entropy = -(q * log_q).sum(0)
    return {
        "em": (evidence, (q * (log_q - (log_joint - evidence))).sum(0)),
        "joint": ((q * log_joint).sum(0), entropy),
        "vae": (likelihood, model.rate(logits)),
        "dvae": (
            likelihood,
            (q * (log_q - np.log(aggregate)[:, None])).sum(0),
            (aggregate * (np.log(aggregate) - log_prior)).sum(),
        ),
        "maxent": (
            likelihood,
            entropy,
            -(aggregate * log_prior).sum(),
            -(aggregate * np.log(aggregate)).sum(),
        ),
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_every_term_is_its_sum_over_all_codes(logits, seed):
    model = random_model(seed)
    found = forms(model, logits)
    expected = expected_terms(model, logits)
    assert found._fields == tuple(expected)
    for form, terms in zip(found, expected.values(), strict=True):
        for ours, theirs in zip(form, terms, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_all_forms_are_the_mean_elbo(logits, seed):
    model = random_model(seed)
    for form in forms(model, logits):
        np.testing.assert_allclose(form.elbo, model.elbo(logits).mean(), rtol=0, atol=1e-10)


def test_the_information_is_the_aggregate_s_entropy_less_the_mean_of_the_examples(model, logits):
    found = forms(model, logits)
    information = found.maxent.aggregate_entropy - tf.reduce_mean(found.maxent.entropy)
    np.testing.assert_allclose(tf.reduce_mean(found.dvae.information), information, atol=1e-10)
    distance = found.maxent.cross_entropy - found.maxent.aggregate_entropy
    np.testing.assert_allclose(found.dvae.aggregate_rate, distance, atol=1e-10)


def test_each_form_bounds_the_mean_evidence_and_says_so(model, logits):
    found = forms(model, logits)
    assert found.bound == "discrete"
    assert all(form.elbo < model.log_evidence().mean() - 1e-3 for form in found)


def test_of_mini_batches_just_the_terms_that_are_said_to_be_biased_are(model, logits):
    whole = forms(model, logits)
    pairs = [list(pair) for pair in itertools.combinations(range(5), 2)]
    parts = [forms(model._replace(x=model.x[pair]), logits[pair]) for pair in pairs]
    for name in whole._fields:
        biased = whole.biased_on_batches.get(name, ())
        for term in getattr(whole, name)._fields:
            mean = np.mean([np.mean(getattr(getattr(part, name), term)) for part in parts])
            error = mean - np.mean(getattr(getattr(whole, name), term))
            assert (abs(error) > 1e-3) == (term in biased), (name, term)
            if term in biased:
                assert np.sign(error) == (1 if term == "aggregate_rate" else -1)
        assert np.mean([getattr(part, name).elbo for part in parts]) == pytest.approx(model.elbo(logits).mean())


def test_a_code_that_never_comes_counts_for_nothing(model, logits):
    logits = logits.copy()
    logits[:, 0, 0] = -2000.0
    found = forms(model, logits)
    for form in found:
        assert np.isfinite(form.elbo)
        np.testing.assert_allclose(form.elbo, found.vae.elbo, atol=1e-10)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_give_the_eager_forms_of_any_batch(model, logits, jit_compile):
    traced = tf.function(
        lambda at: elbo_forms(ProductCategorical(at), model.double_prior(), model.log_likelihood).dvae.elbo,
        input_signature=[tf.TensorSpec([None, 2, 3], tf.float64)],
        jit_compile=jit_compile,
    )
    np.testing.assert_allclose(traced(logits), forms(model, logits).dvae.elbo, rtol=1e-12)


def test_too_many_codes_are_refused_and_counted(model):
    q = ProductCategorical(tf.zeros([5, 20, 10]))
    with pytest.raises(InputError, match=r"10\^20 = 10\^20\.0 codes, more than max_codes=4096.*prior_sampling_bound"):
        elbo_forms(q, model.prior(), model.log_likelihood)
