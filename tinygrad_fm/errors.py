"""Every error that is the package's own: `except TinygradError` catches them all.

Each is also one of Python's, which is what code that knows nothing of this package catches.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinygrad_fm.checking.check import GradcheckReport


class TinygradError(Exception):
    """The root of the package's errors."""


class MissingPackageError(TinygradError, ModuleNotFoundError):
    """A package is not installed that one of the extras installs; the message names the extra."""


class AnomalyError(TinygradError, FloatingPointError):
    """The result of an operation holds a NaN or an infinity."""


class GradcheckError(TinygradError, AssertionError):
    """A gradient is wrong. `report` holds the whole result."""

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report


class NonFiniteLossError(TinygradError, FloatingPointError):
    """The training loss became NaN or infinite."""


class IDXError(TinygradError, ValueError):
    """A file that is not a whole, undamaged IDX file."""


class PictureError(TinygradError, ValueError):
    """A file that is no picture, or a picture that shows nothing."""


class DataUnavailable(TinygradError, RuntimeError):
    """A data set that could not be had; the message says what was tried."""


class WeightsError(TinygradError, ValueError):
    """A file of weights that cannot be used; the message says why."""


class ExtractorError(TinygradError, ValueError):
    """A file of weights that can't serve as the extractor of a run."""


class RunError(TinygradError, RuntimeError):
    """A run folder, or a file in it, that cannot be used; the message says why."""


class ExportError(TinygradError, ValueError):
    """A model that cannot be written in a format, or a package that is missing for it."""


class TuneError(TinygradError, RuntimeError):
    """A search that can't be made: optuna is missing, or the storage is of no use."""


class CommandError(TinygradError, RuntimeError):
    """A command that cannot do what it was asked; the message says why."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of what the extra `name` of setup.cfg installs, at their first use.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            f"this needs the package {error.name}, which is not installed: "
            f"python -m pip install 'tinygrad-fm[{name}]'",
            name=error.name,
        ) from error


__all__ = [
    "AnomalyError", "CommandError", "DataUnavailable", "ExportError", "ExtractorError",
    "GradcheckError", "IDXError", "MissingPackageError", "NonFiniteLossError", "PictureError",
    "RunError", "TinygradError", "TuneError", "WeightsError",
]  # fmt: skip
