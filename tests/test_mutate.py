"""Mutants of a tiny project: which there are, which survive, and that nothing is left of them."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.mirror import ROOT, changed, mirror_of
from tests.mutate import main, mutants, passes

CODE = '''
"""Numbers 1 to 3."""

def clip(x: float, low: int = 1) -> "1 + 1":
    """No less than low: −∞ is 1 + 1."""
    if x < low:
        raise ValueError(f"{x + 1} < {low}")
    return x
'''
# The sign of a smaller number, and a default, are what these do not ask for.
TESTS = """
import pytest
from shop.sums import clip

def test_clip():
    assert clip(3, 2) == 3
    with pytest.raises(ValueError):
        clip(1, 2)
"""


@pytest.fixture
def project(tmp_path):
    """A package with one file, and its test."""
    for name, text in {"shop/sums.py": CODE, "tests/test_sums.py": TESTS}.items():
        (tmp_path / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "project" / name).write_text(text, "utf-8")
    return tmp_path / "project"


def test_one_change_each_where_code_runs():
    found = [(m.line, m.before, m.after) for m in mutants(CODE)]
    assert found == [
        (4, "1", "0"),
        (6, "x < low", "x <= low"),
        (7, 'raise ValueError(f"{x + 1} < {low}")', "pass"),
        (8, "return x", "return None"),
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("y = a is None", "y = (a is not None)"),
        ("y = a in b not in c", "y = (a not in b not in c)"),
        ("y = 2 * (a - b)", "y = 2 * ((a + b))"),
        ("y = a and b or c", "y = (a or b) or c"),
        ("y = not a", "y = (a)"),
        ("y = -a", "y = (a)"),
        ("y = f(strict=True)", "y = f(strict=(False))"),
        ("y = x[7:]", "y = x[(8):]"),
        ("y = 0.5", "y = (1.5)"),
        ("y = '·∞·' + a", "y = ('·∞·' - a)"),
        ("y = a if b else c", "y = (a if not b else c)"),
        ("y += a", "y -= a"),
        ("f(a)", "pass"),
        ("del y[\n  a]", "pass"),
    ],
)
def test_kinds_of_changes(before, after):
    assert f"{after}\n" in [mutant.text for mutant in mutants(f"{before}\n")]


def test_every_mutant_is_code_and_differs():
    source = (ROOT / "tinygrad_fm/train/loop.py").read_text("utf-8")
    found = mutants(source)
    assert len({mutant.text for mutant in found} - {source}) == len(found) > 100
    for mutant in found:
        ast.parse(mutant.text)


def test_survivors_are_told_with_their_places(project, capsys):
    assert main(["shop/sums.py"], project) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "SURVIVED shop/sums.py:4  1 → 0",
        "SURVIVED shop/sums.py:6  x < low → x <= low",
        'killed   shop/sums.py:7  raise ValueError(f"{x + 1} < {low}") → pass',
        "killed   shop/sums.py:8  return x → return None",
        "2 of 4 mutants survived (of 4 in the file)",
    ]
    assert (project / "shop/sums.py").read_text("utf-8") == CODE


def test_a_seed_chooses_and_tests_that_kill_all_are_a_success(project, capsys):
    with (project / "tests/test_sums.py").open("a") as file:
        file.write("    assert clip(2, 2) == 2\n    with pytest.raises(ValueError):\n")
        file.write("        clip(0.5)\n")
    found = []
    for seed in ("0", "3"):
        arguments = ["shop/sums.py", "--n", "1", "--seed", seed, "--tests", "tests"]
        assert main(arguments, project) == 0
        found.append(capsys.readouterr().out.splitlines())
    assert found[0][0] != found[1][0]
    assert found[0][1] == found[1][1] == "0 of 1 mutants survived (of 4 in the file)"


def test_tests_that_fail_anyway_tell_nothing(project, capsys):
    (project / "shop/sums.py").write_text("def clip(x, low=1):\n    return 0\n")
    assert main(["shop/sums.py", "--tests", "tests"], project) == 2
    assert "tests fails on the file as it is; mend that first" in capsys.readouterr().out
    (project / "shop/other.py").write_text("ONE = 1\n")
    assert main(["shop/other.py"], project) == 2
    assert "shop/other.py has 0 tests and 2 mutants" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match=r"are these tests: \['nowhere'\]"):
        main(["shop/sums.py", "--tests", "nowhere"], project)


HANGS = """
import os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
pathlib.Path(PLACE).write_text(f"{os.getpid()} {child.pid}")
time.sleep(1000)
"""


def alive(pid: int) -> bool:
    """Whether it runs; what has ended and was not waited for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def all_end(pids: list[int]) -> bool:
    for _ in range(500):
        if not any(map(alive, pids)):
            return True
        time.sleep(0.01)
    return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")


