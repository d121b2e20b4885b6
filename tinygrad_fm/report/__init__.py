"""Pictures and tables of what was trained."""

from tinygrad_fm.report.classified import plot_classified
from tinygrad_fm.report.compare import format_comparison, plot_comparison
from tinygrad_fm.report.confusion import plot_confusion
from tinygrad_fm.report.curves import plot_history
from tinygrad_fm.report.predictions import plot_predictions
from tinygrad_fm.report.projection import pca, plot_projection
from tinygrad_fm.report.pruning import plot_sparsity
from tinygrad_fm.report.table import format_classes, format_table
from tinygrad_fm.report.trials import Trial, format_settings, format_trials, plot_trials

__all__ = [
    "Trial",
    "format_classes",
    "format_comparison",
    "format_settings",
    "format_table",
    "format_trials",
    "pca",
    "plot_classified",
    "plot_comparison",
    "plot_confusion",
    "plot_history",
    "plot_predictions",
    "plot_projection",
    "plot_sparsity",
    "plot_trials",
]
