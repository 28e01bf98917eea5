import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfdiscrete import InputError
from tfdiscrete.bijectors import PlanarFlow, StickBreaking
from tfdiscrete.distributions import InvertibleGaussian, is_family
from tfdiscrete.estimators import Enumeration, GumbelSoftmax
from tfdiscrete.ops import log_softmax_plus_plus, normal, softmax_plus_plus_limit

tfb, tfd = tfp.bijectors, tfp.distributions

LOC = np.array([0.4, -0.3, 0.1, -0.8, 0.6])
SCALE = np.array([0.8, 1.1, 0.6, 0.9, 1.3])
U = np.array([-0.5, 1.2, 0.7, -0.3, 0.4])
W = np.array([0.9, 0.5, -0.4, 0.8, 0.3])
B = 0.2
FLOWS = ["none", "planar", "stick_breaking"]
every_flow = pytest.mark.parametrize("flow", FLOWS)


def bijector(flow, categories, dtype=tf.float64):
    if flow == "planar":
        return PlanarFlow(*(tf.constant(value, dtype) for value in (U[: categories - 1], W[: categories - 1], B)))
    return StickBreaking() if flow == "stick_breaking" else None


def distribution(flow, categories, temperature=0.7, delta=1.5, dtype=tf.float64, **options):
    loc, scale = (tf.constant(value[: categories - 1], dtype) for value in (LOC, SCALE))
    return InvertibleGaussian(loc, scale, temperature, delta, bijector(flow, categories, dtype), **options)


def by_hand(flow, y):
    """`v` and log |dv/dy| by NumPy, for one flow of the table above."""
    size = y.shape[-1]
    if flow == "planar":
        u, w = U[:size], W[:size]
        shift = u + (np.log1p(np.expm1(1.0) * np.exp(w @ u)) - 1.0 - w @ u) * w / (w @ w)
        t = np.tanh(y @ w + B)
        return y + shift * t[..., None], np.log(1.0 + (1.0 - t**2) * (w @ shift))
    if flow == "stick_breaking":
        left, weights, log_det = np.ones(y.shape[:-1]), [], 0.0
        for k in range(size):
            share = scipy.special.expit(y[..., k])
            weights.append(share * left)
            log_det = log_det + np.log(share) + np.log(1.0 - share) + np.log(left)
            left = left * (1.0 - share)
        return np.stack(weights, axis=-1), log_det
    return y, np.zeros(y.shape[:-1])


def log_simplex(v, temperature, delta):
    """softmax++ and its log-det, by NumPy."""
    padded = np.concatenate([v / temperature, np.full((*v.shape[:-1], 1), np.log(delta))], axis=-1)
    log_x = scipy.special.log_softmax(padded, axis=-1)
    return log_x, log_x.sum(-1) - v.shape[-1] * np.log(temperature)


@every_flow
@pytest.mark.parametrize(("temperature", "delta"), [(1.0, 1.0), (0.1, 0.3), (3.0, 5.0)])
@pytest.mark.parametrize("categories", [2, 3, 6])
def test_log_prob_is_the_change_of_variables_by_hand(categories, temperature, delta, flow):
    y = np.random.default_rng(0).normal(size=(20, categories - 1))
    v, log_det = by_hand(flow, y)
    log_x, log_det_of_simplex = log_simplex(v, temperature, delta)
    gaussian = scipy.stats.norm.logpdf(y, LOC[: categories - 1], SCALE[: categories - 1]).sum(-1)
    relaxed, expected = distribution(flow, categories, temperature, delta), gaussian - log_det - log_det_of_simplex
    np.testing.assert_allclose(relaxed.log_prob_of_log(log_x), expected, rtol=1e-8)
    np.testing.assert_allclose(relaxed.log_prob(np.exp(log_x)), expected, rtol=1e-8)


