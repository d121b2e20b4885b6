"""The working tree against a commit: both are really run, each with its own package."""

from __future__ import annotations

import subprocess

import pytest

from benchmarks.__main__ import main
from benchmarks.against import ROOT, against, side_of, tree_of


def in_git() -> bool:
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


pytestmark = pytest.mark.skipif(not in_git(), reason="needs the project's git history")


def test_rows_hold_both_sides_and_their_ratio(capsys):
    assert main(["against", "HEAD", "--models", "mlp", "--batch-sizes", "2", "--repeats", "2",
                 "--quick"]) == 0  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "train mlp, batch 2", "infer mlp, batch 2", "chain add", "chain mul",
    ]  # fmt: skip
    assert all(len(line) <= 80 for line in lines)


def test_each_side_has_the_package_of_its_own_tree(tmp_path):
    """A package that says so at its end is the one that is run."""
    with tree_of("HEAD") as tree:
        with (tree / "tinygrad_fm/__init__.py").open("a") as file:
            file.write("\nraise SystemExit('the old tree')\n")
        with side_of(tree) as side, pytest.raises(RuntimeError, match="ended at"):
            side.ask("chain", "add", 1, 1)


def test_an_unknown_commit_is_an_error():
    with pytest.raises(subprocess.CalledProcessError):
        next(against("no-such-commit", (), (), 1))
