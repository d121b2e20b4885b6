"""What the examples share: a command line, data, and errors without a traceback."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from types import TracebackType

from tinygrad_fm import data
from tinygrad_fm.cli import prepare_streams
from tinygrad_fm.cli.command import natural, positive, rate
from tinygrad_fm.recipes import RECIPES, Recipe, Run, run

DATASETS = ("fashion-mnist", "mnist", "garments")
# No mistakes in a script. A loss that is not finite is a FloatingPointError.
EXPECTED = (data.DataUnavailable, data.IDXError, FloatingPointError, OSError)


def parse(
    example: str, *, dataset: str, epochs: int, lr: float | None, recipe: str | None = None
) -> argparse.Namespace:
    """The options of a script, or their defaults in a notebook; makes the folder for pictures.

    A script that names a recipe has --recipe, for any that sees images. From here on a script ends
    with one line about what it could not help.
    """
    sys.excepthook = tell
    prepare_streams()
    warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's; a loss that is NaN is told
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    if recipe is not None:
        seeing = [name for name in RECIPES if RECIPES[name].extractor is None]
        parser.add_argument("--recipe", default=recipe, choices=seeing)
    parser.add_argument("--dataset", default=dataset, choices=DATASETS)
    parser.add_argument("--data-dir", type=Path, help="folder with the data set's files")
    parser.add_argument("--epochs", type=positive, default=epochs)
    parser.add_argument("--batch-size", type=positive, default=64)
    parser.add_argument("--lr", type=rate, default=lr, help="learning rate")
    parser.add_argument("--seed", type=natural, default=0)
    parser.add_argument("--out", type=Path, default=Path("out") / example, help="for pictures")
    in_notebook = "ipykernel" in sys.modules  # where the arguments are those of the kernel
    options = parser.parse_args([] if in_notebook else None)
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What Python calls with an error that nobody caught."""
    if isinstance(error, EXPECTED):
        print(error, file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def load(options: argparse.Namespace) -> tuple[data.ArrayDataset, data.ArrayDataset]:
    """The training and the test set."""
    return data.load(options.dataset, options.data_dir)


def train(recipes: dict[str, Recipe], options: argparse.Namespace) -> dict[str, Run]:
    """Train recipes under the names given, with the options that were chosen on the command line.

    The weights of the best validation epoch are kept; the test set is read once, at the end.
    """
    chosen = {name: getattr(options, name) for name in ("dataset", "epochs", "batch_size", "lr")}
    runs = {}
    for name, recipe in recipes.items():
        print(f"training: {name}", file=sys.stderr)
        runs[name] = run(recipe.changed(**chosen), data_dir=options.data_dir, seed=options.seed)
    return runs
