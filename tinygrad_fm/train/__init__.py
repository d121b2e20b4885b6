"""Training: the loop, its history, early stopping, evaluation and metrics."""

from tinygrad_fm.errors import NonFiniteLossError
from tinygrad_fm.train.early_stopping import EarlyStopping
from tinygrad_fm.train.evaluation import Evaluation, Predictions, evaluate, predict
from tinygrad_fm.train.history import EpochRow, History
from tinygrad_fm.train.loop import Training, fit
from tinygrad_fm.train.metrics import (
    ClassMetrics,
    accuracy,
    classification_report,
    confusion_matrix,
)

__all__ = [
    "ClassMetrics",
    "EarlyStopping",
    "EpochRow",
    "Evaluation",
    "History",
    "NonFiniteLossError",
    "Predictions",
    "Training",
    "accuracy",
    "classification_report",
    "confusion_matrix",
    "evaluate",
    "fit",
    "predict",
]
