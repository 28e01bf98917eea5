"""One progress bar for a whole training run."""

import sys

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn


class EpochProgress(keras.callbacks.Callback):
    """Shows the epochs, the latest figures and the time left; a dozen plain lines where there is no terminal.

    Args:
        epochs: the last epoch of the run.
        console: a `rich.console.Console`; by default one on standard error.
        label: what is counted.
    """

    def __init__(self, epochs: int, console: Console | None = None, *, label: str = "epoch"):
        super().__init__()
        self.label = label
        self.epochs = epochs
        self.console = console or Console(file=sys.stderr)
        self._progress: Progress | None = None

    def on_epoch_begin(self, epoch, logs=None):
        if self.console.is_terminal and self._progress is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
            self._progress = Progress(*columns, console=self.console)
            self._task = self._progress.add_task("training", total=self.epochs, completed=epoch)
            self._progress.start()

    def on_epoch_end(self, epoch, logs=None):
        figures = "  ".join(f"{name} {value:.2f}" for name, value in (logs or {}).items())
        line = f"{self.label} {epoch + 1}/{self.epochs}  {figures}"
        if self._progress is not None:
            self._progress.update(self._task, completed=epoch + 1, description=line)
        elif epoch + 1 == self.epochs or (epoch + 1) % max(self.epochs // 10, 1) == 0:
            self.console.print(line, highlight=False)

    def close(self):
        """Stops drawing; called at the end of training and, by whoever called `fit`, when it was interrupted."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def on_train_end(self, logs=None):
        self.close()
