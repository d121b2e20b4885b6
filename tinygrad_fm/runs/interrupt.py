"""Ctrl-C, and the signals that end a program otherwise, at a good moment.

SIGTERM is what a container's stop and `kill` send, SIGHUP what a terminal sends that is closed.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

Handler = Callable[[int, FrameType | None], None]
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


class EndedBySignal(KeyboardInterrupt):
    """By the signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Inside the block SIGTERM and SIGHUP raise `EndedBySignal`, wherever the program is."""

    def end(number: int, frame: FrameType | None) -> None:
        raise EndedBySignal(number)

    with _handled_by(end, ENDING):
        yield


@contextmanager
def signals_wait() -> Iterator[Callable[[], KeyboardInterrupt | None]]:
    """Inside the block Ctrl-C, SIGTERM and SIGHUP wait: the yielded function returns what to raise.

    Ctrl-C after one of them ends the program at once.
    """
    error: KeyboardInterrupt | None = None

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal error
        if number == signal.SIGINT and error:
            raise KeyboardInterrupt
        error = error or EndedBySignal(number)

    with _handled_by(note, [signal.SIGINT, *ENDING]):
        yield lambda: error


@contextmanager
def _handled_by(handler: Handler, numbers: list[int]) -> Iterator[None]:
    """Inside the block these signals call `handler`.

    Not in a thread, where signals cannot be caught, and not those that are ignored, as SIGHUP is
    by nohup, or that a library in C handles.
    """
    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)
