"""What the examples share: a command line, data, and errors without a traceback."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tinygrad_fm import data
from tinygrad_fm.recipes import Recipe, Run, run

DATASETS = ("fashion-mnist", "mnist", "garments")


def parse(example: str, *, dataset: str, epochs: int, lr: float | None) -> argparse.Namespace:
    """The options of a script, or their defaults in a notebook; makes the folder for pictures."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--dataset", default=dataset, choices=DATASETS)
    parser.add_argument("--data-dir", type=Path, help="folder with the data set's files")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=lr, help="learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out") / example, help="for pictures")
    in_notebook = "ipykernel" in sys.modules  # where the arguments are those of the kernel
    options = parser.parse_args([] if in_notebook else None)
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def load(options: argparse.Namespace) -> tuple[data.ArrayDataset, data.ArrayDataset]:
    """The training and the test set; if they can't be had, say why and end the script."""
    try:
        return data.load(options.dataset, options.data_dir)
    except data.DataUnavailable as error:
        sys.exit(str(error))


def train(recipes: dict[str, Recipe], options: argparse.Namespace) -> dict[str, Run]:
    """Train recipes under the names given, with the options that were chosen on the command line.

    The weights of the best validation epoch are kept; the test set is read once, at the end.
    """
    chosen = {name: getattr(options, name) for name in ("dataset", "epochs", "batch_size", "lr")}
    runs = {}
    for name, recipe in recipes.items():
        print(f"training: {name}", file=sys.stderr)
        try:
            runs[name] = run(recipe.changed(**chosen), data_dir=options.data_dir, seed=options.seed)
        except data.DataUnavailable as error:
            sys.exit(str(error))
    return runs
