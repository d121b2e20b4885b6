"""Trained models in other programs' formats: safetensors, PyTorch, ONNX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tinygrad_fm.errors import ExportError
from tinygrad_fm.export.onnx_file import onnx, onnx_file
from tinygrad_fm.export.state import safetensors_file, torch_file
from tinygrad_fm.files import write_atomically
from tinygrad_fm.runs import SavedRun

# Format: how a run becomes a file, and the ending of that file.
FORMATS: dict[str, tuple[Callable[[SavedRun], bytes], str]] = {
    "onnx": (onnx_file, ".onnx"),
    "safetensors": (safetensors_file, ".safetensors"),
    "torch": (torch_file, ".pt"),
}


def export(run: SavedRun, to: str, out: str | Path | None = None) -> Path:
    """Write the best weights of a run in a format of `FORMATS`; returns where.

    Args:
        out: the file; by default `<recipe>.<ending>` in the run folder.

    Raises:
        ExportError: a package is missing, or a layer that the format's writer does not know.
        RunError: the run has no weights yet.
        OSError: the file cannot be written; what was there still is.
    """
    as_file, ending = FORMATS[to]
    path = Path(out) if out else run.path / (run.recipe.name + ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = as_file(run)
    if out and path.exists() and not path.is_file():  # /dev/null is written to, not replaced
        path.write_bytes(content)
    else:
        write_atomically(path, content)
    return path


__all__ = ["FORMATS", "ExportError", "export", "onnx"]
