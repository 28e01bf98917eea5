import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tests.estimators.problems import assert_mean_is
from tests.priors.arbitrary import (
    DISCRETE,
    FAMILIES,
    all_codes,
    build,
    encoder_of,
    indices_of,
    make_family,
    randomize,
)
from tfdiscrete import InputError, families, priors
from tfdiscrete.objectives.rate_per_latent import rate_per_latent
from tfdiscrete.objectives.relaxed_rate import has_relaxed_density, relaxed_log_prob, relaxed_point
from tfdiscrete.priors import Compartmentalised, Fixed, Learned

ROWS = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])


def two_learned(family):
    """Two groups, and one prior of the same law."""
    prior = randomize(build(Compartmentalised([2, 1], ["learned", Learned()]), family))
    whole = build(Learned(), family)
    flat = np.concatenate([weight.reshape(-1) for weight in prior.get_weights()])
    whole.set_weights([flat.reshape(whole.parameters().shape)])
    return prior, whole


def posterior(family, examples=4):
    shape = (examples, *family.prior_parameters().shape)
    return family.distribution(np.random.default_rng(0).normal(size=shape).astype("float32"))


def log_normal(c, parameters):
    """The log densities of values `[..., M]`, of means and log scales `[M, 2]`, summed."""
    loc, log_scale = np.moveaxis(np.asarray(parameters, np.float64), -1, 0)
    return scipy.stats.norm(loc, np.exp(log_scale)).logpdf(c).sum(-1)


def log_mixture(each, prior):
    return scipy.special.logsumexp(np.stack(each, axis=-1) + np.asarray(prior.log_weights()), axis=-1)


def four_groups_of_both_kinds():
    """Two groups of three discrete variables and two of three Gaussian ones."""
    family = families.Mixed(families.Categorical(3), num_discrete=3)
    family.build((None, 3 * 3 + 2 * 3))
    parts = ["learned", priors.Mixture(2, seed=1), priors.Mixture(3), "learned"]
    return family, randomize(build(Compartmentalised([1, 2, 2, 1], parts), family))


