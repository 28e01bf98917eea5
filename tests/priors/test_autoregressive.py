import itertools
import json

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfdiscrete import InputError, families
from tfdiscrete.models import CodePrior
from tfdiscrete.models.code_prior import draw_index
from tfdiscrete.priors.autoregressive import Autoregressive

N, K = 3, 4
CODES = np.array(list(itertools.product(range(K), repeat=N)))  # [64, 3]
SEED = [1, 2]


def make_prior(event_shape=(N, K), *, scale=1.0, **options):
    """One whose readout and embeddings are random, so that all positions matter."""
    prior = Autoregressive(**{"num_blocks": 2, "num_heads": 2, "width": 8, **options})
    prior.build(event_shape)
    rng = np.random.default_rng(0)
    for variable in (prior.readout.kernel, prior.embedding, prior.positions):
        variable.assign(rng.normal(size=variable.shape, scale=scale))
    return prior


def probabilities(prior, codes=CODES):
    return np.exp(prior.log_prob_index(codes).numpy().astype(np.float64))


def reference_log_prob(prior, code):
    """Of one code, position by position in NumPy, from the weights."""

    def norm(x, layer):
        centered = x - x.mean(-1, keepdims=True)
        x = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + layer.epsilon)
        return x * np.asarray(layer.gamma) + np.asarray(layer.beta)

    def dense(x, layer):
        return x @ np.asarray(layer.kernel, np.float64) + np.asarray(layer.bias)

    def gelu(x):
        return x * scipy.stats.norm.cdf(x)

    def attended(rows, block):
        queries, keys, values = np.split(dense(norm(rows, block.attention_norm), block.project_in), 3, axis=-1)
        heads = []
        for part in np.split(np.arange(rows.shape[-1]), block.num_heads):
            scores = keys[:, part] @ queries[-1, part] / np.sqrt(len(part))
            heads.append(scipy.special.softmax(scores) @ values[:, part])
        return dense(np.concatenate(heads), block.project_out)

    embedding = np.asarray(prior.embedding, np.float64)[code[:-1]]
    rows = np.concatenate([np.zeros((1, prior.width)), embedding]) + np.asarray(prior.positions)
    for block in prior.transformer.blocks:
        rows = rows + np.stack([attended(rows[: n + 1], block) for n in range(len(rows))])
        rows = rows + dense(gelu(dense(norm(rows, block.network_norm), block.widen)), block.narrow)
    log_p = scipy.special.log_softmax(dense(norm(rows, prior.transformer.norm), prior.readout), axis=-1)
    return log_p[np.arange(len(code)), code].sum()


