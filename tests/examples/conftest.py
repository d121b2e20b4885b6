"""The fixture `lesson` for all tests of examples."""

from __future__ import annotations

from pathlib import Path

import pytest
from example_runner import run


@pytest.fixture(scope="session")
def lesson(tmp_path_factory):
    """Runs an example for one epoch of garments; returns its output and its folder, once each."""
    done = {}

    def once(example: str) -> tuple[str, Path]:
        if example not in done:
            out = tmp_path_factory.mktemp(example)
            result = run(example, "--dataset", "garments", "--epochs", "1", "--out", out)
            assert result.returncode == 0, result.stderr
            done[example] = result.stdout, out
        return done[example]

    return once
