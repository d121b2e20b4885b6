"""Work in fixed chunks on several threads: the same bits for any number of threads.

NumPy releases the GIL inside its loops and matrix products, so plain Python threads run side by
side. What is computed never depends on how many there are: the caller cuts the work into chunks by
its size alone, each chunk is computed by one thread with one BLAS thread, and the caller adds the
chunks' results up in their order.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import cached_property
from typing import Any

from threadpoolctl import ThreadpoolController


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_threads = _available_cores()


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


class _Helper(threading.Thread):
    """A thread that sleeps until it is given work.

    Two bare locks wake it in a few microseconds, where a pool's queue and futures take thirty:
    a small layer's matrix product takes no longer than that.
    """

    def __init__(self) -> None:
        super().__init__(name="tinygrad_fm", daemon=True)
        self.work: Callable[[], None]
        self.error: BaseException | None = None
        self.begin, self.end = threading.Lock(), threading.Lock()
        self.begin.acquire()
        self.end.acquire()
        self.start()

    def run(self) -> None:
        while True:
            self.begin.acquire()
            try:
                self.work()
            except BaseException as error:  # raised again in the thread that gave the work
                self.error = error
            del self.work  # an idle helper keeps no arrays alive
            self.end.release()

    def give(self, work: Callable[[], None]) -> None:
        self.work = work
        self.begin.release()

    def wait(self) -> BaseException | None:
        self.end.acquire()
        error, self.error = self.error, None
        return error


class _Team:
    """The helpers, and whether they are at work."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.helpers: list[_Helper] = []
        self.busy = threading.Lock()

    def of(self, size: int) -> list[_Helper]:
        while len(self.helpers) < size:
            self.helpers.append(_Helper())
        return self.helpers[:size]


_team = _Team()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_team.reset)  # threads don't survive a fork


def parallel_for(body: Callable[[int], Any], count: int) -> None:
    """Run body(0), …, body(count - 1), each on some thread; an exception is raised here."""
    with one_blas_thread:
        size = min(_threads, count) - 1
        if size < 1 or not _team.busy.acquire(blocking=False):  # a loop within a loop
            for i in range(count):
                body(i)
            return
        todo = iter(range(count))  # the GIL makes next() on it atomic

        def work() -> None:
            for i in todo:
                body(i)

        errors: list[BaseException | None] = []
        try:
            helpers = _team.of(size)
            for helper in helpers:
                helper.give(work)
            try:
                work()  # the calling thread works too
            finally:
                errors = [helper.wait() for helper in helpers]
        finally:
            _team.busy.release()
        for error in errors:
            if error is not None:
                raise error


# ------------------------------------------------------------------------------ BLAS's own threads


class OneBlasThread:
    """`with one_blas_thread:` holds NumPy's BLAS at one thread, and leaves it as it was before.

    Our own threads take the place of BLAS's: two levels of threads get in each other's way, and
    what BLAS adds up in which order may depend on how many it has.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = 0
        self.before: list[int] = []

    @cached_property
    def libraries(self) -> list[Any]:
        """Looked up at the first use, which takes a few milliseconds."""
        blas = ThreadpoolController().select(user_api="blas").lib_controllers
        return [library for library in blas if "numpy" in library.filepath] or blas

    def __enter__(self) -> None:
        with self.lock:
            if self.depth == 0:
                self.before = [library.get_num_threads() for library in self.libraries]
                for library in self.libraries:
                    library.set_num_threads(1)
            self.depth += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.depth -= 1
            if self.depth == 0:
                for library, count in zip(self.libraries, self.before, strict=True):
                    library.set_num_threads(count)


one_blas_thread = OneBlasThread()
