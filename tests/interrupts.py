"""Ctrl-C at any moment, and what must hold afterwards; run as a script by `test_interrupts.py`.

landings          an interrupt at every place where Python looks for one, in small functions
twice             two of them
signals N SEED    N at random moments, in larger ones
two_threads       the same, while another thread computes
forks             no interrupt, but children forked while another thread computes
"""

from __future__ import annotations

import contextlib
import dis
import gc
import inspect
import itertools
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from tinygrad_fm import (
    Tensor,
    autograd,
    compile,
    detect_anomaly,
    enable_grad,
    manual_seed,
    nn,
    no_grad,
    profile,
    set_num_threads,
)
from tinygrad_fm.data import ArrayDataset, DataLoader
from tinygrad_fm.ops import readonly
from tinygrad_fm.ops.fast import blas, memory, parallel
from tinygrad_fm.optim import Adam
from tinygrad_fm.train.evaluation import eval_mode

# ------------------------------------------------------------------------------ what must hold

RNG = np.random.default_rng(0)
A = RNG.standard_normal((64, 700)).astype(np.float32)
B = RNG.standard_normal((700, 800)).astype(np.float32)
IMAGES = RNG.standard_normal((32, 1, 12, 12)).astype(np.float32)
LABELS = RNG.integers(0, 10, 32)
DATASET = ArrayDataset((IMAGES * 9).astype(np.uint8), LABELS, tuple("0123456789"), "random")


def network():
    manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(8 * 36, 10),
    )


def loss_of(model):
    return nn.functional.cross_entropy(model(Tensor(IMAGES)), Tensor(LABELS))


def step(model):
    optimizer = Adam(model.parameters())
    loss = loss_of(model)
    loss.backward()
    optimizer.step()
    return [loss.item(), *(p.data.tobytes() for p in model.parameters())]


def planned_step():
    """The same step, replayed from a plan that earlier steps may have been interrupted in."""
    for p, array in zip(PLANNED.parameters(), network().parameters(), strict=True):
        p.grad = None
        p.data = array.data
    PLANNED.load_state_dict(network().state_dict())
    return step(PLANNED)


def product():
    """A @ B in chunks of columns on two threads."""
    y = memory.empty((len(A), B.shape[1]), np.float32)

    def body(i):
        np.matmul(A, B[:, 80 * i : 80 * i + 80], out=y[:, 80 * i : 80 * i + 80])

    parallel.parallel_for(body, 10)
    return y.tobytes()


def blas_threads():
    return [get() for get, _ in blas._libraries()]


def used():
    """Bytes of `memory` that some array is on."""
    gc.collect()
    return memory._total - memory._spare()


def check_at_once():
    """What holds even while somebody keeps the traceback, as notebooks do."""
    assert autograd.mode.stack == [(True, None)], autograd.mode.stack
    assert all(module.training for module in MODEL.modules())
    assert blas._blas.users == 0, blas._blas.users
    assert blas_threads() == BLAS, (blas_threads(), BLAS)
    assert not WORKING, "a helper is still at work"


def check_memory():
    """What holds when the traceback is gone."""
    assert used() == 0, used()
    assert not any(lock() for lock in readonly._locks.values())
    assert all(p.data.flags.writeable for p in MODEL.parameters())
    assert all(a.flags.writeable for a in (A, B, IMAGES, LABELS))


def check_work():
    assert product() == PRODUCT
    assert step(network()) == STEP
    assert planned_step() == PLANNED_STEP
    check_at_once()
    check_memory()


# ------------------------------------------------------------------------------ every landing

CALLS = {"CALL", "CALL_FUNCTION_EX", "CALL_KW", "CALL_FUNCTION", "CALL_FUNCTION_KW", "CALL_METHOD"}
JUMPS = {"JUMP_BACKWARD", "JUMP_ABSOLUTE"}
OURS = (str(Path(parallel.__file__).parents[2]), __file__)


