"""`train`: train a recipe into a run folder, or go on with one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from tinygrad_fm.cli.command import (
    add_command,
    add_dataset,
    add_extractor,
    add_settings,
    add_threads,
    natural,
    positive,
    rate,
    settings,
)
from tinygrad_fm.demo import table
from tinygrad_fm.errors import RunError
from tinygrad_fm.formatting import printable
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.settings import OPTIMIZERS, SCHEDULES
from tinygrad_fm.runs import SavedRun, begin, go_on, open_run, resume_command
from tinygrad_fm.runs.folder import CONFIG

SETTINGS = (
    "dataset",
    "epochs",
    "batch_size",
    "lr",
    "optimizer",
    "schedule",
    "patience",
    "augment",
    "compile",
)


def add_commands(commands: Any) -> None:
    command = add_command(
        commands,
        "train",
        train,
        "train a recipe, test it, and write a run folder",
        "train cnn --dataset garments --epochs 3",
    )
    add = command.add_argument
    add("recipe", nargs="?", metavar="RECIPE", choices=RECIPES, help=", ".join(RECIPES))
    add_dataset(command)
    add("--epochs", type=positive, metavar="N")
    add("--batch-size", type=positive, metavar="N")
    add("--lr", type=rate, metavar="RATE", help="learning rate")
    add("--optimizer", choices=OPTIMIZERS, help="with its usual rate, unless --lr is given")
    add("--schedule", choices=SCHEDULES, help="of the learning rate")
    add(
        "--patience",
        type=positive,
        metavar="N",
        help="end after N epochs in a row without a better validation accuracy",
    )
    add("--seed", type=natural, metavar="N", help="of everything that is random (default: 0)")
    add_threads(command)
    add(
        "--augment",
        action=argparse.BooleanOptionalAction,
        help="vary the training images at random: mirrored (but for digits) and shifted, or as the "
        "recipe says",
    )
    add(
        "--compile",
        action=argparse.BooleanOptionalAction,
        help="plan a step once and replay it, which is faster (the default)",
    )
    add_settings(command)
    add("--out", type=Path, metavar="DIR", help="the run folder (default: under runs/)")
    add("--resume", type=Path, metavar="RUN", help="go on with an interrupted run")
    add(
        "--accept-other-machine",
        action="store_true",
        help="with --resume: also where the last bits will differ, on another processor",
    )
    add_extractor(command)


def train(options: argparse.Namespace) -> None:
    """Train, then print the run's row."""
    saved = start(options) if options.resume is None else resume(options)
    if saved.complete:
        reached = f"test accuracy {saved.metrics()['test_accuracy']:.2%}"
        print(f"{printable(saved.path)} is complete: {reached}")
        return
    if sys.stderr.isatty():
        print(f"{saved.recipe.name} in {printable(saved.path)}/", file=sys.stderr)
    accept = options.accept_other_machine
    options.go_on = resume_command(saved.path) + (" --accept-other-machine" if accept else "")
    options.saved = saved.path / CONFIG
    result = go_on(saved, data_dir=options.data_dir, accept_other_machine=accept)
    print(table([result]))
    print(f"\nThe run is in {printable(saved.path)}/")


def start(options: argparse.Namespace) -> SavedRun:
    """A new run with the settings that were given."""
    if options.recipe is None:
        options.bad_usage("give a RECIPE (`tinygrad-fm list` shows them), or --resume RUN")
    if options.accept_other_machine:
        options.bad_usage("--accept-other-machine belongs to --resume RUN")
    return begin(
        options.recipe,
        settings(options, SETTINGS),
        seed=options.seed or 0,
        data_dir=options.data_dir,
        extractor=options.extractor,
        out=options.out,
    )


def resume(options: argparse.Namespace) -> SavedRun:
    """The run that was interrupted, which has settings of its own."""
    fixed = (*SETTINGS, "settings", "seed", "extractor", "out")
    given = [f"--{name.replace('_', '-')}" for name in fixed if getattr(options, name) is not None]
    if given:
        options.bad_usage(f"--resume goes on with the run's own settings: leave out {given[0]}")
    saved = open_run(options.resume)
    if options.recipe not in (None, saved.recipe.name):
        raise RunError(f"{saved.path} is of the recipe {saved.recipe.name}, not {options.recipe}")
    return saved
