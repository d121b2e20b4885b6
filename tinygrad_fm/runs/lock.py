"""One program at a time may write into a run folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinygrad_fm.runs.files import RunError

try:
    import fcntl
except ImportError:  # Windows has no such locks; there two runs must not share a folder
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock inside the block.

    The lock belongs to the process, not to its file: it ends with it, however that ends.

    Raises:
        RunError: another process holds it.
        OSError: the folder cannot be written to.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.read(descriptor, 20).decode(errors="replace").strip()
                raise RunError(f"{folder} is in use by process {owner or 'unknown'}") from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)
