"""How much memory this process had at most. Imports neither library, so that it adds nothing."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STEPS = 20  # of training: after a few, nothing grows any more


def peak_mb() -> float:
    """The peak resident set of this process, in MB (10⁶ bytes)."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux a child inherits the peak of the process that started it.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
