import keras
import numpy as np
import pytest
import tensorflow as tf

from tfdiscrete import InputError
from tfdiscrete.layers import EMAUpdate, LossUpdate
from tfdiscrete.layers.codebook_update import CodebookState, get_update
from tfdiscrete.ops.nearest_code import CodeStatistics

RNG = np.random.default_rng(0)


def random_state(num_codes=4, dimension=3):
    codes = RNG.normal(size=(num_codes, dimension)).astype("float32")
    return CodebookState(tf.constant(codes), tf.ones([num_codes]), tf.constant(codes))


def statistics(counts, sums=None):
    counts = np.array(counts, "float32")
    sums = RNG.normal(size=(len(counts), 3)) * counts[:, None] if sums is None else sums
    return CodeStatistics(tf.constant(counts), tf.constant(sums, tf.float32))


class TestEMAUpdate:
    @pytest.mark.parametrize("decay", [0.0, 0.8, 0.99])
    def test_several_steps_are_numpy_s(self, decay):
        state, epsilon = random_state(), 1e-3
        codes, counts, sums = (value.numpy().astype("float64") for value in state)
        update = EMAUpdate(decay, epsilon)
        for step in range(6):
            batch = statistics([3, 0, 5, 1] if step % 2 else [0, 2, 7, 0])
            state = update.moved(state, batch)
            new_counts, new_sums = batch.counts.numpy().astype("float64"), batch.sums.numpy().astype("float64")
            counts = decay * counts + (1 - decay) * new_counts
            sums = decay * sums + (1 - decay) * new_sums
            smoothed = (counts + epsilon) / (counts.sum() + 4 * epsilon) * counts.sum()
            codes[new_counts > 0] = (sums / smoothed[:, None])[new_counts > 0]
            for ours, expected in zip(state, (codes, counts, sums), strict=True):
                np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)

    def test_a_code_without_rows_stays_exactly_for_ever(self):
        state, update = random_state(), EMAUpdate(0.5, restart_threshold=0.0)
        first = state.codes.numpy()
        for _ in range(300):
            state = update.moved(state, statistics([5, 0, 1, 0]))
        np.testing.assert_array_equal(state.codes[1::2], first[1::2])
        assert np.isfinite(np.concatenate([np.ravel(value) for value in state])).all()
        revived = update.moved(state, statistics([5, 1, 1, 1], np.ones((4, 3))))
        np.testing.assert_allclose(revived.codes[1], np.ones(3), rtol=1e-3)

    def test_an_empty_batch_changes_nothing(self):
        update = EMAUpdate(0.9)
        state = update.moved(random_state(), statistics([5, 0, 1, 0]))
        for before, after in zip(state, update.moved(state, statistics([0, 0, 0, 0])), strict=True):
            np.testing.assert_array_equal(before, after)

    def test_codes_below_the_fraction_of_the_mean_count_restart_with_their_averages(self):
        update = EMAUpdate(0.9, restart_threshold=0.5)
        counts = tf.constant([10.0, 1.0, 2.4, 2.6])  # mean 4
        dead = update.dead(counts)
        np.testing.assert_array_equal(dead, [False, True, False, False])
        state = random_state()._replace(counts=counts)
        rows = tf.constant(RNG.normal(size=(4, 3)), tf.float32)
        after = update.restarted(state, dead, rows)
        np.testing.assert_array_equal(after.codes[1], rows[1])
        assert after.counts[1] == 2.0
        np.testing.assert_allclose(after.sums[1], 2.0 * rows[1])
        kept = np.array([0, 2, 3])
        for before, now in zip(state, after, strict=True):
            np.testing.assert_array_equal(now.numpy()[kept], before.numpy()[kept])

    def test_a_threshold_of_zero_never_restarts(self):
        assert not EMAUpdate(restart_threshold=0.0).dead(tf.zeros([3])).numpy().any()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"decay": 1.0}, "decay must be a number from 0 up to, and not including, 1"),
            ({"decay": -0.1}, "decay must be"),
            ({"decay": "0.9"}, "decay must be"),
            ({"epsilon": 0.0}, "epsilon must be a positive finite number"),
            ({"restart_threshold": 2}, "restart_threshold must be"),
            ({"restart_threshold": float("nan")}, "restart_threshold must be"),
        ],
    )
    def test_values_out_of_range_are_refused(self, options, message):
        with pytest.raises(InputError, match=message):
            EMAUpdate(**options)


class TestGetUpdate:
    @pytest.mark.parametrize("update", [EMAUpdate(0.7, 1e-3, 0.3), LossUpdate()])
    def test_a_config_gives_the_update_back(self, update):
        entry = keras.saving.serialize_keras_object(update)
        twin = get_update(entry)
        assert type(twin) is type(update)
        assert twin.get_config() == update.get_config()

    def test_names_stand_for_the_defaults(self):
        assert get_update("ema").get_config() == EMAUpdate().get_config()
        assert isinstance(get_update("loss"), LossUpdate)

    def test_anything_else_is_refused(self):
        with pytest.raises(InputError, match=r"unknown update 'emma'\. Did you mean 'ema'"):
            get_update("emma")
        with pytest.raises(InputError, match="update must be 'ema', 'loss', an EMAUpdate or a LossUpdate"):
            get_update(0.99)
