"""What exporting raises."""

from tinygrad_fm.errors import ExportError

__all__ = ["ExportError"]
