"""The documentation is true: its code runs, its links lead somewhere, its tables name what exists.

Pages show Fashion-MNIST or MNIST and many epochs. Here the same code runs with the built-in data
set and for one epoch; `QUICK` is all that is changed.
"""

from __future__ import annotations

import argparse
import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch
from saved_runs import saved_run

import tinygrad_fm
from docs.pages import code
from tinygrad_fm.cli import parser
from tinygrad_fm.export import FORMATS, export

ROOT = Path(__file__).parents[1]
PAGES = sorted(ROOT.glob("docs/**/*.md"))
TEXTS = sorted([*PAGES, *ROOT.glob("*.md"), *ROOT.glob("benchmarks/*.md")])
QUICK = (
    (r'"(fashion-mnist|mnist)"', '"garments"'),
    (r"\bepochs( ?= ?)\d+", r"epochs\g<1>1"),
)

PACKAGE = Path(tinygrad_fm.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    for path in PACKAGE.glob("**/*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in TEXTS if code(p).strip()], ids=name)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = code(page)
    for pattern, quick in QUICK:
        text = re.sub(pattern, quick, text)
    if "runs/first" in text:
        first = tmp_path / "runs/first"
        first.mkdir(parents=True)
        run = saved_run(first, "cnn")
        for file in FORMATS:
            export(run, file)
    exec(compile(text, str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_docstrings(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("text", TEXTS, ids=name)
def test_links_lead_to_files_and_headings(text):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text)):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        file = text.parent / path if path else text
        assert file.exists(), target
        assert not heading or heading in headings(file), target


@pytest.mark.parametrize("text", TEXTS, ids=name)
def test_nothing_is_left_to_be_filled_in(text):
    lines = without_code(text).splitlines()
    assert not [
        line for line in lines if re.fullmatch(r"(TODO|FIXME|[A-Z]{3,}(-\d+)?)\b.{0,3}", line)
    ]


def without_code(path: Path) -> str:
    return re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def headings(path: Path) -> set[str]:
    """The anchors of a page's headings, and of the files that it includes."""
    text = without_code(path)
    found = set()
    for included in re.findall(r'^--8<-- "([^":]+)', text, re.M):
        found |= headings(ROOT / included)
    for title in re.findall(r"^#+ (.+)$", text, re.M):  # lower case, dashes, no punctuation
        found.add(re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-"))
    return found


def names(heading: str) -> list[str]:
    """The names in a section of "Coming from PyTorch"."""
    page = (ROOT / "docs/pytorch.md").read_text(encoding="utf-8")
    section = page.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"`((?:tg|nn|F|optim|lr_scheduler|Tensor)\.[\w.]+)`", section)


def exists(name: str, library: object) -> bool:
    """Whether a name of the table can be found in a library."""
    long = {"F": "nn.functional", "Tensor": "Tensor", "lr_scheduler": "optim.lr_scheduler"}
    first, _, rest = name.partition(".")
    path = rest if first == "tg" else f"{long.get(first, first)}.{rest}"
    try:
        for part in path.split("."):
            library = getattr(library, part)
    except AttributeError:
        return False
    return True


@pytest.mark.parametrize("name", names("What is the same"))
def test_what_is_the_same_is_there(name):
    assert exists(name, tinygrad_fm)
    assert exists(name, torch)


@pytest.mark.parametrize("name", names("What is missing"))
def test_what_is_missing_is_missing(name):
    assert not exists(name, tinygrad_fm)
    assert exists(name, torch)


def test_the_page_of_commands_has_all_of_them_and_its_examples_are_understood():
    page = (ROOT / "docs/command-line.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+).* \| `tinygrad-fm (.+)` \|$", page, re.MULTILINE)
    (commands,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    assert {command for command, _ in rows} == set(commands.choices)
    for _, example in rows:
        parser().parse_args(example.split())
