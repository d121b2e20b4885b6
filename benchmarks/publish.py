"""The picture and the lines of README.md and the tables of RESULTS.md, from the files of runs.

    python -m benchmarks publish

Files are `results/planned-run-*.json`, of `python -m benchmarks --json FILE`, and
`results/peers-run-*.json`, of `python -m benchmarks peers --json FILE`, as many as there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chart import plot_ratios
from benchmarks.summary import TITLES, Line, describe, lines, met, tables
from results.tables import insert

RESULTS = Path(__file__).with_name("results")
PICTURE = "benchmarks/results/ratios.png"
MARKS = "<!-- speed: built by python -m benchmarks publish -->", "<!-- end of speed -->"
DRAWN = ("training_step", "inference", "networks")  # on the picture, and a line of text for each
ABOUT = (
    "Medians, and ratios (ours ÷ the better of PyTorch's two memory layouts, or the other library) "
    "with the widest of\nthe runs' 95 % intervals; *of fastest* is the ratio of the fastest turns. "
    "From {count}, by `python -m benchmarks publish`."
)
LINKS = (
    "[All figures](RESULTS.md#speed), which `python -m benchmarks`\nmeasures on your machine; what "
    "was tried, and why goals are missed: [notes](benchmarks/NOTES.md)."
)


def publish(pages: Path, results: Path = RESULTS) -> None:
    """Put the runs of one folder into the pages of another.

    Raises:
        FileNotFoundError: there are no runs.
    """
    files = sorted(results.glob("planned-run-*.json")), sorted(results.glob("peers-run-*.json"))
    if not files[0]:
        raise FileNotFoundError(f"{results} has no planned-run-*.json: there is nothing to publish")
    runs = [json.loads(file.read_text()) for group in files for file in group]
    found = lines(runs)
    count = "one run" if len(files[0]) == 1 else f"{len(files[0])} runs"
    insert(pages / "README.md", short(runs[0]["machine"], found, count), MARKS)
    insert(pages / "RESULTS.md", full(runs[0]["machine"], found, count), MARKS)
    (pages / PICTURE).parent.mkdir(parents=True, exist_ok=True)
    plot_ratios([line for line in found if line.section in DRAWN], pages / PICTURE)


def short(machine: Mapping[str, Any], found: Sequence[Line], count: str) -> str:
    """For the README: the picture, a line for each of its parts, and the links."""
    parts = [[line for line in found if line.section == section] for section in DRAWN]
    said = "\n".join(sentence(part) for part in parts if part)
    about = f"From {count} on {machine['cores']} cores of an {machine['cpu']}. {LINKS}"
    return f"![Our times, as ratios to PyTorch's]({PICTURE})\n\n{said}\n\n{about}"


def sentence(part: Sequence[Line]) -> str:
    """The range of a section's ratios, their geometric mean, and how many reach their goals."""
    ratios = [line.ratio for line in part]
    mean = np.exp(np.mean(np.log(ratios)))
    return (
        f"- **{TITLES[part[0].section]}**: {min(ratios):.2f}–{max(ratios):.2f} times PyTorch's, "
        f"geometric mean {mean:.2f}; {sum(map(met, part))} of {len(part)} reach their goals."
    )


def full(machine: Mapping[str, Any], found: Sequence[Line], count: str) -> str:
    """For the page of results: the machine, and all tables but that of single operations."""
    shown = [line for line in found if line.section != "operation"]
    about = ABOUT.format(count=count)
    return f"{about}\n\n{describe(machine)}\n\n{tables(shown, markdown=True)}"
