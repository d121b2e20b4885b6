"""`gradcheck`: whether the framework is right."""

from __future__ import annotations

import argparse
from typing import Any

from tinygrad_fm.checking.table import print_table
from tinygrad_fm.cli.command import add_command


def add_commands(commands: Any) -> None:
    add_command(
        commands,
        "gradcheck",
        gradcheck,
        "check the derivatives of every operation, layer and loss",
        "gradcheck",
    )


def gradcheck(options: argparse.Namespace) -> int:
    return 0 if print_table() else 1
