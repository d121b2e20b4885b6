"""The command line: `python -m tinygrad_fm` or `tinygrad-fm`."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tinygrad_fm.checking.table import print_table
from tinygrad_fm.data import DataUnavailable
from tinygrad_fm.demo import demo, draw, table
from tinygrad_fm.ops.parallel import get_num_threads, set_num_threads
from tinygrad_fm.recipes import RECIPES, ExtractorError, run
from tinygrad_fm.tune import TuneError, add_command

DATASETS = ("fashion-mnist", "mnist", "garments")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 1 if it failed (2 is argparse's)."""
    options = parser().parse_args(arguments)
    try:
        options.action(options)
    except (DataUnavailable, ExtractorError, FloatingPointError, TuneError) as error:
        print(f"tinygrad-fm: {error}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(prog="tinygrad-fm", description="Deep learning on NumPy.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("demo", help="train the four models on the built-in data set")
    command.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for pictures")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(action=lambda options: demo(options.out, options.seed))

    command = commands.add_parser("train", help="train one recipe and test it")
    command.add_argument("recipe", choices=RECIPES, metavar="RECIPE", help=", ".join(RECIPES))
    command.add_argument("--dataset", choices=DATASETS, help="instead of the recipe's own")
    command.add_argument("--data-dir", type=Path, help="where the data set's files are")
    command.add_argument("--epochs", type=int)
    command.add_argument("--batch-size", type=int)
    command.add_argument("--lr", type=float)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--threads", type=positive, help="by default one for each core")
    command.add_argument(
        "--extractor",
        type=Path,
        metavar="FILE",
        help="the model.safetensors of a trained cnn-5conv",
    )
    command.add_argument("--out", type=Path, help="folder for weights, metrics and pictures")
    command.set_defaults(action=train)

    add_command(commands, DATASETS)

    command = commands.add_parser(
        "gradcheck", help="check the derivatives of every operation, layer and loss"
    )
    command.set_defaults(action=lambda options: None if print_table() else sys.exit(1))
    return top


def positive(text: str) -> int:
    """A whole number from 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def command_line() -> str:
    """How this program was called, as a reader would type it."""
    return shlex.join(["python", "-m", "tinygrad_fm", *sys.argv[1:]])


def commit() -> str | None:
    """The commit of the checkout that the package lies in, with a + if files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout.strip()


def train(options: argparse.Namespace) -> None:
    """Train a recipe, print its row, and write its weights and what was measured."""
    if options.threads:
        set_num_threads(options.threads)
    recipe = RECIPES[options.recipe].changed(
        dataset=options.dataset,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr=options.lr,
    )
    result = run(recipe, data_dir=options.data_dir, seed=options.seed, extractor=options.extractor)
    out = options.out or Path("out") / f"{recipe.name}-{recipe.dataset}-{options.seed}"
    draw([result], out)
    result.history.write_csv(out / "history.csv")
    result.save_weights(out / "model.safetensors")
    metrics = result.metrics() | {
        "threads": get_num_threads(),
        "command": command_line(),
        "commit": commit(),
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    print(table([result]))
    print(f"\nWeights, metrics, history and pictures are in {out}/")
