"""Where in the user's code we are, for messages."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def user_line() -> str:
    """`file:line` of the innermost caller outside this package."""
    package = str(Path(__file__).parent) + os.sep
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
