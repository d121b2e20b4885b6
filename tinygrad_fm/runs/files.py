"""Files that are whole or not there: atomic writing, reading within bounds."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MAX_JSON = 1 << 24  # bytes; a thousand times what a run writes
MAX_ARRAYS = 1 << 32  # bytes; beyond any model that this framework trains
PARTIAL = ".partial"  # what a file is called until it is complete


class RunError(RuntimeError):
    """A run folder, or a file in it, that cannot be used; the message says why."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that is complete whenever it is seen, also after a crash.

    Written beside its place, flushed to the disk, and renamed: whoever opens `path` finds the old
    content or the new one.

    Raises:
        OSError: the disk is full, or may not be written to. What was at `path` is still there.
    """
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """`with replacing(path) as partial:` — write the file `partial`; it becomes `path` at the end.

    If the block fails, the partial file is removed and `path` stays what it was.
    """
    # The ending stays: matplotlib and others choose the format by it.
    partial = path.with_name(f"{path.stem}{PARTIAL}{path.suffix}")
    try:
        yield partial
        _flush(partial, os.O_RDWR)
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        # None where writing fills the disk; the partial file's name says nothing to anybody.
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(path)
        raise
    if os.name == "posix":  # elsewhere folders cannot be opened, and need not be
        _flush(path.parent, os.O_RDONLY)


def _flush(path: Path, mode: int) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)


def read_bounded(path: Path, limit: int) -> bytes:
    """The whole file.

    Raises:
        RunError: there is no such file, it cannot be read, or it has more than `limit` bytes.
    """
    try:
        with path.open("rb") as file:
            # `read(limit)` would take that much memory before it looks at the file.
            size = os.fstat(file.fileno()).st_size
            content = file.read(size) if size <= limit else b""
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    if size > limit:
        raise RunError(f"{path} has more than {limit:,} bytes, so it is none of ours")
    return content


def write_json(path: Path, value: Any) -> None:
    """Write JSON that people can read."""
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    # A file's name may have bytes that are no text: they become \udcff, which JSON reads back.
    write_atomically(path, text.encode(errors="backslashreplace"))


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        RunError: the file cannot be read, or holds something else.
    """
    return parse_json(read_bounded(path, MAX_JSON), str(path))


def parse_json(content: bytes | str, origin: str) -> dict[str, Any]:
    """A JSON object; `origin` is what a `RunError` calls it."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{origin} is torn or no JSON: {error}") from error
    if not isinstance(value, dict):
        raise RunError(f"{origin} holds a JSON {type(value).__name__}, wanted an object")
    return value
