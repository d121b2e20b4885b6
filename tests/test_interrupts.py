"""Ctrl-C leaves a process in which everything works as before. (`interrupts.py` does the work.)"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("interrupts.py")


def check(*arguments: str, seconds: int = 120) -> str:
    """Run the script: a failure, a word on stderr or a hang fails the test."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=seconds
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


needs_timers = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")


def test_an_interrupt_may_land_anywhere() -> None:
    counts = dict(line.split(": ") for line in check("landings").splitlines())
    assert len(counts) == 11
    assert all(int(count) > 15 for count in counts.values()), counts


@needs_timers
def test_sixty_signals_at_random_moments() -> None:
    check("signals", "60", "0")


@needs_timers
def test_two_threads_compute_and_one_is_interrupted() -> None:
    check("two_threads")


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="no fork on this system")
def test_forks_while_another_thread_computes() -> None:
    check("forks")


@pytest.mark.slow
def test_a_second_interrupt_may_land_anywhere() -> None:
    check("twice", seconds=1200)


@pytest.mark.slow
@needs_timers
def test_five_hundred_signals_at_random_moments() -> None:
    check("signals", "500", "1", seconds=1200)
