"""A training run from data to served model, in one folder; what the command line calls."""

from tfdiscrete.runs.config import RunConfig
from tfdiscrete.runs.evaluate import evaluate, evaluate_model
from tfdiscrete.runs.folder import RunFolder
from tfdiscrete.runs.report import metrics_table, next_steps
from tfdiscrete.runs.train import Interrupted, train
from tfdiscrete.runs.use import export, sample

__all__ = [
    "Interrupted",
    "RunConfig",
    "RunFolder",
    "evaluate",
    "evaluate_model",
    "export",
    "metrics_table",
    "next_steps",
    "sample",
    "train",
]
