"""A training run from data to served model, in one folder; what the command line calls."""

from tfdiscrete.runs.evaluate import evaluate
from tfdiscrete.runs.folder import RunFolder
from tfdiscrete.runs.ray_cluster import train_on_ray
from tfdiscrete.runs.recipes import (
    DeepDiscreteVAERecipe,
    DiscreteVAERecipe,
    Recipe,
    SemiSupervisedVAERecipe,
    VectorQuantizedVAERecipe,
)
from tfdiscrete.runs.report import metrics_table, next_steps
from tfdiscrete.runs.train import Interrupted, train
from tfdiscrete.runs.use import export, sample
from tfdiscrete.runs.workers import train_on_workers

__all__ = [
    "DeepDiscreteVAERecipe",
    "DiscreteVAERecipe",
    "Interrupted",
    "Recipe",
    "RunFolder",
    "SemiSupervisedVAERecipe",
    "VectorQuantizedVAERecipe",
    "evaluate",
    "export",
    "metrics_table",
    "next_steps",
    "sample",
    "train",
    "train_on_ray",
    "train_on_workers",
]