class Landing:
    """Raises KeyboardInterrupt at the n-th place where Python looks for one, in our own code:
    where a function begins, after a call, and where a loop goes round; then again at the m-th place
    after that one."""

    def __init__(self, at, again=0):
        self.at, self.again = at, again
        self.count = 0

    def trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        before = None

        def local(frame, event, arg):
            nonlocal before
            if event == "opcode":
                name, before = before, dis.opname[frame.f_code.co_code[frame.f_lasti]]
                if name in CALLS or name in JUMPS:
                    self.here()
            elif event == "exception":
                before = None  # a call that raised: Python goes to the handler without looking
            return local

        self.here()
        return local

    def here(self):
        self.count += 1
        if self.count == self.at:
            raise KeyboardInterrupt  # which ends the tracing

    def profile(self, frame, event, arg):
        """In `sys.setprofile`, where the second one comes from."""
        code = frame.f_code
        ours = code.co_filename.startswith(OURS) and code is not LANDED
        if event == "call" and code.co_flags & inspect.CO_GENERATOR:
            return  # nobody looks where a generator is closed
        if self.count >= self.at and ours and event in ("call", "c_return"):
            self.again -= 1
            if self.again == 0:
                raise KeyboardInterrupt


def landed(work, at, again=0):
    """Run `work` with interrupts at these landings; the error, and the `Landing`."""
    landing, caught = Landing(at, again), None
    if again:
        sys.setprofile(landing.profile)
    sys.settrace(landing.trace)
    try:
        work()
    except KeyboardInterrupt as error:
        caught = error
    finally:
        sys.settrace(None)
        sys.setprofile(None)
    return caught, landing


LANDED = landed.__code__
WORKING: set[object] = set()


def loop():
    def body(i):
        mark = object()
        WORKING.add(mark)
        np.matmul(A, B)
        WORKING.discard(mark)

    def body_of_caller(i):
        if threading.current_thread() is threading.main_thread():
            np.matmul(A, B)  # interrupted here, it would leave its mark
        else:
            body(i)

    parallel.parallel_for(body_of_caller, 4)


def nested_loops():
    parallel.parallel_for(lambda i: parallel.parallel_for(lambda j: None, 3), 3)


def failing_loop():
    def body(i):
        raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        parallel.parallel_for(body, 3)


def one_blas():
    blas.one_blas_thread(blas.one_blas_thread, np.matmul, A, B)


def reuse():
    first = memory.empty((128, 100), np.float32)
    view = first[3:]
    del first
    second = memory.empty((128, 100), np.float32)
    assert not np.shares_memory(view, second)


def other_sizes():
    for rows in range(100, 104):
        memory.empty((rows, 100), np.float32)


def locks():
    owner = np.ones((4, 5))
    view = owner[1:]
    first = readonly.ReadOnly((owner, view))
    second = readonly.ReadOnly((view[:2],))
    del first
    assert not owner.flags.writeable
    del second
    assert owner.flags.writeable
    assert view.flags.writeable


def contexts():
    with enable_grad(), no_grad():
        with enable_grad(), profile(), no_grad(), detect_anomaly():
            assert not autograd.is_grad_enabled()
        assert not autograd.is_grad_enabled()


@no_grad()
def decorated():
    return Tensor(A[0]) + 1


@no_grad()
def generator():
    yield autograd.is_grad_enabled()
    yield autograd.is_grad_enabled()


def decorators():
    decorated()
    assert list(generator()) == [False, False]


def evaluation():
    with eval_mode(MODEL), no_grad():
        MODEL[5](Tensor(IMAGES[:2]))


def graph():
    x = Tensor(A, requires_grad=True)
    ((x @ Tensor(B)).relu() * 2).sum().backward()


SMALL = [
    loop,
    nested_loops,
    failing_loop,
    one_blas,
    reuse,
    other_sizes,
    locks,
    contexts,
    decorators,
    evaluation,
    graph,
]


def every_landing():
    for work in SMALL:
        for at in itertools.count(1):
            error, landing = landed(work, at)
            if landing.count < at:
                break
            assert error is not None, (work.__name__, at, "the interrupt was lost")
            check_at_once()
            error = None
            check_memory()
            if at % 10 == 0:
                check_work()
        check_work()
        print(f"{work.__name__}: {at - 1}")