@every_flow
@pytest.mark.parametrize("categories", [2, 3])
def test_density_integrates_to_one(categories, flow):
    # Over t = log x_k - log x_K in R^(K-1), where |dx/dt| = prod_k x_k, by the trapezoidal rule.
    low, high = (-np.log(1.5), 1 / 0.7 - np.log(1.5)) if flow == "stick_breaking" else (-20.0, 20.0)
    grid = np.linspace(low, high, 601)
    t = np.stack(np.meshgrid(*[grid] * (categories - 1), indexing="ij"), axis=-1).reshape(-1, categories - 1)
    log_x = scipy.special.log_softmax(np.concatenate([t, np.zeros((len(t), 1))], axis=-1), axis=-1)
    density = np.exp(distribution(flow, categories).log_prob_of_log(log_x).numpy() + log_x.sum(-1))
    assert density.sum() * (grid[1] - grid[0]) ** (categories - 1) == pytest.approx(1.0, abs=1e-5)


@every_flow
def test_density_of_six_categories_integrates_to_one_by_importance_sampling(flow):
    count, temperature, delta = 200_000, 1.2, 1.5
    if flow == "stick_breaking":
        # Sticks of uniform shares, carried into the image.
        shares = np.random.default_rng(0).uniform(size=(count, 5))
        left = np.cumprod(np.concatenate([np.ones((count, 1)), 1.0 - shares[:, :-1]], axis=-1), axis=-1)
        log_x, log_det = log_simplex(shares * left, temperature, delta)
        log_proposal = -np.log(left).sum(-1) - log_det
    else:
        proposal = np.random.default_rng(0).dirichlet(np.full(6, 0.8), size=count)
        log_x, log_proposal = np.log(proposal), scipy.stats.dirichlet.logpdf(proposal.T, np.full(6, 0.8))
    weights = np.exp(distribution(flow, 6, temperature, delta).log_prob_of_log(log_x).numpy() - log_proposal)
    assert abs(weights.mean() - 1.0) < 4.5 * weights.std() / np.sqrt(count)
    assert weights.std() / np.sqrt(count) < 0.02


@every_flow
def test_samples_of_two_categories_have_the_integral_of_the_density_as_law(flow):
    low, high = (-np.log(1.5), 1 / 0.7 - np.log(1.5)) if flow == "stick_breaking" else (-20.0, 20.0)
    t = np.linspace(low, high, 20_001)
    log_x = scipy.special.log_softmax(np.stack([t, np.zeros_like(t)], axis=-1), axis=-1)
    relaxed = distribution(flow, 2)
    density = np.exp(relaxed.log_prob_of_log(log_x).numpy() + log_x.sum(-1))
    cumulative = scipy.integrate.cumulative_trapezoid(density, t, initial=0.0)
    sample = relaxed.sample_log(50_000, [1, 2]).numpy()
    values = np.interp(sample[:, 0] - sample[:, 1], t, cumulative)
    assert scipy.stats.kstest(values, "uniform").pvalue > 1e-3


@every_flow
@pytest.mark.parametrize("categories", [3, 6])
def test_mean_ratio_of_a_narrower_density_to_the_samples_own_is_one(categories, flow):
    relaxed, count, size = distribution(flow, categories), 50_000, categories - 1
    log_x = relaxed.sample_log(count, [3, 4])
    narrower = InvertibleGaussian(
        LOC[:size] + 0.1, 0.8 * SCALE[:size], relaxed.temperature, relaxed.delta, bijector(flow, categories)
    )
    ratios = np.exp(narrower.log_prob_of_log(log_x) - relaxed.log_prob_of_log(log_x))
    assert abs(ratios.mean() - 1.0) < 4.5 * ratios.std() / np.sqrt(count)


@every_flow
def test_samples_are_numpy_s_on_the_same_noise(flow):
    relaxed = distribution(flow, 6, 0.4, 2.0)
    noise = normal([7, 5], [1, 2], dtype=tf.float64).numpy()
    expected = log_simplex(by_hand(flow, LOC + SCALE * noise)[0], 0.4, 2.0)[0]
    np.testing.assert_allclose(relaxed.sample_log(7, [1, 2]), expected, rtol=1e-9)
    np.testing.assert_allclose(relaxed.sample(7, seed=[1, 2]), np.exp(relaxed.sample_log(7, [1, 2])), rtol=1e-12)
    np.testing.assert_allclose(relaxed.relax([1, 2], 7, 0.4), expected, rtol=1e-6)