class TestLogProb:
    def test_it_is_that_of_the_equations_in_numpy(self):
        prior = make_prior()
        expected = [reference_log_prob(prior, code) for code in CODES[::5]]
        np.testing.assert_allclose(prior.log_prob_index(CODES[::5]), expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("event_shape", [(3, 4), (5, 2), (1, 6), (2, 1)])
    def test_probabilities_of_all_codes_sum_to_one_and_differ(self, event_shape):
        length, categories = event_shape
        codes = np.array(list(itertools.product(range(categories), repeat=length)))
        p = probabilities(make_prior(event_shape), codes)
        assert p.sum() == pytest.approx(1.0, abs=1e-5)
        assert len(np.unique(p)) == len(codes)

    def test_it_is_uniform_and_not_trained_at_the_start(self):
        prior = Autoregressive(num_blocks=1, width=8)
        prior.build((N, K))
        np.testing.assert_allclose(prior.log_prob_index(CODES), -N * np.log(K), rtol=1e-6)
        assert not prior.is_trained
        assert make_prior().is_trained

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_one_hot_codes_have_that_of_their_categories_in_their_dtype(self, dtype):
        prior = make_prior()
        log_prob = prior.log_prob(tf.constant(np.eye(K)[CODES].reshape(8, 8, N, K), dtype))
        assert log_prob.dtype == dtype
        np.testing.assert_allclose(log_prob, tf.reshape(prior.log_prob_index(CODES), [8, 8]), rtol=1e-5)

    def test_a_change_is_seen_by_the_positions_after_it_alone(self):
        prior = make_prior((6, K))
        codes = np.random.default_rng(0).integers(K, size=(20, 6))

        def conditionals(codes):
            return prior._conditional_logits(tf.gather(prior.embedding.value, codes)).numpy()

        before = conditionals(codes)
        for position in range(6):
            changed = codes.copy()
            changed[:, position] = (changed[:, position] + 1) % K
            moved = np.abs(conditionals(changed) - before).max(axis=(0, 2))
            np.testing.assert_array_equal(moved[: position + 1], 0.0)
            assert (moved[position + 1 :] > 1e-3).all()

    def test_relaxed_codes_have_a_gradient_that_agrees_with_finite_differences(self):
        prior = make_prior()
        z = tf.constant(scipy.special.softmax(np.random.default_rng(0).normal(size=(N, K)), axis=-1), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = prior.log_prob(z)
        gradient = tape.gradient(value, z).numpy()
        for n, k in itertools.product(range(N), range(K)):
            step = np.zeros((N, K), np.float32)
            step[n, k] = 1e-2
            difference = (float(prior.log_prob(z + step)) - float(prior.log_prob(z - step))) / 2e-2
            assert gradient[n, k] == pytest.approx(difference, rel=0.02, abs=0.02)

    def test_it_is_the_same_traced_with_any_number_and_compiled(self):
        prior = make_prior()
        expected = prior.log_prob_index(CODES)
        traced = tf.function(prior.log_prob_index, input_signature=[tf.TensorSpec([None, N], tf.int32)])
        compiled = tf.function(prior.log_prob_index, jit_compile=True)
        for function in (traced, compiled):
            np.testing.assert_allclose(function(tf.constant(CODES, tf.int32)), expected, rtol=1e-5, atol=1e-5)


class TestSample:
    @pytest.mark.parametrize("temperature", [1.0, 0.5])
    def test_samples_follow_log_prob(self, temperature):
        prior = make_prior(scale=0.3)
        sample = prior.sample_index(20_000, SEED, temperature=temperature).numpy()
        assert sample.shape == (20_000, N)
        assert sample.dtype == np.int32
        p = tempered(prior, temperature)
        assert (p * 20_000).min() > 3.0
        counts = np.bincount(sample @ [K * K, K, 1], minlength=len(CODES))
        assert scipy.stats.chisquare(counts, p * 20_000).pvalue > 1e-3

    def test_every_execution_mode_draws_the_same_codes(self):
        prior = make_prior((7, 5))
        eager = prior.sample_index(50, SEED).numpy()
        signature = [tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)]
        graph = tf.function(prior.sample_index, input_signature=signature)(50, SEED)
        compiled = tf.function(lambda: prior.sample_index(50, SEED), jit_compile=True)()
        np.testing.assert_array_equal(graph, eager)
        np.testing.assert_array_equal(compiled, eager)
        assert (prior.sample_index(50, [1, 3]).numpy() != eager).any()

    def test_one_hot_samples_are_those_codes_and_none_may_be_asked_for(self):
        prior = make_prior()
        np.testing.assert_array_equal(tf.argmax(prior.sample(9, SEED), -1), prior.sample_index(9, SEED))
        assert prior.sample(9, SEED, temperature=0.1).shape == (9, N, K)
        assert prior.sample_index(0, SEED).shape == (0, N)

    def test_a_low_temperature_draws_the_likeliest_continuations(self):
        sample = make_prior().sample_index(50, SEED, temperature=1e-3).numpy()
        assert (sample == sample[0]).all()

    @pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), True])
    def test_a_temperature_that_is_not_positive_is_refused(self, temperature):
        with pytest.raises(InputError, match="temperature must be a positive finite number"):
            make_prior().sample_index(2, SEED, temperature=temperature)

    def test_mixed_precision_samples_and_scores(self):
        prior = make_prior(dtype="mixed_bfloat16")
        sample = prior.sample_index(8, SEED)
        assert np.isfinite(prior.log_prob_index(sample)).all()
        assert {w.dtype for w in prior.weights} == {"float32"}


def tempered(prior, temperature):
    """Probabilities of CODES with each conditional's logits divided, by enumeration of log_prob."""
    joint = probabilities(prior).reshape((K,) * N)
    result = np.ones((K,) * N)
    for n in range(N):
        prefix = joint.sum(axis=tuple(range(n + 1, N)))
        conditional = (prefix / prefix.sum(-1, keepdims=True)) ** (1.0 / temperature)
        conditional /= conditional.sum(-1, keepdims=True)
        result *= conditional.reshape(conditional.shape + (1,) * (N - n - 1))
    return result.ravel()


def chains(count, length=6, categories=5):
    """Codes each of which is the one before it plus 0 or 1, of `count` different starts."""
    rng = np.random.default_rng(0)
    return (rng.integers(categories, size=(count, 1)) + rng.integers(2, size=(count, length)).cumsum(1)) % categories


