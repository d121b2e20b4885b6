"""What all commands share: how one is added, and the types of its arguments."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.settings import DATASETS, configured
from tinygrad_fm.runs.files import read_json

Number = TypeVar("Number", int, float)


def add_command(
    commands: Any, name: str, action: Callable[[argparse.Namespace], Any], what: str, example: str
) -> argparse.ArgumentParser:
    """Add a command to the parser's; give it arguments of its own afterwards.

    Args:
        action: called with the options; returns the exit status, None for 0.
        what: what it does, in a line.
        example: how it may be called, without the program's name.
    """
    command = commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=f"example:\n  tinygrad-fm {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--debug",
        action="store_true",
        default=argparse.SUPPRESS,  # or it would undo a --debug before the command
        help="show the whole traceback of an error",
    )
    command.set_defaults(action=action, bad_usage=command.error)
    return command


def add_run(command: argparse.ArgumentParser) -> None:
    """The argument RUN."""
    command.add_argument("run", type=Path, metavar="RUN", help="a run folder of `train`")


def add_data_dir(command: argparse.ArgumentParser) -> None:
    """The option --data-dir."""
    command.add_argument(
        "--data-dir", type=Path, metavar="DIR", help="where the data set's files are"
    )


def add_dataset(command: argparse.ArgumentParser) -> None:
    """The options --dataset and --data-dir."""
    command.add_argument("--dataset", choices=DATASETS, help="instead of the recipe's own")
    add_data_dir(command)


def add_threads(command: argparse.ArgumentParser) -> None:
    """The option --threads, which `main` carries out."""
    command.add_argument(
        "--threads", type=positive, metavar="N", help="by default one for each core"
    )


def add_extractor(command: argparse.ArgumentParser) -> None:
    """The option --extractor."""
    command.add_argument(
        "--extractor",
        type=Path,
        metavar="FILE",
        help="of features-mlp: the model.safetensors of a trained cnn-5conv",
    )


def add_settings(command: argparse.ArgumentParser) -> None:
    """The option --settings."""
    command.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="JSON, such as the best.json of `tune`; other options win over it",
    )


def settings(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """What is changed about the recipe: by the file of --settings, then by the options `names`.

    Settings that the recipe cannot have end the program as bad usage.

    Raises:
        RunError: the file cannot be read, or is no JSON object.
    """
    changed = {} if options.settings is None else read_json(options.settings)
    given = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in given.items() if value is not None}
    if "optimizer" in given:
        changed.pop("lr", None)  # a rate for the file's optimizer is none for another
    changed |= given
    try:
        configured(RECIPES[options.recipe], changed)
    except ValueError as error:
        options.bad_usage(str(error))
    return changed


def positive(text: str) -> int:
    """A whole number from 1."""
    return _number(text, int, lambda number: number >= 1, "a whole number from 1")


def natural(text: str) -> int:
    """A whole number from 0."""
    return _number(text, int, lambda number: number >= 0, "a whole number from 0")


def rate(text: str) -> float:
    """A finite number above 0."""
    return _number(text, float, lambda number: 0 < number < math.inf, "a number above 0")


def _number(
    text: str, kind: Callable[[str], Number], is_right: Callable[[Number], bool], wanted: str
) -> Number:
    with suppress(ValueError):
        if is_right(number := kind(text)):
            return number
    raise argparse.ArgumentTypeError(f"wanted {wanted}, got {text!r}")
