"""Break a file at random and see whether its tests notice: `python -m tests.mutate FILE`.

Each mutant is the file with one small change: a comparison, a sign or a number is another, a `not`
or a whole statement is dropped. A mutant that survives is code that no test needs: either a test is
missing, or the code is. (Some mutants compute the same by another road; those may live.)

All happens in a copy of the checkout, which goes at the end, also after Ctrl-C.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from tests.mirror import ROOT, mirror_of

SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
}  # fmt: skip
DROPPED = ast.Assign | ast.AugAssign | ast.Raise | ast.Delete | ast.Break | ast.Continue


class Mutant(NamedTuple):
    line: int
    before: str
    after: str
    text: str  # of the whole file


def mutants(source: str) -> list[Mutant]:
    """All mutants of a file, in its order."""
    text = source.encode()  # ast counts in bytes
    starts = [0, *accumulate(map(len, text.splitlines(keepends=True)))]
    found = []
    for node, after in _changes(ast.parse(source)):
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        new = after if isinstance(node, ast.stmt) else f"({after})"
        whole = (text[:start] + new.encode() + text[end:]).decode()
        found.append(Mutant(node.lineno, text[start:end].decode(), after, whole))
    return sorted(found, key=lambda mutant: mutant.line)


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Nodes below this one, each with the code that may take its place."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list") or isinstance(value, ast.JoinedStr):
            continue  # not run, or without a place of its own in the file
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.expr | ast.stmt):
                yield from ((child, after) for after in _instead(child))
            if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                yield from _changes(child)


def _instead(node: ast.expr | ast.stmt) -> Iterator[str]:
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in SWAPS:
            yield _with(node, ops=[SWAPS[type(operator)](), *node.ops[1:]])
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign() if type(node.op) in SWAPS:
            yield _with(node, op=SWAPS[type(node.op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield ast.unparse(node.operand)
        case ast.Constant(value=bool(value)):
            yield str(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield "0" if value == 1 else str(value + 1)
        case ast.IfExp(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=ast.expr()):
            yield "return None"
        case ast.Expr(value=ast.Call()):
            yield "pass"
    if isinstance(node, DROPPED):
        yield "pass"


def _with(node: ast.AST, **fields: object) -> str:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return ast.unparse(changed)


def passes(tests: Sequence[str], root: Path, limit: float | None = None) -> bool:
    """Whether the tests pass, in a process of their own; one that takes too long does not."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(
        command, cwd=root, env=environment, start_new_session=True, **quiet
    ) as running:
        try:
            status = running.wait(limit)
        except subprocess.TimeoutExpired:
            return False
        finally:  # also on Ctrl-C, and with all that the tests have started
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    if status not in (0, 1, 2):  # passed, failed, could not be imported
        raise RuntimeError(f"pytest ended with status {status}; are these tests: {tests}?")
    return status == 0


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Returns 0 if every mutant was killed, 1 if one survived, 2 if nothing could be tried."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("file", help="the file to break")
    parser.add_argument("--n", type=int, default=10, help="how many mutants (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="which ones (default: 0)")
    parser.add_argument("--tests", nargs="+", help="default: those that mirror the file")
    options = parser.parse_args(arguments)
    file = (root / options.file).resolve().relative_to(root.resolve())
    tests = options.tests or mirror_of(file.as_posix(), root)
    every = mutants((root / file).read_text("utf-8"))
    if not tests or not every:
        print(f"{file} has {len(tests)} tests and {len(every)} mutants; see --tests")
        return 2
    chosen = sorted(random.Random(options.seed).sample(every, min(options.n, len(every))))
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder, root.name)
        shutil.copytree(root, tree, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        started = time.monotonic()
        if not passes(tests, tree):
            print(f"{' '.join(tests)} fails on the file as it is; mend that first")
            return 2
        limit = 10 + 5 * (time.monotonic() - started)
        survivors = 0
        for mutant in chosen:
            (tree / file).write_text(mutant.text, "utf-8")
            survived = passes(tests, tree, limit)
            survivors += survived
            change = " ".join(f"{mutant.before} → {mutant.after}".split())
            print(f"{'SURVIVED' if survived else 'killed  '} {file}:{mutant.line}  {change}")
    print(f"{survivors} of {len(chosen)} mutants survived (of {len(every)} in the file)")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
