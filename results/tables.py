"""Build the tables of README.md and RESULTS.md from the JSON files of the runs beside this file.

    python results/tables.py

One JSON file is one run of `python -m tinygrad_fm train RECIPE`: its `metrics.json`. Runs of one
recipe on one data set with several seeds become one row, mean ± standard deviation.
"""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.report import format_table

HERE = Path(__file__).parent
BEGIN, END = "<!-- results: built by results/tables.py -->", "<!-- end of results -->"


def rows() -> list[dict[str, object]]:
    """One row for each recipe that has runs, in the order of the recipes."""
    runs = defaultdict(list)
    for path in sorted(HERE.glob("*.json")):
        run = json.loads(path.read_text())
        runs[run["recipe"]].append(run)
    return [row(RECIPES[name].published, runs[name]) for name in RECIPES if name in runs]


def row(published: float | None, runs: list[dict]) -> dict[str, object]:
    first = runs[0]
    return {
        "recipe": f"`{first['recipe']}`",
        "data": first["dataset"],
        "parameters": first["parameters"],
        "epochs": first["epochs"],
        "minutes": f"{np.mean([r['seconds'] for r in runs]) / 60:.1f}",
        "train": percent([r["train_accuracy"] for r in runs]),
        "validation": percent([r["validation_accuracy"] for r in runs]),
        "test": "**" + percent([r["test_accuracy"] for r in runs]) + "**",
        "source": None if published is None else f"{published:.1%}",
        "seeds": len(runs),
        "commit": " ".join(sorted({str(r["commit"]) for r in runs})),
        "command": f"`{first['command'].partition(' --seed')[0].partition(' --out')[0]}`",
    }


def percent(values: list[float]) -> str:
    mean = f"{100 * np.mean(values):.2f}"
    return f"{mean} %" if len(values) == 1 else f"{mean} ± {100 * np.std(values, ddof=1):.2f} %"


def insert(path: Path, table: str) -> None:
    """Replace what stands between the two marks."""
    before, _, rest = path.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    table = format_table(rows(), markdown=True)
    for name in ("README.md", "RESULTS.md"):
        insert(HERE.parent / name, table)
    print(table)
