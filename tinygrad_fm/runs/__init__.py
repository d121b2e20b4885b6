"""Run folders: what a training leaves behind, and how it goes on after an interruption."""

from tinygrad_fm.runs.files import RunError
from tinygrad_fm.runs.folder import SavedRun, create_run, open_run
from tinygrad_fm.runs.training import begin, go_on

__all__ = ["RunError", "SavedRun", "begin", "create_run", "go_on", "open_run"]
