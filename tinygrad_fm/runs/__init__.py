"""Run folders: what a training leaves behind, and how it goes on after an interruption."""

from tinygrad_fm.errors import RunError
from tinygrad_fm.runs.classify import classify
from tinygrad_fm.runs.folder import SavedRun, create_run, open_run, resume_command
from tinygrad_fm.runs.imported import import_weights
from tinygrad_fm.runs.training import begin, go_on

__all__ = [
    "RunError",
    "SavedRun",
    "begin",
    "classify",
    "create_run",
    "go_on",
    "import_weights",
    "open_run",
    "resume_command",
]
