"""Work in fixed chunks on several threads: the same bits for any number of threads.

NumPy releases the GIL inside its loops and matrix products, so plain Python threads run side by
side. What is computed never depends on how many there are: the caller cuts the work into chunks by
its size alone, each chunk is computed by one thread with one BLAS thread, and the caller adds the
chunks' results up in their order.
"""

from __future__ import annotations

import os
from _thread import start_new_thread
from collections import deque
from collections.abc import Callable
from itertools import repeat
from queue import SimpleQueue
from threading import Lock
from typing import Any

from tinygrad_fm.ops.fast.blas import one_blas_thread, pause

_affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
_threads = len(_affinity) or os.cpu_count() or 1


def get_num_threads() -> int:
    """How many threads large operations run on."""
    return _threads


def set_num_threads(count: int) -> None:
    """Let large operations run on `count` threads; by default one for each core.

    Results don't depend on it, bit for bit.

    Raises:
        ValueError: if `count` is below 1.
    """
    global _threads
    if count < 1:
        raise ValueError(f"set_num_threads expects at least 1, got {count}")
    _threads = count


# ------------------------------------------------------------------------------ loops


class _Loop:
    """The chunks of one `parallel_for` that nobody has begun, and who is at work on the others."""

    def __init__(self, body: Callable[[int], Any], count: int) -> None:
        self.body = body
        self.todo = iter(range(count))  # the GIL makes next() on it atomic
        self.at_work: list[Lock] = []  # one for each helper, which holds it while it works
        self.errors: list[BaseException] = []

    def help(self) -> None:
        """Work until nothing is left to begin. (Too late, there is nothing, and no `body`.)"""
        at_work = Lock()
        with at_work:
            self.at_work.append(at_work)  # before the first chunk is begun
            try:
                for i in self.todo:
                    self.body(i)
            except BaseException as error:  # raised again in the thread that waits
                deque(self.todo, maxlen=0)
                self.errors.append(error)


def _serve(loops: SimpleQueue[_Loop]) -> None:
    while True:
        loops.get().help()


class _Team:
    """Helpers that sleep until a loop is in the queue; nobody has to know which are at work.

    (The queue wakes one in a few microseconds, where a pool and its futures take thirty: a small
    layer's matrix product takes no longer than that. Starting a `threading.Thread` is not safe from
    an interrupt, and this is.)
    """

    def __init__(self) -> None:
        self.loops: SimpleQueue[_Loop] = SimpleQueue()
        self.helpers: list[int] = []

    def call(self, loop: _Loop, count: int) -> None:
        missing = count - len(self.helpers)
        if missing > 0:
            self.helpers.extend(map(start_new_thread, [_serve] * missing, repeat((self.loops,))))
        for _ in range(count):
            self.loops.put(loop)


def parallel_for(body: Callable[[int], Any], count: int) -> None:
    """Run body(0), …, body(count - 1), each on some thread; an exception is raised here.

    After an exception, Ctrl-C too, no chunk is begun any more, and those at work are waited for.
    """
    one_blas_thread(_run, body, count)


def _run(body: Callable[[int], Any], count: int) -> None:
    helpers = min(_threads, count) - 1
    if helpers < 1:
        for i in range(count):
            body(i)
        return
    pause()  # BLAS's threads: these are wanted now
    loop, team = _Loop(body, count), _team
    while True:
        try:
            if helpers:
                team.call(loop, helpers)
            for i in loop.todo:
                body(i)  # the calling thread works too
            for at_work in loop.at_work:
                with at_work:
                    pass
            break
        except BaseException as error:
            deque(loop.todo, maxlen=0)  # nobody begins another chunk
            helpers = 0
            loop.errors.insert(0, error)
    del loop.body  # a helper that is about to sleep, or comes too late, keeps no arrays alive
    if loop.errors:
        raise loop.errors.pop(0)


_team = _Team()


def _after_fork() -> None:
    """Only the thread that forked is left: no helpers."""
    global _team
    _team = _Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
