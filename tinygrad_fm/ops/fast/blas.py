"""The threads of NumPy's BLAS: held at one, or let loose where that changes no bit.

Our own threads take the place of BLAS's: two levels of threads get in each other's way, and what
BLAS adds up in which order may depend on how many it has. For a product of matrices of moderate
size BLAS's are the faster ones, because they stay awake from one to the next; `multiply` finds out
for which shapes they give the same bits as one.
"""

from __future__ import annotations

import os
from _thread import start_new_thread
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from itertools import product
from queue import SimpleQueue
from threading import Lock
from time import perf_counter
from typing import Any, Literal, TypeVar

import numpy as np

Result = TypeVar("Result")
Getter = Callable[[], int]
Setter = Callable[[int], Any]


class _Blas:
    """How many want NumPy's BLAS to have one thread, and how many each library had before."""

    def __init__(self, before: Sequence[tuple[Setter, int]] = ()) -> None:
        self.users = 0
        self.single = False
        self.before = before
        self.lock = Lock()

    def settle(self) -> None:
        """Give BLAS the threads that `users` ask for. May be interrupted, and called again."""
        with self.lock:
            if not self.users:
                self.single = False  # at once: a user that comes now sees that it has to wait
                for set_threads, count in self.before:
                    set_threads(count)
                self.before = ()
            elif not self.single:
                self.before = self.before or [(put, get()) for get, put in _libraries()]
                for set_threads, _ in self.before:
                    set_threads(1)
                self.single = True


@cache
def _libraries() -> list[tuple[Getter, Setter]]:
    """How to get and set the number of threads of each BLAS that NumPy uses.

    Looked up at the first use, which takes a few milliseconds, and in a thread that no interrupt
    reaches: the search calls back from C, where one would be printed and lost.
    """
    from threadpoolctl import ThreadpoolController

    found: SimpleQueue[list[tuple[Getter, Setter]]] = SimpleQueue()

    def search() -> None:
        blas = ThreadpoolController().select(user_api="blas").lib_controllers
        blas = [library for library in blas if "numpy" in library.filepath] or blas
        found.put([_functions(library) for library in blas])

    start_new_thread(search, ())
    return found.get()


def _functions(library: Any) -> tuple[Getter, Setter]:
    """OpenBLAS's own functions: threadpoolctl's do nothing in any thread but the first to call."""
    if getattr(library, "threading_layer", None) == "pthreads":
        for prefix, suffix in product(("", "scipy_"), ("", "64_", "_64")):
            names = [f"{prefix}openblas_{verb}_num_threads{suffix}" for verb in ("get", "set")]
            if all(hasattr(library.dynlib, name) for name in names):
                return getattr(library.dynlib, names[0]), getattr(library.dynlib, names[1])
    return library.get_num_threads, library.set_num_threads