def twice():
    """The second interrupt lands wherever the first one leads, and may keep the process from
    dealing with that one: then the next operation does it."""
    for work in SMALL:
        count = 0
        for at in itertools.count(1):
            for again in range(1, 13):
                landing = landed(work, at, again)[1]
                while WORKING or used():
                    time.sleep(0.001)  # a helper that nobody waits for ends its chunk
                MODEL.train()
                blas.one_blas_thread(int)
                check_at_once()
                check_memory()
                if landing.again > 0:
                    break
                count += 1
            if landing.count < at:
                break
            check_work()
        print(f"{work.__name__}: {count}")


# ------------------------------------------------------------------------------ signals


def forward():
    loss_of(network())


def whole_step():
    assert step(network()) == STEP


def replayed():
    assert planned_step() == PLANNED_STEP


def evaluated():
    with eval_mode(PLANNED), no_grad():
        PLANNED(Tensor(IMAGES))


def load():
    for images, _ in DataLoader(DATASET, 4, shuffle=True):
        images.sum()


def profiled():
    with profile(), no_grad():
        contexts()
        with eval_mode(MODEL):
            MODEL(Tensor(IMAGES))


def multiply():
    assert product() == PRODUCT


def from_a_graph():
    loss = loss_of(MODEL)
    while True:
        loss.backward(retain_graph=True)


LARGE = [
    forward,
    from_a_graph,
    whole_step,
    replayed,
    evaluated,
    load,
    contexts,
    profiled,
    multiply,
    nested_loops,
]


def interrupted(work, delay):
    """Let `work` be interrupted by a signal after `delay` seconds."""
    try:
        signal.setitimer(signal.ITIMER_REAL, delay)
        while True:
            work()
    except KeyboardInterrupt:
        return


def random_signals(count, seed):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    chance = random.Random(seed)
    for n in range(count):
        work = LARGE[n % len(LARGE)]
        interrupted(work, chance.uniform(1e-4, 0.02))
        check_at_once()
        for p in MODEL.parameters():
            p.grad = None
        check_work()
    print(f"interrupts: {count}")


# ------------------------------------------------------------------------------ other threads


def two_threads():
    """One user thread computes while the main one is interrupted; neither notices the other."""
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    over, wrong = threading.Event(), []

    def compute():
        while not over.is_set():
            if product() != PRODUCT:
                wrong.append(product)

    other = threading.Thread(target=compute)
    other.start()
    chance = random.Random(0)
    for n in range(40):
        interrupted((whole_step, multiply)[n % 2], chance.uniform(1e-4, 0.02))
        assert step(network()) == STEP
    over.set()
    other.join()
    assert not wrong
    check_work()


def forks():
    """60 children, forked while another thread computes: each has all of BLAS's threads."""
    over = threading.Event()

    def compute():
        while not over.is_set():
            product()

    other = threading.Thread(target=compute)
    other.start()
    codes = []
    for _ in range(60):
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # by which a child that hangs is ended
            good = blas_threads() == BLAS and product() == PRODUCT and blas_threads() == BLAS
            os._exit(0 if good else 1)
        codes.append(os.waitpid(child, 0)[1])
    over.set()
    other.join()
    assert codes == [0] * 60, codes
    check_work()


if __name__ == "__main__":
    set_num_threads(2)
    for _, set_threads in blas._libraries():
        set_threads(2)
    BLAS, PRODUCT, STEP, MODEL = blas_threads(), product(), step(network()), network()
    PLANNED = compile(network())
    PLANNED_STEP = planned_step()
    assert [planned_step() == PLANNED_STEP for _ in range(3)] == [True] * 3
    assert BLAS
    check_work()
    gc.freeze()  # a search through what was made so far would be most of the time
    kinds = {
        "landings": every_landing,
        "twice": twice,
        "signals": random_signals,
        "two_threads": two_threads,
        "forks": forks,
    }
    kinds[sys.argv[1]](*map(int, sys.argv[2:]))
