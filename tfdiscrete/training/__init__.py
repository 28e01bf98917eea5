"""What surrounds `fit`: data, annealing, and the callbacks that keep, show and log a training run."""

from tfdiscrete.training.annealing import ExponentialAnnealing
from tfdiscrete.training.attributes import ATTRIBUTES, digit_attributes
from tfdiscrete.training.augmentation import RandomAffine
from tfdiscrete.training.backup import EpochBackup, NonFiniteLoss, Progress, restore_backup
from tfdiscrete.training.batches import ShuffledBatches
from tfdiscrete.training.gradient_noise import GradientNoise
from tfdiscrete.training.non_finite import locate_non_finite
from tfdiscrete.training.partial_labels import PartiallyLabelledBatches, hide_labels
from tfdiscrete.training.progress import EpochProgress
from tfdiscrete.training.summaries import LatentSummaries, PictureSummaries

__all__ = [
    "ATTRIBUTES",
    "EpochBackup",
    "EpochProgress",
    "ExponentialAnnealing",
    "GradientNoise",
    "LatentSummaries",
    "NonFiniteLoss",
    "PartiallyLabelledBatches",
    "PictureSummaries",
    "Progress",
    "RandomAffine",
    "ShuffledBatches",
    "digit_attributes",
    "hide_labels",
    "locate_non_finite",
    "restore_backup",
]