def one_blas_thread(function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Call a function with NumPy's BLAS held at one thread, and leave BLAS as it was before.

    (A function rather than a context, because Ctrl-C may keep `__exit__` from beginning. Here
    nothing can come between counting and `try`, nor between the end of `try` and counting: Python
    looks for an interrupt where a function begins, after a call, and where a loop goes round.)
    """
    blas = _blas
    blas.users += 1
    try:
        if not blas.single:
            blas.settle()
        result = function(*arguments, **options)
    finally:
        blas.users -= 1
        if not blas.users:
            try:
                blas.settle()
            except BaseException:
                blas.settle()
                raise
    return result


# ------------------------------------------------------------------------------ all of them

Multiply = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]

CALLS = 4  # with a shape before it is tried, which takes as long as some ten of them
AGAIN = 1000  # calls before it is tried again, if it was only too slow
LARGEST = 1 << 28  # multiplications of a product that is tried: some ten milliseconds
KEPT = 4096  # shapes
LATE = 5e-4  # seconds more than without BLAS's threads: somebody else is at work on their cores
PAUSES = 0.005, 0.1  # seconds for which they are left alone then, if it is rare and if it is not

_calls: dict[Hashable, int] = {}  # with each shape, before it is tried
_seconds: dict[Hashable, float] = {}  # without BLAS's threads; 0 where they don't help
_pause = [0.0, PAUSES[0]]  # until when nobody uses them, and for how long the next time


def multiply(by_one: Multiply, a: np.ndarray, b: np.ndarray, y: np.ndarray, most: int) -> None:
    """y = a @ b, on up to `most` threads of BLAS's if they give the bits of by_one(a, b, y).

    That is tried on random matrices, once for each shape that keeps coming back. Which numbers BLAS
    adds up in which order depends on the shape, the order of the axes and its number of threads,
    not on the values; and another order shows in the last bits of some of many random sums.

    Since the bits are the same either way, speed alone decides. BLAS's threads wait without sleep,
    for each other and for the next product. Where another process is at work on one's core, a
    product takes ten times as long as on one thread; where our own threads are, each of their
    loops takes longer. So nobody uses BLAS's for a while after either.

    Args:
        by_one: a @ b into y, in a way that does not depend on the number of threads.
    """
    threads = _threads_of_blas()
    orders = _order(a), _order(b), _order(y)
    own_transpose = a.shape[0] == b.shape[1] and np.may_share_memory(a, b)  # takes another way
    if _blas.users or not 1 < threads <= most or None in orders or own_transpose:
        by_one(a, b, y)
        return
    paused = _pause[0]
    key = (threads, a.dtype.char, b.dtype.char, *a.shape, *b.shape, *orders)
    seconds = _seconds.get(key)
    if seconds is None:
        _tell(key, by_one, a, b, y, threads)
    started = perf_counter()
    if not seconds or started < paused:
        by_one(a, b, y)
        _pause[0] = paused  # its own loops don't count
        return
    np.matmul(a, b, out=y)
    ended, seldom = perf_counter(), 0.9 * _pause[1]
    if ended - started > seconds + LATE:
        _pause[:] = ended + _pause[1], min(2 * _pause[1], PAUSES[1])
    else:
        _pause[1] = max(seldom, PAUSES[0])


def pause() -> None:
    """Leave BLAS's threads alone for a while: our own are at work."""
    _pause[0] = perf_counter() + PAUSES[1]


def _tell(key: Hashable, by_one: Multiply, *arrays: Any) -> None:
    """Count a call with a shape, and try it if it keeps coming back."""
    _calls[key] = calls = _calls.get(key, 0) + 1
    if calls <= CALLS:
        return
    if len(_calls) > KEPT:
        _calls.clear()
        _seconds.clear()
    found = _try(by_one, *arrays)
    if found is not None:
        _seconds[key] = found
    _calls[key] = -AGAIN


def _try(
    by_one: Multiply, a: np.ndarray, b: np.ndarray, y: np.ndarray, threads: int
) -> float | None:
    """How long by_one takes, 0 where BLAS's threads give other bits; None where they are slower, or
    somebody came between."""
    plain = a.dtype == b.dtype == y.dtype and a.dtype.char in "fd" and 1 not in (*a.shape, *b.shape)
    if not plain or a.size * b.shape[1] > LARGEST:
        return 0.0
    rng = np.random.default_rng(0)
    a, b = _random_like(a, rng), _random_like(b, rng)
    wanted, single, free = np.empty_like(y), np.empty_like(y), np.empty_like(y)
    alone = min(_timed(by_one, a, b, wanted) for _ in range(3))
    one_blas_thread(np.matmul, a, b, single)
    with _blas.lock:  # nobody takes BLAS's threads away meanwhile
        if _blas.single or _threads_of_blas() != threads:
            return None
        together = min(_timed(np.matmul, a, b, free) for _ in range(3))
    same = wanted.tobytes() == single.tobytes() == free.tobytes()
    if same and together > alone:
        return None
    return alone if same else 0.0


def _timed(function: Callable[..., Any], *arrays: np.ndarray) -> float:
    started = perf_counter()
    function(*arrays)
    return perf_counter() - started


def _random_like(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.standard_normal(x.shape), x.dtype, order=_order(x))


def _order(x: np.ndarray) -> Literal["C", "F"] | None:
    """C for a matrix that lies in memory row after row, F column after column; None for what NumPy
    computes with a copy of."""
    (rows, columns), size = x.strides, x.itemsize
    if columns == size and rows >= size * x.shape[1]:
        return "C"
    return "F" if rows == size and columns >= size * x.shape[0] else None


def _threads_of_blas() -> int:
    """How many NumPy's BLAS has now; 0 if there are several libraries."""
    libraries = _libraries()
    return libraries[0][0]() if len(libraries) == 1 else 0


# ------------------------------------------------------------------------------ forks

_blas = _Blas()


def _after_fork() -> None:
    """Only the thread that forked is left: there is no other user of BLAS."""
    global _blas
    _blas = _Blas(_blas.before)
    _blas.settle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