@pytest.mark.parametrize("family", FAMILIES)
def test_kl_and_log_prob_of_learned_groups_are_those_of_one_learned_prior(family):
    family = make_family(family)
    prior, whole = two_learned(family)
    assert prior.has_analytic_kl
    q = posterior(family)
    z = family.hard(q).sample(3, seed=[0, 1])
    np.testing.assert_allclose(prior.log_prob(z), whole.log_prob(z), rtol=1e-4, atol=1e-5)
    for law in (q, family.hard(q)):
        np.testing.assert_allclose(prior.kl_divergence(law), whole.kl_divergence(law), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_rates_of_the_variables_of_learned_groups_are_those_of_one_learned_prior(family):
    prior, whole = two_learned(make_family(family))
    q = posterior(make_family(family))
    np.testing.assert_allclose(rate_per_latent(q, prior), rate_per_latent(q, whole), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(rate_per_latent(q, prior), axis=-1), prior.kl_divergence(q), rtol=1e-4)


@pytest.mark.parametrize("family", ["categorical", "invertible gaussian", "mixed"])
def test_relaxed_density_of_learned_groups_is_that_of_one_learned_prior(family):
    prior, whole = two_learned(make_family(family))
    point = relaxed_point(posterior(make_family(family)), [0, 1], 5, 0.7)
    np.testing.assert_allclose(
        relaxed_log_prob(prior, point, 0.7), relaxed_log_prob(whole, point, 0.7), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("part", "has"), [("mixture", True), ("hierarchical", False)])
def test_there_is_a_relaxed_density_where_all_parts_have_one(part, has):
    prior = build(Compartmentalised([1, 2], ["learned", part]), make_family("categorical"))
    assert has_relaxed_density(prior) == has
    point = relaxed_point(posterior(make_family("categorical")), [0, 1], 5, 0.7)
    if has:
        assert relaxed_log_prob(prior, point, 0.7).shape == (5, 4)
    else:
        with pytest.raises(InputError, match="density of the relaxed prior, and Hierarchical gives none"):
            relaxed_log_prob(prior, point, 0.7)


def test_log_prob_of_both_kinds_is_the_sum_over_the_groups_in_scipy():
    _, prior = four_groups_of_both_kinds()
    rng = np.random.default_rng(0)
    d, c = np.eye(3)[rng.integers(3, size=(4, 5, 3))], rng.normal(size=(4, 5, 3))
    label, shapes, style, last = prior.parts
    log_pi = [scipy.special.log_softmax(np.asarray(part.parameters(), np.float64), axis=-1) for part in (label, shapes)]
    expected = (
        (d[..., 0, :] * log_pi[0][0]).sum(-1)
        + log_mixture([(d[..., 1:, :] * row).sum((-2, -1)) for row in log_pi[1]], shapes)
        + log_mixture([log_normal(c[..., :2], row) for row in style.parameters()], style)
        + log_normal(c[..., 2:], last.parameters())
    )
    z = np.concatenate([d.reshape(4, 5, 9), c], axis=-1).astype("float32")
    np.testing.assert_allclose(prior.log_prob(tf.constant(z)), expected, rtol=1e-4)


def test_samples_of_both_kinds_have_the_means_of_their_groups():
    _, prior = four_groups_of_both_kinds()
    z = prior.sample(tf.constant(20_000), [0, 1])
    assert z.shape[1:] == (12,)
    label, shapes, style, last = (np.asarray(part.parameters(), np.float64) for part in prior.parts)
    weights = [scipy.special.softmax(part._logits.numpy()) for part in (prior.part_1, prior.part_2)]
    pi = np.tensordot(weights[0], scipy.special.softmax(shapes, axis=-1), axes=1)
    means = [scipy.special.softmax(label, axis=-1), pi, np.tensordot(weights[1], style[..., 0], axes=1), last[..., 0]]
    assert_mean_is(np.concatenate([mean.reshape(-1) for mean in means]), z)


def test_kl_of_both_kinds_is_the_sum_of_the_closed_forms_and_the_mean_log_ratio():
    family = families.Mixed(families.Categorical(3), num_discrete=1)
    family.build((None, 3 + 2 * 3))
    prior = randomize(build(Compartmentalised([1, 2, 1], ["learned", Learned(), "learned"]), family))
    q = posterior(family)
    log_q = scipy.special.log_softmax(np.asarray(q.discrete.logits, np.float64), axis=-1)
    log_p = scipy.special.log_softmax(np.asarray(prior.part_0.parameters(), np.float64), axis=-1)
    loc, log_scale = np.moveaxis(np.concatenate([part.parameters() for part in prior.parts[1:]]), -1, 0)
    ratio = (np.asarray(q.continuous.scale) / np.exp(log_scale)) ** 2
    squares = (np.asarray(q.continuous.loc) - loc) ** 2 / np.exp(2 * log_scale)
    expected = (np.exp(log_q) * (log_q - log_p)).sum((1, 2)) + 0.5 * (ratio + squares - 1 - np.log(ratio)).sum(-1)
    assert prior.has_analytic_kl
    np.testing.assert_allclose(prior.kl_divergence(q), expected, rtol=1e-4)
    z = q.sample(20_000, seed=[0, 1])
    assert_mean_is(expected, q.log_prob(z) - prior.log_prob(z))


def test_relaxed_density_of_both_kinds_has_that_of_gaussian_groups_as_it_is():
    family, prior = four_groups_of_both_kinds()
    point = relaxed_point(posterior(family), [0, 1], 5, 0.7)
    log_y, c = family.split(point)
    label, shapes, style, last = prior.parts
    expected = (
        np.asarray(relaxed_log_prob(label, log_y[..., :1, :], 0.7))
        + relaxed_log_prob(shapes, log_y[..., 1:, :], 0.7)
        + log_mixture([log_normal(c[..., :2], row) for row in style.parameters()], style)
        + log_normal(c[..., 2:], last.parameters())
    )
    np.testing.assert_allclose(relaxed_log_prob(prior, point, 0.7), expected, rtol=1e-4)


@pytest.mark.parametrize(
    "prior",
    [Compartmentalised([1, 2], ["fixed"] * 2), Compartmentalised([3], ["fixed"]), priors.Hierarchical(1)],
    ids=["two", "one", "hierarchical"],
)
def test_a_group_of_both_kinds_is_refused_and_the_boundary_named(prior):
    message = r"behind 2 of 3\. Received: groups of .*; \[2, 1\] would do, say, or num_top=2 of 'hierarchical'"
    with pytest.raises(InputError, match=message):
        build(prior, make_family("mixed"))


def test_a_family_of_no_known_kind_is_refused():
    class Other(families.Mixed.__base__):
        def parameters_shape(self, num_latents):
            return (num_latents, 1)

        codes_shape = parameters_shape

        def distribution(self, parameters):
            raise NotImplementedError

        prior_parameters = outputs = distribution

    other = Other()
    other.num_latents = 3
    with pytest.raises(InputError, match="takes those of one kind, or Mixed ones. Received: Other; use the prior 'fix"):
        Compartmentalised([1, 2], ["fixed", "fixed"]).build(other)


@pytest.mark.parametrize("family", DISCRETE)
def test_groups_are_independent_and_in_their_order(family):
    family = make_family(family)
    prior = randomize(build(Compartmentalised([2, 1], [priors.Mixture(3), "learned"]), family))
    categories = family.num_categories
    p = np.exp(np.asarray(prior.log_prob(all_codes(family)), np.float64)).reshape(categories**2, categories)
    first, second = p.sum(1), p.sum(0)
    np.testing.assert_allclose(p, np.outer(first, second), rtol=1e-4)
    own = family.hard(family.distribution(prior.part_1.parameters()))
    np.testing.assert_allclose(second, np.exp(own.log_prob(np.eye(categories, dtype="float32")[:, None])), rtol=1e-4)
    assert np.ptp(first) > 0.02


@pytest.mark.parametrize("probabilities", [ROWS, ROWS[0], ROWS[:1]], ids=["rows", "row", "one row"])
def test_a_group_has_the_probabilities_that_its_fixed_prior_was_given(probabilities):
    family = make_family("categorical")
    prior = build(Compartmentalised([1, 2], ["learned", Fixed(probabilities)]), family)
    mean = prior.part_1.distribution().mean()
    np.testing.assert_allclose(mean, np.broadcast_to(probabilities, (2, 3)), rtol=1e-5)


@pytest.mark.parametrize("probabilities", [np.full((3, 3), 1 / 3), np.full((2, 2, 3), 1 / 3), [0.5, 0.5]])
def test_probabilities_of_another_shape_than_the_group_are_refused(probabilities):
    with pytest.raises(InputError, match="must broadcast to"):
        build(Compartmentalised([1, 2], ["learned", Fixed(probabilities)]), make_family("categorical"))


def test_a_vamp_prior_of_a_group_is_made_of_its_own_variables():
    family = make_family("categorical")
    encode = encoder_of(family)
    examples = np.random.default_rng(0).random((4, 2, 2)).astype("float32")
    prior = build(Compartmentalised([1, 2], ["learned", priors.VampPrior(pseudo_inputs=examples)]), family, encode)
    np.testing.assert_array_equal(prior.part_1.parameters(), encode(examples)[:, 1:])
    q = family.distribution(encode(examples))
    aggregate = tf.reduce_mean(q.mean(), axis=0).numpy()
    drawn = prior.sample(20_000, [0, 1]).numpy().mean(0)
    np.testing.assert_allclose(drawn[1:], aggregate[1:], atol=0.015)


def test_a_vamp_prior_of_a_group_of_both_kinds_is_made_of_its_own_variables():
    family = make_family("mixed")
    encode = encoder_of(family)
    examples = np.random.default_rng(0).random((4, 2, 2)).astype("float32")
    parts = ["learned", priors.VampPrior(pseudo_inputs=examples), priors.VampPrior(pseudo_inputs=examples)]
    prior = build(Compartmentalised([1, 1, 1], parts), family, encode)
    flat = encode(examples).numpy()
    np.testing.assert_array_equal(prior.part_1.parameters(), flat[:, None, 3:6])
    np.testing.assert_array_equal(prior.part_2.parameters(), flat[:, None, 6:])


def test_a_part_views_the_family_s_flow_at_its_own_variables():
    family = make_family.__wrapped__("planar")  # not that of the other tests
    family.u.assign(np.random.default_rng(0).normal(size=family.u.shape))
    family.w.assign(np.random.default_rng(1).normal(size=family.w.shape))
    prior = build(Compartmentalised([1, 2], ["learned", "learned"]), family)
    z = np.random.default_rng(2).normal(scale=2.0, size=(50, 3, 1)).astype("float32")
    hard = family.harden(tf.constant(z))
    np.testing.assert_array_equal(prior.part_0.latents.harden(tf.constant(z[:, :1])), hard[:, :1])
    np.testing.assert_array_equal(prior.part_1.latents.harden(tf.constant(z[:, 1:])), hard[:, 1:])


def test_groups_have_noise_of_their_own():
    prior = build(Compartmentalised([1, 1], ["learned", "learned"]), make_family("categorical", num_latents=2))
    counts = np.bincount(indices_of(prior.sample(9_000, [0, 1])), minlength=9)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_a_part_has_what_a_family_has():
    family = make_family("counts")
    prior = build(Compartmentalised([1, 2], ["learned", "learned"]), family)
    part = prior.part_1.latents
    assert (part.num_latents, part.num_parameters, part.code_shape) == (2, family.num_parameters, ())
    assert part.logits_shape == (None, 2, 3)
    q = part.distribution(tf.zeros([5, 2, 3]))
    assert part.outputs(q)["code"].shape == (5, 2)
    assert part.logits(tf.zeros([5, 2, 3])).shape == (5, 2, 3)


@pytest.mark.parametrize("sizes", [[1, 1], [2, 2], [1, 1, 1, 1]])
def test_sizes_of_another_sum_are_refused(sizes):
    with pytest.raises(InputError, match=rf"sum to the number of latent variables, 3\. .*sum to {sum(sizes)}"):
        build(Compartmentalised(sizes, ["fixed"] * len(sizes)), make_family("categorical"))


@pytest.mark.parametrize(
    ("sizes", "parts", "message"),
    [
        ([1, 2], ["fixed"], "a list of one prior for each of the groups"),
        ([1, 2], "fixed", "a list of one prior for each of the groups"),
        ([], [], "a list of one prior for each of the groups"),
        ([0, 3], ["fixed", "fixed"], "sizes must be an integer of at least 1"),
        ([1, 2], ["fixed", "fix"], "unknown prior 'fix'. Did you mean 'fixed'"),
        ([1, 2], [Learned()] * 2, "each group needs a prior of its own"),
    ],
)
def test_groups_without_a_prior_each_are_refused(sizes, parts, message):
    with pytest.raises(InputError, match=message):
        Compartmentalised(sizes, parts)


def test_a_prior_that_was_built_for_another_group_is_refused():
    learned = Learned()
    learned.build((2, 3))
    with pytest.raises(InputError, match="each group needs a prior that is not built. Received: the Learned"):
        build(Compartmentalised([1, 2], [learned, "fixed"]), make_family("categorical"))
