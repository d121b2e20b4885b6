"""Files: written whole or not at all, and read only where reading comes to an end.

A folder that came from somebody else may hold links to files outside of it, pipes and devices where
files are expected, and anything under a name that can be foreseen. Everything that this package
writes goes through `write_atomically`, and what it reads of others' through `open_regular`.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows has no such locks, and lets nobody remove an open file
    fcntl = None  # type: ignore[assignment]

PARTIAL = ".partial"  # the end of a file's name until it is complete
TOKEN = "[0-9a-f]" * 16  # what stands before it


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file that is complete whenever it is seen, also after a crash.

    Written beside its place under a name that nobody can foresee, flushed to the disk, and renamed:
    whoever opens `path` finds the old content or the new one. A link at `path` is replaced, what it
    leads to stays as it is.

    Raises:
        OSError: the disk is full, or may not be written to. What was at `path` is still there.
    """
    path = Path(path)
    partial = None
    try:
        _remove_abandoned(path.parent)
        partial, new_file = _new_file(path)
        with new_file as file:
            file.write(content)
            file.flush()
            _wait_for_disk(file.fileno())
            if fcntl is None:  # Windows renames no open file; elsewhere the lock is held until then
                file.close()
            os.replace(partial, path)
    except BaseException as error:
        if partial is not None:
            with suppress(OSError):
                partial.unlink()
        # None where writing fills the disk; the partial file's name says nothing to anybody.
        if isinstance(error, OSError) and str(error.filename or PARTIAL).endswith(PARTIAL):
            error.filename = str(path)
        raise
    if os.name == "posix":  # elsewhere folders cannot be opened, and need not be
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            _wait_for_disk(descriptor)
        finally:
            os.close(descriptor)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading, but no pipe, socket or device, which may block or never end.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # `open` refuses folders by itself
        raise OSError(errno.EINVAL, "Not a file but a pipe, socket or device", os.fspath(path))
    return open(path, "rb", opener=_open_at_once)


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """The whole of a regular file.

    Raises:
        OSError: as `open_regular`, or it has more than `limit` bytes.
    """
    with open_regular(path) as file:
        # `read(limit)` would take that much memory before it looks at the file.
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            reason = f"It has more than {limit:,} bytes, so it is none of ours"
            raise OSError(errno.EOVERFLOW, reason, os.fspath(path))
        return file.read(size)


def _open_at_once(path: str, flags: int) -> int:
    """Without waiting for a writer, should the file have become a pipe a moment ago."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _new_file(path: Path) -> tuple[Path, BinaryIO]:
    """Make a partial file and hold its lock, which tells `_remove_abandoned` that it is in use.

    Each time it has another name: who is about to remove an old one does so by its name.
    """
    while True:
        # A name has at most 255 bytes, and a character at most four of them.
        partial = path.with_name(f"{path.name[:40]}.{secrets.token_hex(8)}{PARTIAL}")
        file = open(partial, "xb")  # noqa: SIM115  # x: it fails where a file or a link is
        if fcntl is not None:
            with suppress(OSError):  # of a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        if partial.exists():
            return partial, file
        file.close()  # removed before the lock was held


def _remove_abandoned(folder: Path) -> None:
    """Remove the partial files in a folder that writers left who were killed."""
    if fcntl is None:
        return
    for partial in folder.glob(f"*.{TOKEN}{PARTIAL}"):
        with suppress(OSError), open_regular(partial) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it fails while a writer holds it
            partial.unlink()


def _wait_for_disk(descriptor: int) -> None:
    """Until a file's content, or a folder's list of names, is there."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot flush a folder
            raise
