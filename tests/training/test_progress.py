import io

from rich.console import Console

from tfdiscrete.training import EpochProgress


def test_without_a_terminal_a_dozen_lines_are_printed():
    text = io.StringIO()
    progress = EpochProgress(200, Console(file=text, force_terminal=False))
    for epoch in range(200):
        progress.on_epoch_begin(epoch)
        progress.on_epoch_end(epoch, {"loss": 2.0 / (epoch + 1)})
    progress.on_train_end()
    lines = text.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[-1].split() == ["epoch", "200/200", "loss", "0.01"]


def test_on_a_terminal_one_bar_shows_the_latest_epoch():
    text = io.StringIO()
    progress = EpochProgress(3, Console(file=text, force_terminal=True, width=100))
    for epoch in range(1, 3):
        progress.on_epoch_begin(epoch)
        progress.on_epoch_end(epoch, {"loss": 2.0})
    progress.on_train_end()
    assert "epoch 3/3  loss 2.00" in text.getvalue()
    assert "100%" in text.getvalue()