class TestCodePrior:
    def make(self, codes_shape=(6, 5), eager=True, **options):
        prior = Autoregressive(num_blocks=1, num_heads=2, width=16, **options)
        prior.build(codes_shape)
        model = CodePrior(prior, seed=3)
        model.compile(keras.optimizers.Adam(0.01), steps_per_execution=1, run_eagerly=eager)
        return model

    def test_fit_learns_what_follows_what(self):
        model, codes = self.make(dropout=0.0, eager=False), chains(1000)
        history = model.fit(codes, epochs=15, batch_size=50, validation_data=(codes[:200],), verbose=0).history
        entropy = np.log(5) + 5 * np.log(2)  # a free start, then one of two
        assert history["loss"][0] > entropy + 1.0
        assert entropy - 0.1 < history["val_loss"][-1] < entropy + 0.3
        steps = np.diff(model.prior.sample_index(200, SEED).numpy(), axis=1) % 5
        assert (steps < 2).mean() > 0.97

    def test_loss_is_the_mean_rate_and_predictions_are_log_probabilities(self):
        model, codes = self.make(), chains(30)
        model.fit(codes, verbose=0)
        expected = model.prior.log_prob_index(codes).numpy()
        assert model.evaluate(codes, batch_size=7, verbose=0) == pytest.approx(-expected.mean(), rel=1e-5)
        np.testing.assert_allclose(model.predict(codes, verbose=0), expected, rtol=1e-5)

    def test_dropout_is_of_training_alone_and_differs_between_steps(self):
        model, codes = self.make(dropout=0.5), chains(40)
        model.fit(codes, verbose=0)
        index = tf.constant(codes)
        losses = [float(tf.reduce_mean(model.terms(index, seed=[0, s], training=True).loss)) for s in (1, 1, 2)]
        assert losses[0] == losses[1] != losses[2]
        plain = [model.terms(index, seed=[0, s], training=False).loss for s in (1, 2)]
        np.testing.assert_array_equal(*plain)

    def test_dropped_entries_are_that_many_and_keep_the_mean(self):
        from tfdiscrete.priors.causal_transformer import dropped

        x = dropped(tf.ones([100_000]), 0.3, SEED).numpy()
        assert (x == 0).mean() == pytest.approx(0.3, abs=0.01)
        assert x.mean() == pytest.approx(1.0, abs=0.01)

    @pytest.mark.slow
    def test_a_loaded_model_trains_on_bit_for_bit(self, tmp_path):
        codes, (whole, first) = chains(60), (self.make(eager=False), self.make(eager=False))
        whole.fit(codes, epochs=2, shuffle=False, verbose=0)
        first.fit(codes, shuffle=False, verbose=0)
        first.save(tmp_path / "prior.keras")
        loaded = keras.saving.load_model(tmp_path / "prior.keras")
        loaded.fit(codes, shuffle=False, verbose=0)
        for one, other in zip(loaded.variables, whole.variables, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=one.path)

    @pytest.mark.slow
    def test_mixed_precision_trains(self):
        model, codes = self.make(dtype="mixed_bfloat16"), chains(200)
        losses = model.fit(codes, epochs=5, batch_size=20, verbose=0).history["loss"]
        assert losses[-1] < losses[0] - 1.0

    @pytest.mark.parametrize("wrong", [chains(10) + 1, chains(10) - 1, chains(10) / 1.0], ids=["high", "low", "floats"])
    def test_codes_that_are_none_are_refused(self, wrong):
        with pytest.raises(InputError, match=r"codes must be integers from 0 to 4, or .* Received: (int|float)64"):
            self.make().fit(wrong, verbose=0)

    def test_codes_are_drawn_from_their_logits_anew_in_each_step(self):
        model, logits = self.make(dropout=0.0), tf.constant(np.random.default_rng(0).normal(size=(40, 6, 5)))
        losses = [float(tf.reduce_mean(model.terms(logits, seed=[0, s], training=True).loss)) for s in (1, 1, 2)]
        model.fit(np.float32(logits), epochs=2, verbose=0)
        drawn = np.stack([draw_index(logits, [0, s]).numpy() for s in range(300)])
        frequencies = (drawn[..., None] == np.arange(5)).mean(0)
        probabilities = tf.nn.softmax(logits, -1).numpy()
        error = np.sqrt(probabilities * (1 - probabilities) / 300)
        assert (np.abs(frequencies - probabilities) < 5 * error + 1e-3).all()
        changed = [float(tf.reduce_mean(model.terms(logits, seed=[0, s], training=True).loss)) for s in (1, 1, 2)]
        assert losses[0] == losses[2]  # uniform at the start
        assert changed[0] == changed[1] != changed[2]

    def test_labels_are_refused(self):
        with pytest.raises(InputError, match="learns from codes alone"):
            self.make().fit(chains(10), np.ones(10), verbose=0)

    def test_a_prior_that_is_not_built_is_refused(self):
        model = CodePrior(Autoregressive())
        model.compile()
        with pytest.raises(InputError, match="the prior must be built"):
            model.build((None, 3))


