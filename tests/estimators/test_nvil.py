import numpy as np
import pytest
import tensorflow as tf

from tests.replicas import two_replicas
from tfdiscrete import InputError
from tfdiscrete.distributions import ProductCategorical
from tfdiscrete.estimators import NVIL, Estimate, ScoreFunction

LOGITS = np.random.default_rng(0).normal(size=(2, 3))
VALUES = np.random.default_rng(1).normal(size=(2, 3))
CONTEXT = np.random.default_rng(2).normal(size=(6, 4))
DECAY = 0.7


def cost(z, offset=0.0):
    return 3.0 * tf.reduce_sum(z * VALUES, axis=[-2, -1]) ** 2 + offset


def draw(estimator, cost=cost, context=CONTEXT, seed=(1, 2)):
    """The estimate, the gradient for the logits, and that for a factor of the cost, each `[B, ...]`."""
    logits = tf.constant(np.broadcast_to(LOGITS, (len(context), 2, 3)))
    factor = tf.ones([len(context)], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch([logits, factor])
        estimate = estimator.estimate(
            ProductCategorical(logits), lambda z: factor * cost(z), seed=list(seed), context=tf.constant(context)
        )
    return estimate, *tape.gradient(estimate.value, [logits, factor])


def after_steps(steps=3, cost=cost, **options):
    """An estimator with random weights, and all costs that it has seen, of each step."""
    estimator, past = NVIL(decay=DECAY, **options), []
    for step in range(steps):
        estimate, *_ = draw(estimator, cost, seed=(step, 3))
        estimator.update(estimate)
        past.append(estimate.value.numpy())
    rng = np.random.default_rng(4)
    for variable in estimator.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return estimator, past


def moments(past):
    """Mean and standard deviation of all past costs, each step's with the weight of its decay."""
    weights = np.repeat(DECAY ** np.arange(len(past))[::-1], [len(costs) for costs in past])
    costs = np.concatenate(past)
    mean = np.average(costs, weights=weights)
    return mean, np.sqrt(np.average((costs - mean) ** 2, weights=weights))


def network(estimator, context):
    first, bias, second, last_bias = (variable.numpy().astype(float) for variable in estimator.trainable_variables)
    return (np.tanh(context @ first + bias) @ second + last_bias)[:, 0]


def score(sample):
    """grad log q(z) = z - pi."""
    return sample - np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_gradient_is_the_cost_less_the_running_mean_and_the_scaled_network_times_the_score(num_samples):
    estimator, past = after_steps(num_samples=num_samples, hidden_units=5)
    estimate, gradient, _ = draw(estimator)
    mean, deviation = moments(past)
    sample = estimate.sample.numpy()
    baseline = mean + deviation * network(estimator, CONTEXT)
    expected = ((cost(sample).numpy() - baseline)[..., None, None] * score(sample)).mean(axis=0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_samples", [1, 3])
def test_auxiliary_is_the_mean_squared_error_of_the_standardized_cost(num_samples):
    estimator, past = after_steps(num_samples=num_samples, hidden_units=5)
    estimate, *_ = draw(estimator)
    mean, deviation = moments(past)
    errors = (cost(estimate.sample).numpy() - mean) / deviation - network(estimator, CONTEXT)
    np.testing.assert_allclose(estimate.auxiliary, (errors**2).mean(), rtol=1e-5)


def test_auxiliary_sends_no_gradient_to_what_the_cost_uses():
    logits, factor = tf.constant(np.broadcast_to(LOGITS, (6, 2, 3))), tf.ones([6], tf.float64)
    estimator, _ = after_steps()
    with tf.GradientTape(persistent=True) as tape:
        context = tf.constant(CONTEXT)
        tape.watch([logits, factor, context])
        estimate = estimator.estimate(
            ProductCategorical(logits), lambda z: factor * cost(z), seed=[1, 2], context=context
        )
    assert tape.gradient(estimate.auxiliary, [logits, factor, context]) == [None, None, None]
    assert tape.gradient(estimate.value, context) is None


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_running_moments_are_the_decayed_ones_of_all_past_costs_however_far_from_zero(steps, offset):
    estimator, past = after_steps(steps, cost=lambda z: cost(z, offset))
    mean, deviation = moments(past)
    np.testing.assert_allclose(estimator.running_cost, mean, rtol=1e-5)
    np.testing.assert_allclose(np.sqrt(estimator.running_variance), deviation, rtol=2e-3 if offset else 1e-5)


def test_before_the_first_step_it_is_the_score_function_without_baseline():
    estimate, gradient, _ = draw(NVIL())
    logits = tf.constant(np.broadcast_to(LOGITS, (6, 2, 3)))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        plain = ScoreFunction("none").estimate(ProductCategorical(logits), cost, seed=[1, 2])
    np.testing.assert_allclose(gradient, tape.gradient(plain.value, logits), rtol=1e-12)
    np.testing.assert_allclose(estimate.auxiliary, np.mean(plain.value.numpy() ** 2), rtol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 1e-8, 123.456, 1e6])
def test_a_constant_cost_gives_no_gradient_and_a_small_auxiliary(constant):
    estimator = NVIL()
    for step in range(5):
        estimate, gradient, _ = draw(estimator, lambda z: 0.0 * cost(z) + constant, seed=(step, 3))
        estimator.update(estimate)
    np.testing.assert_allclose(gradient, np.zeros_like(gradient), atol=1e-6 * constant + 1e-12)
    assert estimate.auxiliary.numpy() <= (1e-6 * constant) ** 2


@pytest.mark.parametrize("constant", [100.0, 123.456])
def test_a_first_cost_after_constant_ones_has_an_auxiliary_of_its_own_size(constant):
    estimator, rows = NVIL(), np.zeros((1001, 4))
    for step in range(5):
        estimator.update(draw(estimator, lambda z: 0.0 * cost(z) + constant, rows, seed=(step, 3))[0])
    # In the second case the mean of the constants is rounded, so the running variance is not quite 0.
    estimate, *_ = draw(estimator, lambda z: cost(z, constant), rows)
    assert estimate.auxiliary.numpy() < 1.1 * np.mean(cost(estimate.sample).numpy() ** 2)


def test_trained_baseline_takes_away_the_variance_of_what_the_context_explains():
    rng = np.random.default_rng(0)
    slope, rows = rng.normal(size=4), rng.normal(size=(512, 4))
    explained = 5.0 * np.tanh(rows @ slope) + 20.0

    def explained_cost(z):
        return explained + 0.1 * cost(z)

    estimator, optimizer = NVIL(hidden_units=20, decay=0.9), tf.optimizers.Adam(0.02)
    estimator.build((None, 2, 3), (None, 4))

    @tf.function
    def train(seed):
        with tf.GradientTape() as tape:
            q = ProductCategorical(tf.constant(np.broadcast_to(LOGITS, (512, 2, 3))))
            estimate = estimator.estimate(q, explained_cost, seed=seed, context=rows)
        gradients = tape.gradient(estimate.auxiliary, estimator.trainable_variables)
        optimizer.apply_gradients(zip(gradients, estimator.trainable_variables, strict=True))
        estimator.update(estimate)

    variances = []
    for step in range(151):
        if step in (1, 150):
            variances.append(draw(estimator, explained_cost, rows)[1].numpy().var(axis=0).sum())
        train(tf.constant([step, 3]))
    assert variances[1] < 0.05 * variances[0], variances


def test_normalized_signal_is_divided_by_the_running_deviation_and_nothing_else_is():
    (plain, past), (normalized, _) = after_steps(), after_steps(normalize=True)
    (estimate, gradient, of_factor), (estimate_n, gradient_n, of_factor_n) = draw(plain), draw(normalized)
    deviation = moments(past)[1]
    assert deviation > 2.0
    np.testing.assert_allclose(gradient_n, gradient / deviation, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(of_factor_n, of_factor)
    np.testing.assert_array_equal(estimate_n.value, estimate.value)
    np.testing.assert_array_equal(estimate_n.auxiliary, estimate.auxiliary)


def test_normalized_signal_is_not_enlarged_where_the_cost_varies_little():
    def small(z):
        return 0.01 * cost(z)

    gradients = [draw(after_steps(cost=small, normalize=normalize)[0], small)[1] for normalize in (False, True)]
    np.testing.assert_array_equal(*gradients)


def test_only_without_normalization_it_claims_to_be_unbiased():
    assert NVIL().unbiased
    assert not NVIL(normalize=True).unbiased
    assert not NVIL.from_config(NVIL(normalize=True).get_config()).unbiased


def test_context_of_any_rank_is_read_as_one_row_per_example():
    logits = tf.constant(np.broadcast_to(LOGITS, (2, 3, 2, 3)))
    gradients = []
    for shape in ([2, 3, 4], [2, 3, 2, 2]):
        estimator = NVIL(hidden_units=5)
        estimator.build(logits.shape, shape)
        estimator.output_kernel.assign(np.ones([5, 1]))
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = estimator.estimate(
                ProductCategorical(logits), cost, seed=[1, 2], context=tf.reshape(CONTEXT, shape)
            ).value
        gradients.append(tape.gradient(value, logits))
    np.testing.assert_array_equal(*gradients)


@pytest.mark.parametrize("first", [3, 4, 6], ids="first replica has {} of 6".format)
def test_two_replicas_have_equal_moments_those_of_the_whole_batch(first):
    alone = NVIL(decay=DECAY)
    strategy = two_replicas()
    with strategy.scope():
        mirrored = NVIL(decay=DECAY)
        mirrored.build((None, 2, 3), (None, 4))

    @tf.function
    def step(costs):
        def of_replica():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            start, end = replica * first, first + replica * (6 - first)
            mirrored.update(estimate_of(costs[start:end]))

        strategy.run(of_replica)

    def estimate_of(costs):
        return Estimate(costs, costs, tf.zeros([]))

    for offset in (100.0, 103.0, 90.0):
        costs = tf.constant(np.random.default_rng(0).normal(size=6) + np.repeat([offset, offset + 2.0], 3))
        alone.update(estimate_of(costs))
        step(costs)
    for name in ("running_cost", "running_variance"):
        copies = strategy.experimental_local_results(getattr(mirrored, name).value)
        np.testing.assert_array_equal(*copies)
        np.testing.assert_allclose(copies[0], getattr(alone, name), rtol=1e-4)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0, float("nan")])
