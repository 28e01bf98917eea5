"""What surrounds `fit`: data, annealing, and the callbacks that keep, show and log a training run."""

from tfdiscrete.training.annealing import ExponentialAnnealing
from tfdiscrete.training.augmentation import RandomAffine
from tfdiscrete.training.backup import EpochBackup, restore_backup
from tfdiscrete.training.batches import ShuffledBatches
from tfdiscrete.training.gradient_noise import GradientNoise
from tfdiscrete.training.partial_labels import PartiallyLabelledBatches, hide_labels
from tfdiscrete.training.progress import EpochProgress
from tfdiscrete.training.summaries import LatentSummaries

__all__ = [
    "EpochBackup",
    "EpochProgress",
    "ExponentialAnnealing",
    "GradientNoise",
    "LatentSummaries",
    "PartiallyLabelledBatches",
    "RandomAffine",
    "ShuffledBatches",
    "hide_labels",
    "restore_backup",
]
