"""Build the tables of results in README.md and RESULTS.md from the runs' JSON files.

    python results/tables.py

One JSON file is one run of `python -m tinygrad_fm train RECIPE`: its `metrics.json`. Runs whose
commands differ in nothing but the seed (and the number of threads, or where files are) become one
row, mean ± sample standard deviation.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_fm.files import write_atomically
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.report import format_table

HERE = Path(__file__).parent
MARKS = "<!-- results: built by results/tables.py -->", "<!-- end of results -->"
# What a command does not say, and what a change of the recipe may have changed between two seeds.
MUST_AGREE = ("dataset", "parameters", "batch_size", "lr", "validation_fraction")
# What the first runs had in common, before their files said so.
FIRST_RUNS = {"validation_fraction": 0.1}
# Options of `train` that don't make it another experiment, each with its value.
SAME_EXPERIMENT = re.compile(r" --(seed|threads|data-dir|extractor|out)[ =]('[^']*'|\S+)")

Run = dict[str, Any]


def build(runs: Path, pages: Path) -> None:
    """Put the tables of the runs in one folder into README.md and RESULTS.md of another."""
    found = experiments(runs)
    insert(pages / "README.md", markdown(map(short_row, found)))
    insert(
        pages / "RESULTS.md",
        f"{markdown(map(full_row, found))}\n\n## Test accuracy by class, in %\n\n{by_class(found)}",
    )


def experiments(folder: Path) -> list[list[Run]]:
    """The runs in a folder's JSON files, one list for each experiment, in the recipes' order.

    Raises:
        ValueError: two files hold the same experiment with the same seed, or with another model.
    """
    found: dict[str, dict[int, Run]] = defaultdict(dict)
    for path in sorted(folder.glob("*.json")):
        run = FIRST_RUNS | json.loads(path.read_text())
        seeds = found[experiment(run)]
        if run["seed"] in seeds:
            raise ValueError(
                f"{path.name}: there is another file of `{experiment(run)}` with seed "
                f"{run['seed']}; keep one of the two"
            )
        for other in seeds.values():
            if differ := [fact for fact in must_agree(run) if run.get(fact) != other.get(fact)]:
                raise ValueError(
                    f"{path.name}: another seed of `{experiment(run)}` has other "
                    f"{', '.join(differ)}: the recipe has changed between the two; train the "
                    "older one anew"
                )
        seeds[run["seed"]] = run
    names = list(RECIPES)
    lists = [[seeds[seed] for seed in sorted(seeds)] for seeds in found.values()]
    return sorted(lists, key=lambda runs: names.index(runs[0]["recipe"]))


def must_agree(run: Run) -> tuple[str, ...]:
    """What all seeds of an experiment have in common: early stopping ends each in its own epoch."""
    stops_early = RECIPES[run["recipe"]].patience is not None or " --patience" in run["command"]
    return MUST_AGREE if stops_early else (*MUST_AGREE, "epochs")


def experiment(run: Run) -> str:
    """A run's command without the options that runs of one experiment may differ in."""
    return SAME_EXPERIMENT.sub("", run["command"])


def full_row(runs: list[Run]) -> dict[str, Any]:
    """Everything about one experiment."""
    first = runs[0]
    recipe = RECIPES[first["recipe"]]
    return {
        "recipe": f"`{recipe.name}`",
        "data": first["dataset"],
        "parameters": first["parameters"],
        "epochs: best / run": f"{mean(runs, 'best_epoch'):.0f} / {mean(runs, 'epochs'):.0f}",
        "minutes": f"{mean(runs, 'seconds') / 60:.1f}",
        "threads": values(runs, "threads"),
        "train": accuracy(runs, "train_accuracy"),
        "validation": accuracy(runs, "validation_accuracy"),
        "test": test_accuracy(runs, recipe.must_reach),
        "source": share(recipe.published),
        "must reach": share(recipe.must_reach),
        "seeds": values(runs, "seed"),
        "commit": values(runs, "commit"),
        "command": f"`{experiment(first)}`",
    }


def short_row(runs: list[Run]) -> dict[str, Any]:
    """What a README needs."""
    full = full_row(runs)
    columns = ("recipe", "data", "parameters", "minutes", "test", "source", "must reach")
    return {column: full[column] for column in columns} | {"seeds": len(runs)}


def by_class(found: list[list[Run]]) -> str:
    """One table for each data set, since their classes differ."""
    rows = defaultdict(list)
    for runs in found:
        rows[runs[0]["dataset"]].append(class_row(runs))
    return "\n\n".join(f"### {dataset}\n\n{markdown(rows[dataset])}" for dataset in rows)


def class_row(runs: list[Run]) -> dict[str, str]:
    """How many in a hundred images of each class are recognised: the class's recall."""
    recalls = {
        name: f"{100 * np.mean([run['per_class'][name]['recall'] for run in runs]):.1f}"
        for name in runs[0]["per_class"]
    }
    return {"recipe": f"`{runs[0]['recipe']}`", **recalls}


def mean(runs: list[Run], key: str) -> float:
    return float(np.mean([run[key] for run in runs]))


def values(runs: list[Run], key: str) -> str | None:
    """All values that occur, in order of appearance; None if no run says.

    A run can have two commits: the one it began with, and the one it was resumed by.
    """
    found = [str(run[key]).split(", ") for run in runs if run.get(key) is not None]
    return ", ".join(dict.fromkeys(chain(*found))) or None


def accuracy(runs: list[Run], key: str) -> str:
    """Mean ± sample standard deviation, in per cent."""
    percents = [100 * run[key] for run in runs]
    spread = f" ± {np.std(percents, ddof=1):.2f}" if len(runs) > 1 else ""
    return f"{np.mean(percents):.2f}{spread} %"


def test_accuracy(runs: list[Run], must_reach: float | None) -> str:
    """In bold if it reaches what we ask of the recipe."""
    text = accuracy(runs, "test_accuracy")
    # 1e-9: a mean of floats may miss its last digit.
    reached = must_reach is not None and mean(runs, "test_accuracy") > must_reach - 1e-9
    return f"**{text}**" if reached else text


def share(value: float | None) -> str | None:
    return None if value is None else f"{100 * value:.4g} %"


def markdown(rows: Iterable[dict[str, Any]]) -> str:
    return format_table(list(rows), markdown=True)


def insert(path: Path, text: str, marks: tuple[str, str] = MARKS) -> None:
    """Replace what stands between the two marks, each of which must be there once."""
    begin, end = marks
    before, rest = path.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    write_atomically(path, f"{before}{begin}\n{text}\n{end}{after}".encode())


if __name__ == "__main__":
    build(HERE, HERE.parent)
