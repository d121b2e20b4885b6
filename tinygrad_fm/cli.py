"""The command line: `python -m tinygrad_fm` or `tinygrad-fm`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tinygrad_fm.demo import demo


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 1 if it failed (2 is argparse's)."""
    parser = argparse.ArgumentParser(prog="tinygrad-fm", description="Deep learning on NumPy.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "demo", help="train the four models of the project on the built-in data set"
    )
    command.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for pictures")
    command.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    demo(options.out, options.seed)
    return 0
