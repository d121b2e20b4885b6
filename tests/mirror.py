"""Which tests belong to which file: `tests/` mirrors the package.

As a program this prints the tests of what changed since the branch left upstream, or else main, for
`make check`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
BELONGS = {  # what has no mirror by name, or is tested elsewhere too
    "tinygrad_fm/__init__.py": ["tests/test_global_state.py"],
    "tinygrad_fm/__main__.py": ["tests/test_cli.py"],
    "tinygrad_fm/callsite.py": ["tests/test_anomaly.py", "tests/test_autograd.py"],
    "tinygrad_fm/demo.py": ["tests/cli"],
    "tinygrad_fm/func.py": ["tests/autograd"],
    "tinygrad_fm/formatting.py": ["tests/test_tensor.py"],
    "tinygrad_fm/autograd/promotion.py": ["tests/test_tensor.py"],
    "tinygrad_fm/nn/functional.py": ["tests/nn", "tests/ops"],
}
FOLDERS = {
    "benchmarks": "tests/benchmarks",
    "docs": "tests/test_docs.py",
    "examples": "tests/examples",
    "results": "tests/recipes/test_tables.py",
}


def mirror_of(path: str, root: Path = ROOT) -> list[str]:
    """The tests of a file, all three as paths below the root; [] where there are none."""
    if path in BELONGS:
        return BELONGS[path]
    first, *rest = Path(path).parts
    stem = Path(path).stem
    if first == "tests":
        found = [path] if stem.startswith("test_") else _using(stem, root)
    elif path.endswith(".md"):
        found = [FOLDERS["docs"]]
    elif len(rest) > 1 and first not in FOLDERS:
        found = [f"tests/{rest[0]}"]
    else:
        found = [FOLDERS.get(first, f"tests/test_{stem}.py")]
    return [test for test in found if (root / test).exists()]


def _using(helper: str, root: Path) -> list[str]:
    """The test files that name a helper beside them; none for a conftest.py, which all share."""
    files = sorted((root / "tests").glob("**/test_*.py"))
    return [
        file.relative_to(root).as_posix()
        for file in files
        if f"import {helper}" in (text := file.read_text("utf-8")) or f"from {helper} " in text
    ]


def changed(root: Path = ROOT) -> list[str]:
    """The files that differ from the last commit in common with upstream, or else with main."""

    def git(*arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            ["git", "-c", "core.quotepath=off", *arguments],
            cwd=root,
            capture_output=True,
            text=True,
        )
        if check:
            done.check_returncode()
        return done.stdout

    others = (git("merge-base", "HEAD", o, check=False).strip() for o in ("@{upstream}", "main"))
    base = next(filter(None, others), "HEAD")
    differing = git("diff", "--name-only", "--no-renames", base)
    return sorted(
        {*differing.split("\n"), *git("ls-files", "-o", "--exclude-standard").split("\n")} - {""}
    )


if __name__ == "__main__":
    tests = {test for path in changed() for test in mirror_of(path)}
    print(*sorted(t for t in tests if Path(t).parent.as_posix() not in tests), sep="\n")