@every_flow
def test_samples_with_their_density_are_those_of_sample_log_and_log_prob_of_log(flow):
    q = distribution(flow, 5)
    log_x, log_prob = q.sample_log_and_log_prob([7], [1, 2])
    np.testing.assert_array_equal(log_x, q.sample_log([7], [1, 2]))
    np.testing.assert_allclose(log_prob, q.log_prob_of_log(tf.identity(log_x)), rtol=1e-6)


def test_samples_with_their_density_stay_exact_where_the_point_has_lost_the_rest_of_the_stick():
    loc, scale = np.zeros((49,)), np.ones((49,))
    results = []
    for dtype in ("float32", "float64"):
        q = InvertibleGaussian(tf.constant(loc, dtype), tf.constant(scale, dtype), 0.5, flow=StickBreaking())
        log_x, log_prob = q.sample_log_and_log_prob([100], [1, 2])
        results.append(log_prob.numpy())
        if dtype == "float32":
            assert np.isneginf(q.log_prob_of_log(tf.identity(log_x))).mean() > 0.5
    # The two types draw different noise, of one law.
    assert all(np.isfinite(result).all() for result in results)
    means, errors = zip(*((r.mean(), r.std() / 10.0) for r in results), strict=True)
    assert abs(means[0] - means[1]) < 4.5 * np.hypot(*errors)


@pytest.mark.parametrize(
    "log_x", [[0.0, -5.0, -1.0], [0.9, 0.9, 0.0], [5.0, 0.1, 0.0], [0.2, -0.1, 0.0]], ids=["1", "2", "3", "4"]
)
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_density_is_zero_outside_of_the_image_of_stick_breaking_with_finite_gradients(log_x, dtype):
    # With temperature and delta 1 the image is 0 < log x_k - log x_K, of sum below 1.
    leaves = [tf.constant(value, dtype) for value in ([0.1, 0.2], [1.0, 1.5], scipy.special.log_softmax(log_x))]
    inside = tf.constant(scipy.special.log_softmax([0.3, 0.4, 0.0]), dtype)
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        relaxed = InvertibleGaussian(leaves[0], leaves[1], flow=StickBreaking())
        log_prob = relaxed.log_prob_of_log(tf.stack([leaves[2], inside]))
    assert log_prob[0] == -np.inf
    assert np.isfinite(log_prob[1])
    gradients = tape.gradient(log_prob, leaves)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    np.testing.assert_array_equal(gradients[2], np.zeros(3))


def test_hard_samples_have_the_frequencies_of_the_discretization():
    relaxed, count = distribution("none", 6), 100_000
    counts = relaxed.sample_hard(count, [1, 2]).numpy().sum(0)
    assert scipy.stats.chisquare(counts, count * relaxed.discretize().probs_parameter()).pvalue > 1e-3


@every_flow
def test_hard_samples_are_the_argmax_of_the_relaxed_ones_for_delta_one(flow):
    relaxed = distribution(flow, 4, 0.5, 1.0)
    hard, log_x = relaxed.sample_hard(500, [1, 2]), relaxed.sample_log(500, [1, 2])
    np.testing.assert_array_equal(hard, np.eye(4)[np.argmax(log_x, axis=-1)])


@every_flow
@pytest.mark.parametrize("delta", [0.2, 5.0])
def test_hard_samples_are_the_limit_of_the_relaxed_ones_for_any_delta(flow, delta):
    relaxed = distribution(flow, 4, 1e-4, delta)
    hard, log_x = relaxed.sample_hard(500, [1, 2]).numpy(), relaxed.sample_log(500, [1, 2]).numpy()
    assert (hard == np.eye(4)[log_x.argmax(-1)]).all(-1).mean() > 0.99


@pytest.mark.parametrize("flow", ["planar", "stick_breaking"])
def test_counted_discretization_is_that_of_numpy_draws(flow):
    relaxed, count = distribution(flow, 5), 100_000
    draws = by_hand(flow, np.random.default_rng(0).normal(LOC[:4], SCALE[:4], size=(count, 4)))[0]
    expected = np.bincount(np.where(draws.max(-1) > 0, draws.argmax(-1), 4), minlength=5)
    counts = count * relaxed.discretize(count, [1, 2]).probs_parameter().numpy()
    present = expected + counts > 0
    assert scipy.stats.chi2_contingency([counts[present], expected[present]]).pvalue > 1e-3
    np.testing.assert_allclose(counts.sum(), count, rtol=1e-6)


