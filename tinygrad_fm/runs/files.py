"""What a run folder's files hold: JSON, read within bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tinygrad_fm.errors import RunError
from tinygrad_fm.files import read_regular, write_atomically

MAX_JSON = 1 << 24  # bytes; a thousand times what a run writes


def read_bounded(path: Path, limit: int) -> bytes:
    """The whole file.

    Raises:
        RunError: there is no such file, it cannot be read, it is a pipe or a device, or it has more
            than `limit` bytes.
    """
    try:
        return read_regular(path, limit)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error


def need_own_folder(path: Path) -> None:
    """A folder in a run folder may be missing, but no link: files elsewhere would be written over.

    Raises:
        RunError: it is a link.
    """
    if path.is_symlink():
        raise RunError(f"{path} is a link, wanted a folder of the run's own; put one in its place")


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
