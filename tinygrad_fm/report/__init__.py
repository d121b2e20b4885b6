"""Pictures and tables of what was trained."""

from tinygrad_fm.report.confusion import plot_confusion
from tinygrad_fm.report.curves import plot_history
from tinygrad_fm.report.predictions import plot_predictions
from tinygrad_fm.report.table import format_table

__all__ = ["format_table", "plot_confusion", "plot_history", "plot_predictions"]