@pytest.mark.parametrize("flow", ["planar", "stick_breaking"])
def test_discretize_with_a_flow_names_counting(flow):
    with pytest.raises(InputError, match=r"no quadrature .* behind \w+.*discretize\(num_samples, seed\)"):
        distribution(flow, 4).discretize()
    with pytest.raises(InputError, match=r"discretize\(num_samples, seed\)"):
        _ = distribution(flow, 4).logits


@pytest.mark.parametrize("num_samples", [0, -1, 2.5])
def test_discretize_refuses_other_counts(num_samples):
    with pytest.raises(InputError, match="num_samples must be an integer of at least 1"):
        distribution("none", 4).discretize(num_samples, [1, 2])


def test_stick_breaking_never_hits_the_last_category():
    relaxed = InvertibleGaussian(tf.constant([-9.0, -9.0, -9.0]), tf.ones([3]), 0.5, flow=StickBreaking())
    assert relaxed.sample_hard(10_000, [1, 2]).numpy()[:, -1].sum() == 0
    logits = relaxed.discretize(10_000, [1, 2]).logits_parameter()
    assert logits[-1] == -np.inf


def test_hard_outcome_is_the_largest_positive_coordinate_or_the_last_category():
    v = tf.constant([[0.1, 0.3], [-0.1, -0.3], [-5.0, 1e-9]])
    np.testing.assert_array_equal(softmax_plus_plus_limit(v), np.eye(3)[[1, 2, 1]])


def other(flow, categories, flow_object, temperature=0.7, delta=1.5):
    size = categories - 1
    return InvertibleGaussian(LOC[:size][::-1].copy(), 1.3 * SCALE[:size], temperature, delta, flow_object)


@pytest.mark.parametrize(
    ("flow", "temperature", "delta"),
    [
        ("none", 0.7, 1.5),
        ("none", 1.1, 1.5),
        ("none", 0.7, 0.4),
        ("none", 1.3, 3.0),
        ("planar", 0.7, 1.5),
        ("stick_breaking", 0.7, 1.5),
    ],
)
def test_kl_is_that_of_monte_carlo(flow, temperature, delta):
    q, count = distribution(flow, 4), 50_000
    p = other(flow, 4, q.flow, temperature, delta)
    log_x = q.sample_log(count, [5, 6])
    draws = (q.log_prob_of_log(log_x) - p.log_prob_of_log(log_x)).numpy()
    exact = tfd.kl_divergence(q, p).numpy()
    assert exact > 0.1
    assert abs(draws.mean() - exact) < 4.5 * draws.std() / np.sqrt(count)
    np.testing.assert_allclose(tfd.kl_divergence(q, q), 0.0, atol=1e-12)


@every_flow
def test_kl_with_a_shared_map_is_that_of_the_gaussians(flow):
    q = distribution(flow, 4)
    p = other(flow, 4, StickBreaking() if flow == "stick_breaking" else q.flow)
    ratio = SCALE[:3] / (1.3 * SCALE[:3])
    distance = (LOC[:3] - LOC[:3][::-1]) / (1.3 * SCALE[:3])
    expected = np.sum(0.5 * (ratio**2 + distance**2 - 1.0) - np.log(ratio))
    np.testing.assert_allclose(tfd.kl_divergence(q, p), expected, rtol=1e-12)


def test_kl_without_a_shared_map_is_refused_and_its_estimate_named():
    q = distribution("planar", 4)
    twins = [
        other("planar", 4, bijector("planar", 4)),
        other("none", 4, None),
        other("stick_breaking", 4, StickBreaking()),
        other("planar", 4, q.flow, temperature=0.8),
        other("planar", 4, q.flow, delta=1.0),
    ]
    for p in twins:
        with pytest.raises(InputError, match=r"share the flow object, the temperature and delta.*q\.sample_log"):
            tfd.kl_divergence(q, p)


def test_kl_of_a_shared_traced_temperature_needs_no_static_value():
    @tf.function
    def kl(temperature):
        flow = bijector("planar", 4)
        loc, scale = tf.constant(LOC[:3]), tf.constant(SCALE[:3])
        q = InvertibleGaussian(loc, scale, temperature, 1.0, flow)
        return tfd.kl_divergence(q, InvertibleGaussian(loc + 1.0, scale, temperature, 1.0, flow))

    np.testing.assert_allclose(kl(tf.constant(0.3, tf.float64)), np.sum(0.5 / SCALE[:3] ** 2), rtol=1e-12)


