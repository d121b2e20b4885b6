"""Runs a script of `examples/` as a user would, but on fewer of the built-in pictures.

As a program this is the script that it is given.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(example: str, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, __file__, ROOT / "examples" / f"{example}.py", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


if __name__ == "__main__":
    from tinygrad_fm.data import garments

    garments.SIZES |= {"train": 5_000, "test": 1_000}
    del sys.argv[0]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
