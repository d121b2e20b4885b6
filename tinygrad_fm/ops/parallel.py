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
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import Any

from threadpoolctl import ThreadpoolController


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_threads = _available_cores()
_in_worker = threading.local()


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


@lru_cache(maxsize=1)
def _pool(helpers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(helpers, thread_name_prefix="tinygrad_fm")


def parallel_for(body: Callable[[int], Any], count: int) -> None:
    """Run body(0), …, body(count - 1), each on some thread; an exception is raised here."""
    with one_blas_thread:
        helpers = min(_threads, count) - 1
        if helpers < 1 or getattr(_in_worker, "yes", False):
            for i in range(count):
                body(i)
            return
        todo = iter(range(count))  # the GIL makes next() on it atomic

        def work() -> None:
            _in_worker.yes = True
            try:
                for i in todo:
                    body(i)
            finally:
                _in_worker.yes = False

        pool = _pool(_threads - 1)
        others = [pool.submit(work) for _ in range(helpers)]
        try:
            work()  # the calling thread works too
        finally:
            for other in others:
                other.result()


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