@needs_proc
def test_what_takes_too_long_is_ended_with_all_that_it_started(project):
    place = project / "pids"
    (project / "tests/test_sums.py").write_text(HANGS.replace("PLACE", repr(str(place))))
    assert not passes(["tests"], project, limit=3)
    assert all_end([int(pid) for pid in place.read_text().split()])


@needs_proc
def test_ctrl_c_leaves_nothing_behind(project, tmp_path):
    place, temporary = project / "pids", tmp_path / "temporary"
    temporary.mkdir()
    (project / "tests/test_sums.py").write_text(HANGS.replace("PLACE", repr(str(place))))
    code = f"""
import pathlib, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.mutate import main
main(["shop/sums.py", "--tests", "tests"], pathlib.Path({str(project)!r}))
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        while not (place.exists() and place.read_text()) and running.poll() is None:
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert all_end([int(pid) for pid in place.read_text().split()])
    assert not list(temporary.iterdir())
    assert (project / "shop/sums.py").read_text("utf-8") == CODE


# ---------------------------------------------------------------------------- mirrors


@pytest.mark.parametrize(
    ("path", "tests"),
    [
        ("tinygrad_fm/train/loop.py", ["tests/train"]),
        ("tinygrad_fm/optim/lr_scheduler/base.py", ["tests/optim"]),
        ("tinygrad_fm/nn/functional.py", ["tests/nn", "tests/ops"]),
        ("tinygrad_fm/autograd.py", ["tests/test_autograd.py"]),
        ("benchmarks/timing.py", ["tests/benchmarks"]),
        ("examples/prune.py", ["tests/examples"]),
        ("README.md", ["tests/test_docs.py"]),
        ("docs/api/nn.md", ["tests/test_docs.py"]),
        ("tests/ops/test_edges.py", ["tests/ops/test_edges.py"]),
        ("tests/torch_judge.py", ["tests/ops/test_edges.py", "tests/ops/test_properties.py"]),
        ("setup.cfg", []),
        ("tests/ops/test_that_was_removed.py", []),
    ],
)
def test_tests_are_found_by_the_place_of_a_file(path, tests):
    assert mirror_of(path) == tests


def test_every_file_of_the_package_has_tests():
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("tinygrad_fm/**/*.py")]
    assert [file for file in files if not mirror_of(file)] == []
    assert all((ROOT / test).exists() for file in files for test in mirror_of(file))


@pytest.mark.parametrize("option", ["--track", "--no-track"])
def test_what_changed_is_what_upstream_or_main_does_not_have(tmp_path, option):
    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    for name in ("kept", "edited", "removed"):
        (tmp_path / name).write_text(name)
    git("add", ".")
    git("commit", "-m", "first")
    assert changed(tmp_path) == []
    git("checkout", "-b", "other", option, "main")
    (tmp_path / "edited").write_text("other")
    (tmp_path / "removed").unlink()
    (tmp_path / "ünew").write_text("new")
    assert changed(tmp_path) == ["edited", "removed", "ünew"]
    git("add", ".")
    git("commit", "-m", "second")
    assert changed(tmp_path) == ["edited", "removed", "ünew"]
