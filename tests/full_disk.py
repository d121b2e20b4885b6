"""A disk that has no room left."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest


def no_room_for(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """One file finds no room. The system says so when it writes to the disk, at the latest."""
    usual = os.fsync

    def fsync(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if name.parent == path.parent.resolve() and name.name.startswith(path.name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        usual(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
