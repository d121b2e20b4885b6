"""`evaluate` and `compare`: what came out of runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_fm.cli.command import add_command, add_data_dir, add_run
from tinygrad_fm.errors import CommandError, extra
from tinygrad_fm.formatting import printable
from tinygrad_fm.report import format_classes, format_comparison, format_table, plot_comparison
from tinygrad_fm.report.style import SERIES
from tinygrad_fm.runs import SavedRun, open_run, resume_command
from tinygrad_fm.runs.folder import HISTORY, INITIAL
from tinygrad_fm.train import accuracy, classification_report, confusion_matrix


def add_commands(commands: Any) -> None:
    command = add_command(
        commands,
        "evaluate",
        evaluate,
        "test a complete run: accuracy, confusion matrix, and a table of the classes",
        "evaluate runs/cnn-2026-04-15-0",
    )
    add_run(command)
    add_data_dir(command)

    command = add_command(
        commands,
        "compare",
        compare,
        f"compare runs in one table, and up to {len(SERIES)} in one picture",
        "compare runs/mlp-2026-04-15-0 runs/cnn-2026-04-15-0",
    )
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="complete run folders")
    command.add_argument(
        "--out",
        type=picture,
        default=Path("out/comparison.png"),
        metavar="FILE",
        help="the picture (default: out/comparison.png)",
    )


def evaluate(options: argparse.Namespace) -> None:
    """Test the run's best weights now, and print what comes out."""
    run = open_trained(options.run)
    predicted, _, labels = run.predictions(options.data_dir)
    confusion = confusion_matrix(predicted, labels, len(run.classes))
    right, total = int(np.trace(confusion)), int(confusion.sum())
    print(f"{printable(run.name)}: {run.recipe.name} on {run.recipe.dataset}")
    print(f"test accuracy {accuracy(predicted, labels):.2%}: {right:,} of {total:,} images\n")
    print(format_classes(classification_report(confusion), run.classes), end="\n\n")
    print(confusion_table(confusion, run.classes))


def open_trained(path: Path) -> SavedRun:
    """The run, if its test set may be read: training is over, or it is of imported weights.

    Raises:
        CommandError: training is under way. Whoever knew the test accuracy now could choose by it
            when to stop, and it would be no test any more.
    """
    run = open_run(path)
    begun = (path / HISTORY).exists()
    if not run.tested and (begun or not (path / INITIAL).exists()):
        epochs = len(run.history()) if begun else 0
        raise CommandError(
            f"{path} is not complete: {epochs} of {run.recipe.epochs} epochs, and the test set is "
            f"read at the end; go on with `{resume_command(path)}`"
        )
    return run


def compare(options: argparse.Namespace) -> None:
    """What was measured when the runs were trained."""
    places = [path.resolve() for path in options.runs]
    for path, place in zip(options.runs, places, strict=True):
        if places.count(place) > 1:
            raise CommandError(f"{path} is given twice; leave one of the two out")
    runs = {name_of(path, options.runs): open_run(path) for path in options.runs}
    metrics = {name: run.metrics() for name, run in runs.items()}
    histories = {name: run.history() for name, run in runs.items()}
    print(format_comparison(metrics))
    if len({run.config["data_sha256"]["test"] for run in runs.values()}) > 1:
        print("\nTheir accuracies are of different test sets:")
        print("\n".join(f"  {name}: {run.recipe.dataset}" for name, run in runs.items()))
    if len(runs) > len(SERIES):
        print(f"\nThere is no picture: it has colours for {len(SERIES)} runs, not for {len(runs)}.")
    else:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        plot_comparison(histories, metrics, options.out)
        print(f"\nThe picture is {printable(options.out)}")


def picture(text: str) -> Path:
    """A file with an ending in which Matplotlib draws; it would give one to a name without."""
    with extra("report"):
        from matplotlib.backend_bases import FigureCanvasBase
    path = Path(text)
    if path.suffix[1:].lower() not in FigureCanvasBase.get_supported_filetypes():
        raise argparse.ArgumentTypeError(f"wanted an ending like .png, .svg, .pdf, got {text!r}")
    return path


def name_of(path: Path, paths: list[Path]) -> str:
    """The folder's name, with those above it where another run has the same."""
    namesakes = [other for other in paths if other.resolve().name == path.resolve().name]
    return printable(path.resolve().name if len(namesakes) == 1 else path)


def confusion_table(confusion: np.ndarray, classes: tuple[str, ...]) -> str:
    """Rows are true classes, columns predicted ones, by number."""
    predicted = [str(j) for j in range(len(classes))]
    rows = [
        {"true": f"{i} {name}", **{j: int(n) or None for j, n in zip(predicted, row, strict=True)}}
        for i, (name, row) in enumerate(zip(classes, confusion, strict=True))
    ]
    # Without thousands separators ten columns of them fit beside the names.
    table = format_table(rows, dict.fromkeys(predicted, "d"))
    return f"true class below, predicted class above\n\n{table}"
