"""`gradcheck` and `bench`: whether the framework is right, and how fast it is."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import tinygrad_fm
from tinygrad_fm.checking.table import print_table
from tinygrad_fm.cli.command import add_command
from tinygrad_fm.errors import CommandError


def add_commands(commands: Any) -> None:
    add_command(
        commands,
        "gradcheck",
        gradcheck,
        "check the derivatives of every operation, layer and loss",
        "gradcheck",
    )
    command = add_command(
        commands,
        "bench",
        bench,
        "measure NumPy against PyTorch; options are those of `python -m benchmarks`",
        "bench --models mlp cnn --only training_step",
    )
    command.set_defaults(takes_rest=True)


def gradcheck(options: argparse.Namespace) -> int:
    return 0 if print_table() else 1


def bench(options: argparse.Namespace) -> int:
    """Hand over to the benchmarks, which are no part of the package."""
    checkout = Path(tinygrad_fm.__file__).parents[1]
    if not (checkout / "benchmarks" / "__main__.py").exists():
        raise CommandError("bench needs the folder benchmarks/ of a checkout: run it in a clone")
    paths = os.pathsep.join(filter(None, (str(checkout), os.environ.get("PYTHONPATH"))))
    return subprocess.call(
        [sys.executable, "-m", "benchmarks", *options.rest],
        env={**os.environ, "PYTHONPATH": paths},
    )
