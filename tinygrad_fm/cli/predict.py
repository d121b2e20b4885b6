"""`predict`: classify pictures of one's own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_fm.cli.command import add_command, add_run
from tinygrad_fm.data import as_input, read_picture
from tinygrad_fm.errors import PictureError, RunError
from tinygrad_fm.formatting import printable
from tinygrad_fm.report import plot_classified
from tinygrad_fm.runs import SavedRun, classify, open_run

SHOWN, BAR = 3, 40  # classes, and characters of a full bar
EIGHTHS = " ▏▎▍▌▋▊▉"


def add_commands(commands: Any) -> None:
    command = add_command(
        commands,
        "predict",
        predict,
        "classify pictures: PNG or JPEG, of one garment or digit on a plain background",
        "predict runs/cnn-2026-04-15-0 shirt.jpg boot.png",
    )
    add_run(command)
    command.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="a PNG or JPEG")
    command.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for what is drawn (default: beside each image, as IMAGE-prediction.png)",
    )


def predict(options: argparse.Namespace) -> int:
    """Print and draw what each picture is; one that cannot be read does not stop the others."""
    run = open_run(options.run)
    places = drawings(options.images, options.out)
    failed = 0
    for path, place in zip(options.images, places, strict=True):
        try:
            show(run, path, place)
        except (PictureError, OSError) as error:
            # Python writes "[Errno 2] No such file or directory: 'a.png'" of a system's error.
            problem = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else error
            print(f"tinygrad-fm: {printable(problem)}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def drawings(images: list[Path], out: Path | None) -> list[Path]:
    """Where each image's drawing is saved, each in a file of its own that is none of the images."""
    originals = {path.resolve() for path in images}
    places = [(out or path.parent) / f"{path.stem}-prediction.png" for path in images]
    for place in places:
        if places.count(place) > 1:
            raise RunError(f"two of the images would be drawn into {place}; rename one of them")
        if place.resolve() in originals:
            raise RunError(f"{place} would be drawn over; leave it out, or give --out DIR")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    return places


def show(run: SavedRun, path: Path, place: Path) -> None:
    """One picture: a few lines on the terminal, and a drawing."""
    picture = read_picture(path)
    try:
        seen = as_input(picture, run.recipe.dataset)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error
    probabilities = classify(run, seen[np.newaxis])[0]
    print(printable(path))
    print(bars(probabilities, run.classes))
    plot_classified(picture, seen, probabilities, run.classes, place)
    print(f"  drawn in {printable(place)}\n")


def bars(probabilities: np.ndarray, classes: tuple[str, ...]) -> str:
    """The most probable classes, a line each."""
    width = max(map(len, classes))
    best = np.argsort(-probabilities, kind="stable")[:SHOWN]
    lines = (
        f"  {classes[i]:{width}}  {probabilities[i]:6.1%}  {bar(probabilities[i])}" for i in best
    )
    return "\n".join(line.rstrip() for line in lines)


def bar(share: float) -> str:
    """A bar of up to BAR characters, to an eighth of one."""
    whole, eighths = divmod(round(share * BAR * 8), 8)
    return ("█" * whole + EIGHTHS[eighths]).rstrip()