COST = np.array([0.3, -1.0, 2.0])


def cost(z):
    return tf.reduce_sum(z * COST, axis=[-2, -1]) ** 2


def hard_probabilities(loc, scale):
    """P of three categories by SciPy's adaptive quadrature."""

    def first(t, k):
        return scipy.stats.norm.pdf(t, loc[k], scale[k]) * scipy.stats.norm.cdf(t, loc[1 - k], scale[1 - k])

    shares = [scipy.integrate.quad(first, 0.0, 12.0, args=(k,), epsabs=1e-13)[0] for k in range(2)]
    return np.array([*shares, scipy.stats.norm.cdf(-loc / scale).prod()])


def test_without_a_flow_it_is_a_family_whose_enumerated_gradient_is_that_of_the_hard_expectation():
    loc, scale = tf.constant(LOC[None, None, :2]), tf.constant(SCALE[None, None, :2])
    with tf.GradientTape() as tape:
        tape.watch([loc, scale])
        q = InvertibleGaussian(loc, scale)
        assert is_family(q)
        value = Enumeration().estimate(q, cost, seed=[0, 0]).value

    def expectation(loc, scale):
        return hard_probabilities(loc, scale) @ COST**2

    np.testing.assert_allclose(value, [expectation(LOC[:2], SCALE[:2])], rtol=1e-9)
    gradients = np.array(tape.gradient(value, [loc, scale])).reshape(2, 2)
    for k, step in enumerate(1e-4 * np.eye(2)):
        by_loc = expectation(LOC[:2] + step, SCALE[:2]) - expectation(LOC[:2] - step, SCALE[:2])
        by_scale = expectation(LOC[:2], SCALE[:2] + step) - expectation(LOC[:2], SCALE[:2] - step)
        np.testing.assert_allclose(gradients[:, k], np.array([by_loc, by_scale]) / 2e-4, rtol=1e-5)