def test_a_decay_outside_of_its_range_is_refused(decay):
    with pytest.raises(InputError, match=r"decay must be in \[0, 1\)\. Received: decay="):
        NVIL(decay=decay)


@pytest.mark.parametrize("hidden_units", [0, 1.5, "ten"])
def test_hidden_units_must_be_a_positive_integer(hidden_units):
    with pytest.raises(InputError, match="hidden_units must be an integer of at least 1"):
        NVIL(hidden_units=hidden_units)


def test_it_is_not_built_without_a_context():
    with pytest.raises(InputError, match=r"build\(logits_shape, context_shape\)"):
        NVIL().build((None, 2, 3))


def test_a_missing_context_is_refused():
    with pytest.raises(InputError, match=r"NVIL has a baseline of the input: call estimate\(\.\.\., context=x\)"):
        NVIL().estimate(ProductCategorical(LOGITS[None]), cost, seed=[1, 2])


@pytest.mark.parametrize("shape", [(None, None), (None, 3, None), ()])
def test_a_context_without_a_static_row_per_example_is_refused(shape):
    with pytest.raises(InputError, match=r"the context must have shape \[\*batch, \.\.\.\].* Received: context of"):
        NVIL().build((None, 2, 3), shape)


def test_a_context_of_another_size_than_built_is_refused():
    estimator = NVIL()
    estimator.build((None, 2, 3), (None, 4))
    with pytest.raises(InputError, match="the 4 numbers per example with which NVIL was built. Received: 3, of a"):
        draw(estimator, context=CONTEXT[:, :3])


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_costs_that_are_not_finite_leave_no_trace_in_the_moments(bad):
    clean, soiled = NVIL(decay=DECAY), NVIL(decay=DECAY)
    for costs in ([1.0, 4.0], [2.0, 3.0, 7.0]):
        clean.update(Estimate(tf.constant(costs), None, None))
        soiled.update(Estimate(tf.constant([bad, *costs]), None, None))
    for name in ("running_cost", "running_variance"):
        np.testing.assert_allclose(getattr(soiled, name), getattr(clean, name), rtol=1e-6)


