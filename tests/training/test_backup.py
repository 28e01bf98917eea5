import keras
import numpy as np
import pytest

from tfdiscrete.errors import InputError
from tfdiscrete.training import EpochBackup, restore_backup


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
    assert done == 3
    fit(resumed, tmp_path / "cut", 5, initial_epoch=done)
    for ours, theirs in zip(resumed.optimizer.variables, whole.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    np.testing.assert_array_equal(resumed.layers[0].kernel.numpy(), whole.layers[0].kernel.numpy())


def test_two_backups_are_kept_and_no_partial_file(tmp_path):
    fit(make_model(), tmp_path, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch-000004.weights.h5", "epoch-000005.weights.h5"]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"x" * 100])
def test_a_damaged_backup_is_passed_over_for_the_one_before(tmp_path, damage, capsys):
    fit(make_model(), tmp_path, 4)
    latest = tmp_path / "epoch-000004.weights.h5"
    latest.write_bytes(damage(latest.read_bytes()))
    assert restore_backup(make_model(), tmp_path) == 3
    assert "passing over the backup" in capsys.readouterr().out


def test_without_a_backup_training_starts_at_the_beginning(tmp_path):
    assert restore_backup(make_model(), tmp_path / "none") == 0


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_weights(tmp_path):
    model = fit(make_model(), tmp_path, 2)
    backup = EpochBackup(tmp_path)
    backup.set_model(model)
    with pytest.raises(InputError, match="the loss is nan in epoch 3"):
        backup.on_epoch_end(2, {"loss": float("nan")})
    assert not (tmp_path / "epoch-000003.weights.h5").exists()
    assert (tmp_path / "epoch-000002.weights.h5").exists()


def test_backups_of_which_none_can_be_read_are_not_taken_for_none(tmp_path):
    fit(make_model(), tmp_path, 2)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(InputError, match="none of the backups in .* can be read"):
        restore_backup(make_model(), tmp_path)