@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_relaxed_estimator_uses_its_own_noise_at_the_estimator_s_temperature(temperature):
    scale, step = np.array(SCALE[None, None, :2]), 1e-6
    estimator = GumbelSoftmax(temperature, num_samples=4)

    def value(loc):
        return estimator.estimate(InvertibleGaussian(loc, scale), cost, seed=[1, 2]).value

    loc = tf.constant(LOC[None, None, :2])
    with tf.GradientTape() as tape:
        tape.watch(loc)
        estimate = estimator.estimate(InvertibleGaussian(loc, scale), cost, seed=[1, 2])
    noise = normal([4, 1, 1, 2], [1, 2], dtype=tf.float64).numpy()
    y = np.exp(log_simplex(LOC[:2] + SCALE[:2] * noise, np.float32(temperature), 1.0)[0])
    np.testing.assert_allclose(estimate.sample, y, rtol=1e-9)
    gradient = tape.gradient(estimate.value, loc).numpy().ravel()
    for k, shift in enumerate(step * np.eye(2)):
        expected = (value(loc + shift) - value(loc - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[k], expected[0], rtol=1e-6)


def test_estimators_evaluate_at_hard_samples_of_the_discretization():
    q, count = InvertibleGaussian(LOC[None, None, :3], SCALE[None, None, :3]), 20_000
    sample = (
        GumbelSoftmax(0.5, num_samples=count).estimate(q, lambda z: z[..., 0, 0], seed=[1, 2], training=False).sample
    )
    expected = count * q.discretize().probs_parameter()[0, 0].numpy()
    assert scipy.stats.chisquare(sample.numpy().reshape(-1, 4).sum(0), expected).pvalue > 1e-3


# float16 ends at 65,504: what is of that size there is left to the wider types.
@pytest.mark.parametrize(
    ("dtype", "categories", "temperatures"),
    [
        ("float16", 10, (1e-2, 10.0)),
        ("bfloat16", 10, (1e-3, 0.1, 10.0)),
        ("bfloat16", 10_000, (1e-3, 10.0)),
        ("float32", 2, (1e-3, 10.0)),
        ("float32", 10_000, (1e-3, 0.1, 10.0)),
    ],
)
@pytest.mark.parametrize("flow", ["none", "planar"])
def test_log_samples_and_their_density_are_finite_in_every_type(flow, dtype, categories, temperatures):
    size = categories - 1
    rng = np.random.default_rng(0)
    extreme = 1.0 if dtype == "float16" else 100.0
    for temperature in temperatures:
        loc = tf.constant(extreme * np.sign(rng.normal(size=(2, size))), dtype)
        scale = tf.constant(rng.uniform(0.5, 1.5, size=(2, size)), dtype)
        made = None
        if flow == "planar":
            made = PlanarFlow(
                *(tf.constant(rng.normal(size=shape) / np.sqrt(size), "float32") for shape in (size, size, ()))
            )
        with tf.GradientTape(persistent=True) as tape:
            tape.watch([loc, scale])
            relaxed = InvertibleGaussian(loc, scale, temperature, flow=made)
            log_x = relaxed.sample_log(3, [1, 2])
            log_prob = relaxed.log_prob_of_log(log_x)
            total = tf.reduce_mean(log_x)
        assert log_x.dtype == log_prob.dtype == dtype
        assert log_x.shape == (3, 2, categories)
        assert np.isfinite(np.asarray(log_x, "float32")).all()
        assert np.isfinite(np.asarray(log_prob, "float32")).all()
        for result in (total, log_prob):
            assert all(np.isfinite(np.asarray(g, "float32")).all() for g in tape.gradient(result, [loc, scale]))


@pytest.mark.parametrize("temperature", [1e-2, 10.0])
def test_stick_breaking_is_finite_in_float32(temperature):
    loc, scale = tf.constant([[0.5, -1.0, 2.0], [-2.0, 0.0, 1.0]]), tf.ones([2, 3])
    with tf.GradientTape() as tape:
        tape.watch([loc, scale])
        relaxed = InvertibleGaussian(loc, scale, temperature, flow=StickBreaking())
        log_x = relaxed.sample_log(20, [1, 2])
        log_prob = relaxed.log_prob_of_log(log_x)
    assert np.isfinite(log_x).all()
    assert np.isfinite(log_prob).all()
    assert all(np.isfinite(gradient).all() for gradient in tape.gradient(log_prob, [loc, scale]))


@pytest.mark.parametrize("flow", FLOWS)
def test_gradient_of_samples_is_that_of_finite_differences(flow):
    step, weights = 1e-6, np.random.default_rng(0).normal(size=(4, 4))

    def total(loc, scale):
        relaxed = InvertibleGaussian(loc, scale, 0.6, 2.0, bijector(flow, 4))
        return tf.reduce_sum(weights * relaxed.sample(4, seed=[1, 2]))

    leaves = [tf.constant(LOC[:3]), tf.constant(SCALE[:3])]
    with tf.GradientTape() as tape:
        tape.watch(leaves)
        value = total(*leaves)
    gradients = tape.gradient(value, leaves)
    for k, shift in enumerate(step * np.eye(3)):
        by_loc = total(leaves[0] + shift, leaves[1]) - total(leaves[0] - shift, leaves[1])
        by_scale = total(leaves[0], leaves[1] + shift) - total(leaves[0], leaves[1] - shift)
        np.testing.assert_allclose(gradients[0][k], by_loc / (2 * step), rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(gradients[1][k], by_scale / (2 * step), rtol=1e-6, atol=1e-8)


@every_flow
@pytest.mark.parametrize("sample_shape", [3, [2, 3], []])
def test_shapes_are_sample_then_batch_then_event(flow, sample_shape):
    relaxed = InvertibleGaussian(np.zeros((4, 1)), np.ones(3), 0.5, flow=bijector(flow, 4))
    expected = (*np.atleast_1d(np.array(sample_shape, int)), 4, 4)
    assert relaxed.batch_shape == (4,)
    assert relaxed.event_shape == (4,)
    np.testing.assert_array_equal(relaxed.batch_shape_tensor(), [4])
    np.testing.assert_array_equal(relaxed.event_shape_tensor(), [4])
    for sample in (
        relaxed.sample(sample_shape, seed=[0, 1]),
        relaxed.sample_log(sample_shape, [0, 1]),
        relaxed.sample_hard(sample_shape, [0, 1]),
    ):
        assert sample.shape == expected
    assert relaxed.log_prob_of_log(relaxed.sample_log(sample_shape, [0, 1])).shape == expected[:-1]
    assert relaxed.log_prob(relaxed.sample(sample_shape, seed=[0, 1])).shape == expected[:-1]


@every_flow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_batch_size_may_be_unknown_when_traced(flow, jit_compile):
    shapes = []

    def run(loc):
        relaxed = InvertibleGaussian(loc, tf.constant(SCALE[:3]), 0.5, flow=bijector(flow, 4))
        log_x, hard = relaxed.sample_log([2], [1, 2]), relaxed.sample_hard([2], [1, 2])
        results = [log_x, hard, relaxed.relax([1, 2], 2, 0.5), relaxed.log_prob_of_log(log_x)]
        if flow == "none":
            results.append(relaxed.logits)
        shapes.append([result.shape.as_list() for result in results])
        return results

    loc = np.random.default_rng(0).normal(size=(5, 3))
    traced = tf.function(run, jit_compile=jit_compile, input_signature=[tf.TensorSpec([None, 3], tf.float64)])
    results = traced(loc)
    assert shapes[0][2] == [2, None, 4]
    assert all(shape[-1] == 4 for shape in (shapes[0][0], shapes[0][1]))
    for result, expected in zip(results, run(loc), strict=True):
        np.testing.assert_allclose(result, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    "bad",
    [{"loc": np.nan}, {"loc": np.inf}, {"scale": 0.0}, {"scale": -1.0}, {"temperature": 0.0}, {"delta": -1.0}],
    ids=str,
)
def test_bad_parameters_are_refused_on_validation(bad):
    good = {"loc": 0.5, "scale": 1.0, "temperature": 0.5, "delta": 1.0}

    @tf.function
    def traced(loc, scale, temperature, delta):
        relaxed = InvertibleGaussian([loc, 0.0], [1.0, scale], temperature, delta, validate_args=True)
        return relaxed.log_prob([0.2, 0.3, 0.5])

    def tensors(values):
        return {name: tf.constant(value, tf.float32) for name, value in values.items()}

    assert np.isfinite(traced(**tensors(good)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be"):
        traced(**tensors(good | bad))


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_loc_without_entries_is_refused(shape):
    with pytest.raises(InputError, match=r"loc must have shape \[\*batch, K-1\] with K >= 2 static. Received: shape"):
        InvertibleGaussian(tf.zeros(shape), tf.ones(shape))


@pytest.mark.parametrize("flow", ["planar", 3, tf.tanh])
def test_a_flow_that_is_no_bijector_is_refused(flow):
    with pytest.raises(InputError, match=r"flow must be None or a bijector of vectors"):
        InvertibleGaussian([0.0], [1.0], flow=flow)


def test_a_chain_of_flows_is_a_flow():
    chain = tfb.Chain([PlanarFlow(U[:2], W[:2], B), tfb.Scale(np.array(0.5))])
    relaxed = InvertibleGaussian(LOC[:2], SCALE[:2], 0.7, 1.5, chain)
    twin = InvertibleGaussian(0.5 * LOC[:2], 0.5 * SCALE[:2], 0.7, 1.5, PlanarFlow(U[:2], W[:2], B))
    log_x = relaxed.sample_log(4, [1, 2])
    np.testing.assert_allclose(log_x, twin.sample_log(4, [1, 2]), rtol=1e-9)
    np.testing.assert_allclose(relaxed.log_prob_of_log(log_x), twin.log_prob_of_log(log_x), rtol=1e-9)


def test_relaxed_samples_do_not_depend_on_the_temperature_given_at_construction():
    first, second = (distribution("none", 4, temperature) for temperature in (0.1, 5.0))
    np.testing.assert_array_equal(first.relax([1, 2], 3, 0.5), second.relax([1, 2], 3, 0.5))
    expected = log_softmax_plus_plus(LOC[:3] + SCALE[:3] * normal([3, 3], [1, 2], dtype=tf.float64), 0.5, 1.5)
    np.testing.assert_allclose(first.relax([1, 2], 3, 0.5), expected, rtol=1e-12)