def test_a_batch_without_examples_changes_no_moment_and_has_a_finite_auxiliary():
    estimator, q = NVIL(decay=DECAY), ProductCategorical(tf.zeros([0, 2, 3]))
    estimator.update(Estimate(tf.constant([1.0, 4.0]), None, None))
    before = float(estimator.running_cost), float(estimator.running_variance)
    estimate = estimator.estimate(q, lambda z: tf.reduce_sum(z, axis=[-2, -1]), seed=[0, 1], context=tf.zeros([0, 4]))
    estimator.update(estimate)
    assert float(estimate.auxiliary) == 0.0
    assert (float(estimator.running_cost), float(estimator.running_variance)) == before


@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
def test_a_context_of_another_batch_is_refused(shape):
    q = ProductCategorical(tf.zeros([5, 2, 3]))
    with pytest.raises(InputError, match=r"a row for each example.* Received: context of shape"):
        NVIL().estimate(q, lambda z: tf.reduce_sum(z, axis=[-2, -1]), seed=[0, 1], context=tf.zeros(shape))


@pytest.mark.parametrize("normalize", ["False", 0, None])
def test_normalize_must_be_true_or_false(normalize):
    with pytest.raises(InputError, match="normalize must be True or False. Received: normalize="):
        NVIL(normalize=normalize)
