"""Trained models in other programs' formats: safetensors, PyTorch, ONNX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tinygrad_fm.export.error import ExportError
from tinygrad_fm.export.onnx_file import write_onnx
from tinygrad_fm.export.state import write_safetensors, write_torch
from tinygrad_fm.runs import SavedRun
from tinygrad_fm.runs.files import replacing

Writer = Callable[[SavedRun, Path], None]

# Format: how it is written, and the ending of its files.
FORMATS: dict[str, tuple[Writer, str]] = {
    "onnx": (write_onnx, ".onnx"),
    "safetensors": (write_safetensors, ".safetensors"),
    "torch": (write_torch, ".pt"),
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
    write, ending = FORMATS[to]
    path = Path(out) if out else run.path / (run.recipe.name + ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():  # /dev/null is written to, not replaced
        write(run, path)
    else:
        with replacing(path) as partial:
            write(run, partial)
    return path


__all__ = ["FORMATS", "ExportError", "export"]
