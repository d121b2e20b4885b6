"""All four models of the project, trained on the built-in data set in a few minutes."""

from __future__ import annotations

import sys
from pathlib import Path

from tinygrad_fm.recipes import RECIPES, Run, run
from tinygrad_fm.report import format_comparison, plot_confusion, plot_history, plot_predictions

# Epochs and learning rates for 9,000 small pictures: chosen on the validation set, so that all
# four together stay under three minutes on two cores.
SETTINGS = {
    "sigmoid-mlp": {"epochs": 15},
    "mlp": {"epochs": 15},
    "cnn": {"epochs": 8},
    "cnn-bn": {"epochs": 8},
}


def demo(out: Path, seed: int = 0) -> list[Run]:
    """Train the four models on `garments`, print a table, and draw pictures into `out`."""
    runs = []
    for name, settings in SETTINGS.items():
        recipe = RECIPES[name].changed(dataset="garments", **settings)
        if sys.stderr.isatty():
            print(f"{name}: {recipe.summary}", file=sys.stderr)
        runs.append(run(recipe, seed=seed))
    draw(runs, out)
    print(f"\nTrained on {runs[0].test_set.name}, seed {seed}\n")
    print(table(runs))
    print(f"\nPictures are in {out}/")
    return runs


def table(runs: list[Run]) -> str:
    """One row a run; training accuracy is that of the kept epoch, dropout included."""
    return format_comparison({r.recipe.name: r.metrics() for r in runs})


def draw(runs: list[Run], out: Path) -> None:
    """Curves of all runs in one picture; confusion matrix and predictions of each."""
    out.mkdir(parents=True, exist_ok=True)
    plot_history({r.recipe.name: r.history for r in runs}, out / "curves.png")
    for r in runs:
        name, classes = r.recipe.name, r.test_set.classes
        plot_confusion(r.confusion, classes, out / f"{name}-confusion.png")
        _, probabilities, labels = r.predictions
        plot_predictions(
            r.test_set.images, probabilities, labels, classes, out / f"{name}-predictions.png"
        )
