"""`demo`: all four models of the project on the built-in data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tinygrad_fm.cli.command import add_command, natural
from tinygrad_fm.demo import demo


def add_commands(commands: Any) -> None:
    command = add_command(
        commands,
        "demo",
        show,
        "train the four models on the built-in data set, in a few minutes",
        "demo --out out/demo",
    )
    command.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for pictures")
    command.add_argument("--seed", type=natural, default=0)


def show(options: argparse.Namespace) -> None:
    demo(options.out, options.seed)
