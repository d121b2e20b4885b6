"""One program at a time may write into a run folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tinygrad_fm.errors import RunError

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
        RunError: another process holds it, or what is there is no file of this folder's own.
        OSError: the folder cannot be written to.
    """
    path = folder / LOCK
    if path.is_symlink():  # which would be written through
        raise RunError(f"{path} is a link, wanted a file of the folder's own; remove it")
    no_link = getattr(os, "O_NOFOLLOW", 0)  # should it become one now
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | no_link, 0o666)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise RunError(f"{path} is no file of the folder's own; remove it")
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
