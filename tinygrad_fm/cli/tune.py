"""`tune`: search for better settings of a recipe."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from tinygrad_fm.cli.command import add_command, add_dataset, add_threads, natural, positive
from tinygrad_fm.formatting import printable
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.report import format_trials
from tinygrad_fm.tune import BEST, search


def add_commands(commands: Any) -> None:
    command = add_command(
        commands,
        "tune",
        tune,
        "search for better settings of a recipe",
        "tune mlp --dataset garments --epochs 10 --trials 20",
    )
    add = command.add_argument
    add("recipe", metavar="RECIPE", choices=RECIPES, help=", ".join(RECIPES))
    add_dataset(command)
    add("--trials", type=positive, metavar="N", default=20, help="how many to add (default: 20)")
    add("--epochs", type=positive, metavar="N", help="of each trial (default: the recipe's own)")
    add(
        "--storage",
        metavar="URL",
        help="a database instead of a file in --out: sqlite:///…, postgresql+psycopg2://… or "
        "mysql+pymysql://…",
    )
    add("--study", metavar="NAME", help="the search's name in the storage")
    add("--seed", type=natural, metavar="N", default=0)
    add_threads(command)
    add("--out", type=Path, metavar="DIR", help="for the table, the picture and trials.db")


def tune(options: argparse.Namespace) -> None:
    """Search, then print the table of trials."""
    recipe = RECIPES[options.recipe].changed(dataset=options.dataset, epochs=options.epochs)
    out = options.out or Path("out") / f"tune-{recipe.name}-{recipe.dataset}"
    options.go_on = same_search(options, out)
    options.saved = out if options.storage is None else Path()  # a database is elsewhere
    trials = search(
        recipe,
        out,
        data_dir=options.data_dir,
        trials=options.trials,
        storage=options.storage,
        study=options.study,
        seed=options.seed,
    )
    print(format_trials(trials))
    print(f"\nThe trials are in {printable(out)}/")
    if (out / BEST).exists():
        best = shlex.join(["tinygrad-fm", "train", recipe.name, "--settings", str(out / BEST)])
        print(f"Train with the best settings with:\n  {printable(best)}")


def same_search(options: argparse.Namespace, out: Path) -> str:
    """What to type to add trials to the search."""
    words = ["tinygrad-fm", "tune", options.recipe]
    for name in ("dataset", "data_dir", "epochs", "trials", "storage", "study", "seed", "threads"):
        value = getattr(options, name)
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join([*words, "--out", str(out)])