class TestRefusals:
    @pytest.mark.parametrize("shape", [(2, N + 1), (), (5,)])
    def test_codes_of_another_number_are_refused(self, shape):
        with pytest.raises(InputError, match=r"codes must be integers \[\.\.\., N\] with N = 3"):
            make_prior().log_prob_index(np.zeros(shape, int))

    def test_codes_that_are_no_integers_are_refused(self):
        with pytest.raises(InputError, match="Received: float64 of shape"):
            make_prior().log_prob_index(np.zeros((2, N)))

    @pytest.mark.parametrize("wrong", [-1, K])
    def test_a_code_out_of_range_is_refused_and_nan_in_a_graph(self, wrong):
        prior = make_prior()
        codes = np.array([[0, 1, 2], [0, wrong, 2]])
        with pytest.raises(InputError, match=rf"codes must be from 0 to 3\. Received: {wrong}"):
            prior.log_prob_index(codes)
        for jit_compile in (False, True):
            log_prob = tf.function(prior.log_prob_index, jit_compile=jit_compile)(tf.constant(codes)).numpy()
            np.testing.assert_array_equal(np.isnan(log_prob), [False, True])

    @pytest.mark.parametrize("shape", [(N, K + 1), (N + 1, K), (K,)])
    def test_one_hot_codes_of_another_shape_are_refused(self, shape):
        with pytest.raises(InputError, match=r"\(N, K\) = \(3, 4\), as the prior was built"):
            make_prior().log_prob(tf.zeros(shape))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"num_blocks": 0}, "num_blocks must be an integer of at least 1"),
            ({"num_heads": 0}, "num_heads must be an integer of at least 1"),
            ({"width": 10, "num_heads": 4}, "width must be a multiple of num_heads=4"),
            ({"dropout": 1.0}, "dropout must be a number from 0 up to, and not including, 1"),
            ({"seed": -1}, "seed must be an integer of at least 0"),
        ],
    )
    def test_arguments_out_of_range_are_refused(self, options, message):
        with pytest.raises(InputError, match=message):
            Autoregressive(**options)

    def test_more_categories_than_can_be_scored_are_refused(self):
        with pytest.raises(InputError, match=r"at most 65536 categories\. Received: 65537; use several indices"):
            Autoregressive().build((2, 65537))

    def test_continuous_variables_are_refused(self):
        gaussian = families.Gaussian()
        gaussian.build((None, 3, 2))
        with pytest.raises(InputError, match=r"one of categorical variables\. Received: Gaussian"):
            Autoregressive().build(gaussian)


def test_config_survives_json_and_makes_the_same_prior():
    prior = make_prior(dropout=0.3, seed=5)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(prior)))
    restored = keras.saving.deserialize_keras_object(config)
    assert restored.event_shape == (N, K)
    restored.set_weights(prior.get_weights())
    assert restored.get_config() == prior.get_config()
    np.testing.assert_array_equal(restored.sample_index(20, SEED), prior.sample_index(20, SEED))
    assert keras.saving.get_registered_name(Autoregressive) == "tfdiscrete.priors>Autoregressive"


def test_seed_determines_the_initial_weights():
    def weights(seed):
        prior = Autoregressive(num_blocks=2, width=8, seed=seed)
        prior.build((N, K))
        return [np.asarray(w) for w in prior.weights if w.ndim > 1 and np.asarray(w).any()]

    for first, second, other in zip(weights(0), weights(0), weights(1), strict=True):
        np.testing.assert_array_equal(first, second)
        assert (first != other).any()
    starts = [tuple(w.ravel()[:4]) for w in weights(0)]
    assert len(set(starts)) == len(starts)


def test_a_checkpoint_carries_every_weight_over(tmp_path):
    prior, twin = make_prior(), make_prior(seed=9)
    path = tf.train.Checkpoint(prior=prior).save(tmp_path / "checkpoint")
    tf.train.Checkpoint(prior=twin).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(twin.log_prob_index(CODES), prior.log_prob_index(CODES))
