"""What happens at the end, with and without an exception."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from functools import partial

import numpy as np
import pytest

from tinygrad_fm import detect_anomaly, enable_grad, no_grad, profile
from tinygrad_fm.autograd import mode
from tinygrad_fm.ops.readonly import ReadOnly
from tinygrad_fm.ops.undo import Undo

OUTSIDE = [(True, None)]


def test_it_is_called_once_when_the_last_reference_goes():
    done = []
    undo = Undo()
    undo.__del__ = partial(done.append, 1)
    other = undo
    del undo
    assert done == []
    del other
    assert done == [1]


def test_unset_it_does_nothing(capsys):
    Undo()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("make", [no_grad, enable_grad, detect_anomaly, profile])
def test_a_context_ends_in_whatever_way_it_is_used(make):
    context = make()
    with context, pytest.raises(ZeroDivisionError), context:
        raise ZeroDivisionError(f"inside {len(mode.stack)}")
    assert mode.stack == OUTSIDE
    with ExitStack() as stack:
        stack.enter_context(context)
        stack.enter_context(context)
        assert len(mode.stack) == 3
    assert mode.stack == OUTSIDE
    context.__enter__()
    context.__exit__(None, None, None)
    assert mode.stack == OUTSIDE
    context.__exit__(None, None, None)  # once too often
    assert mode.stack == OUTSIDE


def test_a_generator_that_ends_late_takes_nothing_from_others():
    def steps():
        with no_grad():
            yield

    running = steps()
    next(running)
    with enable_grad():
        running.close()
    assert mode.stack == OUTSIDE


def test_threads_lock_one_array_at_once():
    arrays = [np.ones(3) for _ in range(500)]
    start = threading.Barrier(4)

    def save():
        start.wait()
        for array in arrays:
            ReadOnly((array, array[1:]))

    threads = [threading.Thread(target=save) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(array.flags.writeable for array in arrays)
