"""`report`: a run as an HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinygrad_fm.cli.command import add_command, add_data_dir, add_run
from tinygrad_fm.cli.runs import open_trained
from tinygrad_fm.files import write_atomically
from tinygrad_fm.formatting import printable
from tinygrad_fm.report.page import Outcome, run_page
from tinygrad_fm.runs import SavedRun
from tinygrad_fm.runs.folder import HISTORY

PAGE = "report.html"


def add_commands(commands: Any) -> None:
    command = add_command(
        commands,
        "report",
        report,
        "test a complete run and write a page about it, report.html in its folder",
        "report runs/cnn-2026-04-15-0",
    )
    add_run(command)
    add_data_dir(command)


def report(options: argparse.Namespace) -> None:
    run = open_trained(options.run)
    path = run.path / PAGE
    write_atomically(path, page(run, options.data_dir).encode(errors="replace"))
    print(f"{printable(path)} can be opened in any browser; it needs no network")


def page(run: SavedRun, data_dir: Path | None) -> str:
    """The page about a run whose test set is here."""
    test_set = run.test_set(data_dir)
    _, probabilities, labels = run.predictions(data_dir)
    return run_page(
        f"{run.recipe.name} on {test_set.name}",
        run.recipe.summary,
        sum(p.numel() for p in run.model().parameters()),
        Outcome(test_set.images, probabilities, labels, run.classes),
        run.history() if (run.path / HISTORY).exists() else None,
        run.config,
    )
