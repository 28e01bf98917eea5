import os
import re
import signal

import keras
import numpy as np
import pytest

from tfdiscrete.errors import InputError
from tfdiscrete.training import EpochBackup, NonFiniteLoss, ShuffledBatches, restore_backup


def make_model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def fit(model, folder, epochs, initial_epoch=0):
    x = np.random.default_rng(0).normal(size=(20, 3))
    backup = EpochBackup(folder)
    model.fit(x, x[:, :1], epochs=epochs, initial_epoch=initial_epoch, shuffle=False, verbose=0, callbacks=[backup])
    return model


def test_training_continues_bit_exactly(tmp_path):
    whole = fit(make_model(), tmp_path / "whole", 5)
    fit(make_model(), tmp_path / "cut", 3)
    resumed = make_model()
    done = restore_backup(resumed, tmp_path / "cut")
    assert done == (3, 0)
    fit(resumed, tmp_path / "cut", 5, initial_epoch=done.epochs)
    for ours, theirs in zip(resumed.optimizer.variables, whole.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    np.testing.assert_array_equal(resumed.layers[0].kernel.numpy(), whole.layers[0].kernel.numpy())


def test_two_backups_are_kept_and_no_partial_file(tmp_path):
    fit(make_model(), tmp_path, 5)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert [re.sub(r"[0-9a-f]{16}", "DIGEST", name) for name in names] == [
        "epoch-000004-DIGEST.weights.h5",
        "epoch-000005-DIGEST.weights.h5",
    ]


def flip_a_bit(data):
    """In the middle, where the weights are."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 100, flip_a_bit]
)
def test_a_damaged_backup_is_passed_over_for_the_one_before(tmp_path, damage, capsys):
    fit(make_model(), tmp_path, 4)
    (latest,) = tmp_path.glob("epoch-000004-*")
    latest.write_bytes(damage(latest.read_bytes()))
    assert restore_backup(make_model(), tmp_path) == (3, 0)
    assert "passing over the backup" in capsys.readouterr().out


def test_without_a_backup_training_starts_at_the_beginning(tmp_path):
    assert restore_backup(make_model(), tmp_path / "none") == (0, 0)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(tmp_path):
    model = fit(make_model(), tmp_path, 2)
    backup = EpochBackup(tmp_path)
    backup.set_model(model)
    with pytest.raises(NonFiniteLoss, match="the loss is nan in epoch 3") as stop:
        backup.on_epoch_end(2, {"loss": float("nan")})
    assert stop.value.epoch == 2
    assert restore_backup(model, tmp_path) == (2, 0)


def test_backups_of_which_none_can_be_read_are_not_taken_for_none(tmp_path):
    fit(make_model(), tmp_path, 2)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of the backups in .* can be read"):
        restore_backup(make_model(), tmp_path)


class SignalAt(keras.callbacks.Callback):
    """Sends the process a signal after so many batches of all epochs."""

    def __init__(self, steps, number=signal.SIGTERM):
        super().__init__()
        self.steps, self.number = steps, number

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations.numpy() == self.steps:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize(("steps", "number"), [(1, signal.SIGTERM), (5, signal.SIGTERM), (7, signal.SIGINT)])
def test_a_signal_leaves_a_backup_that_continues_bit_exactly_within_the_epoch(steps, number, tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")

    def fit(model, *callbacks, skip=0, **epochs):
        batches = ShuffledBatches(x, batch_size=4, seed=1)
        pairs = batches.dataset.skip(skip).map(lambda part: (part, part[:, :1]))
        model.fit(pairs, shuffle=False, verbose=0, callbacks=[batches, *callbacks], **epochs)
        return model

    whole = fit(make_model(), epochs=2)
    backup = EpochBackup(tmp_path)
    handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt):
        fit(make_model(), SignalAt(steps, number), backup, epochs=2)
    backup.release()
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)] == handlers
    resumed = make_model()
    done = restore_backup(resumed, tmp_path)
    assert done == divmod(steps, 5)
    if done.batches:
        backup = EpochBackup(tmp_path, done=done)
        fit(resumed, backup, skip=done.batches, initial_epoch=done.epochs, epochs=done.epochs + 1)
        done = restore_backup(resumed, tmp_path)
    assert done.batches == 0
    fit(resumed, initial_epoch=done.epochs, epochs=2)
    for ours, theirs in zip(resumed.optimizer.variables, whole.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


class At(keras.callbacks.Callback):
    """Does something when a batch, or an epoch, ends."""

    def __init__(self, moment, action):
        super().__init__()
        setattr(self, moment, lambda number, logs=None: action(self.model, number))


def stop(*_):
    os.kill(os.getpid(), signal.SIGTERM)


def test_weights_that_are_not_finite_are_not_backed_up_within_an_epoch(tmp_path):
    def break_it(model, batch):
        model.layers[0].kernel.assign(np.full((3, 1), np.nan))
        stop()

    model, x = make_model(), np.ones((20, 3), "float32")
    backup = EpochBackup(tmp_path)
    with pytest.raises(NonFiniteLoss, match="the loss is nan in epoch 1"):
        model.fit(x, x[:, :1], batch_size=5, verbose=0, callbacks=[At("on_train_batch_end", break_it), backup])
    backup.release()
    assert restore_backup(make_model(), tmp_path) == (0, 0)


def test_a_signal_after_the_last_backup_is_not_lost(tmp_path):
    model, x = make_model(), np.ones((20, 3), "float32")
    backup = EpochBackup(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, x[:, :1], verbose=0, callbacks=[backup, At("on_epoch_end", stop)])
    assert restore_backup(make_model(), tmp_path) == (1, 0)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_steps_that_a_loss_scale_skips_are_counted(tmp_path):
    model, x = make_model(), np.ones((20, 3), "float32")
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=3e38), "mse")
    backup = EpochBackup(tmp_path)
    at = At("on_train_batch_end", lambda model, batch: stop() if batch == 2 else None)
    with pytest.raises(KeyboardInterrupt):
        model.fit(x, 1e6 * x[:, :1], batch_size=5, verbose=0, callbacks=[at, backup])
    backup.release()
    assert next(tmp_path.iterdir()).name.startswith("epoch-000000-batch-000000003-")


def test_an_epoch_that_is_trained_again_replaces_its_damaged_backup(tmp_path):
    fit(make_model(), tmp_path, 4)
    (latest,) = tmp_path.glob("epoch-000004-*")
    latest.write_bytes(b"")
    latest.rename(tmp_path / "epoch-000004-0123456789abcdef.weights.h5")
    resumed = make_model()
    done = restore_backup(resumed, tmp_path)
    fit(resumed, tmp_path, 5, initial_epoch=done.epochs)
    assert [restore_backup(make_model(), tmp_path).epochs, len(list(tmp_path.iterdir()))] == [5, 2]
    assert not (tmp_path / "epoch-000004-0123456789abcdef.weights.h5").exists()
