"""The backward pass: what it computes, what it keeps, and what it lets go of."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import torch

import tinygrad_fm as tg
from tinygrad_fm import Tensor
from tinygrad_fm.ops.function import Function


def leaf(*numbers: float) -> Tensor:
    return tg.tensor(numbers, dtype=tg.float32, requires_grad=True)


def grad_of(x: Tensor) -> list:
    assert x.grad is not None
    return x.grad.tolist()


# ------------------------------------------------------------------------ graphs of all forms

GRAPHS: dict[str, Callable] = {
    "used twice": lambda x: (x * x).sum(),
    "added to itself": lambda x: (x + x + x).sum(),
    "diamond": lambda x: ((x * 2) * (x + 3)).sum(),
    "diamond of one node": lambda x: (lambda y: (y * 2 + y * 3 + y * 4 - y / y).sum())(x * x),
    "nested diamonds": lambda x: (lambda y: (lambda z: (z * y + z).sum())(y * x + y))(x * x),
    "unequal branches": lambda x: (x + (((x * 2) * 3) * 4) * x).sum(),
    "numbers": lambda x: (lambda y: y * 2 + y * 3 + y * 4 + y * y)((x * x).sum()),
    "broadcast": lambda x: (x.reshape(3, 1) * x + x.sum()).sum(),
    "views": lambda x: (x.reshape(3, 1).transpose(0, 1) * x[1:].expand(2, 2)[0, 0] + x[0]).sum(),
    "stays out": lambda x: (x * x.detach() + 5).sum(),
}


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_gradients_are_torchs(graph: Callable) -> None:
    numbers = [1.5, -2.0, 0.5]
    ours, theirs = leaf(*numbers), torch.tensor(numbers, requires_grad=True)
    graph(ours).backward()
    graph(theirs).backward()
    np.testing.assert_allclose(grad_of(ours), theirs.grad, rtol=1e-6)


def test_numbers_without_axes_accumulate_in_a_diamond() -> None:
    x = tg.tensor(2.0, requires_grad=True)
    y = x * x
    (y * 2 + y * 3 + y * 4).backward()
    assert grad_of(x) == 36
    assert isinstance(x.grad.data, np.ndarray)


def test_gradients_accumulate_over_backward_calls() -> None:
    x = leaf(1, 2)
    (x * 3).sum().backward()
    first = x.grad
    (x * x).sum().backward()
    assert grad_of(x) == [5, 7]
    assert x.grad is first
    x.grad = None
    (x * 3).sum().backward()
    assert grad_of(x) == [3, 3]


def test_backward_of_a_leaf() -> None:
    x = tg.tensor(2.0, requires_grad=True)
    x.backward()
    x.backward(tg.tensor(4.0))
    assert grad_of(x) == 5


def test_gradient_argument() -> None:
    x = leaf(1, 2, 3)
    (x * 2).backward(tg.tensor([1.0, 10.0, 100.0]))
    assert grad_of(x) == [2, 20, 200]
    (x * 2).backward(gradient=np.ones(3))
    assert grad_of(x) == [4, 22, 202]


def test_gradients_have_the_dtype_of_their_tensor() -> None:
    x, y = leaf(1, 2), Tensor(np.ones(2), requires_grad=True)
    (x * y).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert (x.grad.dtype, y.grad.dtype) == (np.float32, np.float64)


def test_no_gradient_where_none_is_wanted() -> None:
    x, fixed = leaf(1, 2), tg.tensor([3.0, 4.0])
    ((x * fixed) + fixed.exp()).sum().backward()
    assert grad_of(x) == [3, 4]
    assert fixed.grad is None


# ------------------------------------------------------------------------ errors


def test_backward_of_many_elements_needs_a_gradient() -> None:
    with pytest.raises(RuntimeError, match=r"single element, got shape \(2,\).*loss\.mean\(\)"):
        (leaf(1, 2) * 2).backward()


def test_gradient_of_another_shape() -> None:
    with pytest.raises(RuntimeError, match=r"gradient has shape \(3,\), the tensor \(2,\)"):
        (leaf(1, 2) * 2).backward(tg.ones(3))


def test_backward_without_a_graph() -> None:
    x = leaf(1, 2)
    with tg.no_grad():
        unrecorded = (x * 2).sum()
    for tensor in (unrecorded, x.detach().sum(), tg.ones(1)):
        with pytest.raises(RuntimeError, match="computed from one with requires_grad=True"):
            tensor.backward()


def test_second_backward_raises_and_says_why() -> None:
    x = leaf(1, 2)
    loss = (x * x).sum()
    loss.backward()
    with pytest.raises(RuntimeError, match=r"Sum a second time.*retain_graph=True"):
        loss.backward()
    assert grad_of(x) == [2, 4]


def test_retain_graph_allows_another_backward() -> None:
    x = leaf(1, 2)
    loss = (x.exp() * x).sum()
    loss.backward(retain_graph=True)
    once = x.grad.data.copy()
    loss.backward()
    np.testing.assert_allclose(grad_of(x), 2 * once, rtol=1e-6)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_partially_shared_graphs() -> None:
    x = leaf(1, 2)
    shared = x * x
    first, second = shared.sum(), (shared * 3).sum()
    first.backward()
    with pytest.raises(RuntimeError, match="Mul a second time"):
        second.backward()
    x.grad = None
    shared = x * x
    first, second = shared.sum(), (shared * 3).sum()
    first.backward(retain_graph=True)
    second.backward()
    assert grad_of(x) == [8, 16]


def test_graphs_that_share_only_leaves_are_independent() -> None:
    x = leaf(1, 2)
    first, second = (x * x).sum(), (x * x).sum()
    first.backward()
    second.backward()
    assert grad_of(x) == [4, 8]


# ------------------------------------------------------------------------ no_grad, detach, retain


def test_no_grad_and_enable_grad_nest() -> None:
    x = leaf(1)
    seen = [tg.is_grad_enabled()]
    with tg.no_grad():
        seen.append((x * 2).requires_grad)
        with tg.enable_grad():
            seen.append((x * 2).requires_grad)
            with tg.no_grad():
                seen.append(tg.is_grad_enabled())
        seen.append(tg.is_grad_enabled())
    seen.append((x * 2).requires_grad)
    assert seen == [True, False, True, False, False, True]


def test_no_grad_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), tg.no_grad():
        1 / 0  # noqa: B018
    assert tg.is_grad_enabled()


def test_no_grad_as_a_decorator() -> None:
    @tg.no_grad()
    def halve(x: Tensor, depth: int = 2) -> Tensor:
        """Half of x."""
        assert not tg.is_grad_enabled()
        return halve(x, depth - 1) if depth else x / 2

    result = halve(leaf(4))
    assert (result.item(), result.requires_grad) == (2, False)
    assert tg.is_grad_enabled()
    assert (halve.__name__, halve.__doc__) == ("halve", "Half of x.")


def test_no_grad_as_a_decorator_without_parentheses() -> None:
    @tg.no_grad
    def outer() -> list[bool]:
        return [tg.is_grad_enabled(), tg.enable_grad(tg.is_grad_enabled)(), tg.is_grad_enabled()]

    assert outer() == [False, True, False]
    assert tg.is_grad_enabled()


def test_no_grad_of_a_generator_holds_while_it_runs() -> None:
    @tg.no_grad()
    def steps() -> Generator[bool, str, str]:
        try:
            assert (yield tg.is_grad_enabled()) == "sent"
            yield tg.is_grad_enabled()
        except KeyError:
            yield tg.is_grad_enabled()
        return "returned"

    generator = steps()
    assert next(generator) is False
    assert tg.is_grad_enabled()
    assert generator.send("sent") is False
    assert generator.throw(KeyError()) is False
    assert tg.is_grad_enabled()
    with pytest.raises(StopIteration, match="returned"):
        next(generator)
    unfinished = steps()
    next(unfinished)
    unfinished.close()
    assert tg.is_grad_enabled()


def test_recording_is_switched_per_thread() -> None:
    seen = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: seen.append(tg.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_a_decorated_function_may_run_in_two_threads_at_once() -> None:
    started, finish = threading.Event(), threading.Event()

    @tg.no_grad()
    def inside(wait: bool) -> None:
        if wait:
            started.set()
            finish.wait(10)

    def other() -> None:  # enters second and leaves first, from another state
        with tg.no_grad():
            started.wait(10)
            inside(False)
            finish.set()

    thread = threading.Thread(target=other)
    thread.start()
    inside(True)
    thread.join()
    assert tg.is_grad_enabled()


def test_detach_shares_memory_and_cuts_the_graph() -> None:
    x = leaf(1, 2)
    y = (x * 3).detach()
    assert not y.requires_grad
    assert y.is_leaf
    z = x.detach()
    assert z.data is x.data
    (x * y).sum().backward()
    assert grad_of(x) == [3, 6]


def test_retain_grad_keeps_a_result_s_gradient() -> None:
    x = leaf(1, 2)
    y = x * 3
    z = y * y
    y.retain_grad()
    z.retain_grad()
    z.sum().backward()
    assert (grad_of(z), grad_of(y), grad_of(x)) == ([1, 1], [6, 12], [18, 36])
    assert (x * 3).grad is None


def test_requires_grad_of_a_result_cannot_be_taken_away() -> None:
    y = leaf(1) * 2
    with pytest.raises(RuntimeError, match=r"use x\.detach\(\)"):
        y.requires_grad = False


# ------------------------------------------------------------------------ who owns a gradient


@pytest.mark.parametrize("n", [2, 20_000])  # the larger ones live in reused memory
def test_leaf_gradients_share_memory_with_nothing(n: int) -> None:
    x, y, z = (tg.ones(shape, requires_grad=True) for shape in ((n,), (n,), (n, 2)))
    upstream = tg.ones(n)
    total = x + y.relu() + z.sum(1) + z.transpose(0, 1)[0].reshape(n)
    total.retain_grad()
    total.backward(upstream)
    arrays = [t.grad.data for t in (x, y, z, total)] + [upstream.data, x.data, y.data, z.data]
    for i, a in enumerate(arrays):
        for b in arrays[i + 1 :]:
            assert not np.shares_memory(a, b)
    for t in (x, y, z, total):
        t.grad += 1  # all of them may be written into


def test_adding_to_a_gradient_leaves_the_others_alone() -> None:
    x, y = leaf(1, 2), leaf(3, 4)
    (x + y).sum().backward()
    (x * 5).sum().backward()
    assert grad_of(x) == [6, 6]
    assert grad_of(y) == [1, 1]


class Twice(Function):
    """a + b, whose backward hands both inputs one array."""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray, ...]:
        result = grad * 1
        return result, result


class AndReversed(Twice):
    """a + b reversed, whose backward hands the second input a view of the first one's gradient."""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b[::-1]

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray, ...]:
        result = grad * 1
        return result, result[::-1]


@pytest.mark.parametrize("operation", [Twice, AndReversed])
def test_one_array_for_two_inputs_is_written_into_by_neither(operation: type[Function]) -> None:
    a, b = leaf(1, 1), leaf(1, 1)
    u, v = a * 2, b * 3
    later_v, later_u = v * 10, u * 100  # the last to be made is the first to be walked back
    y = tg.apply(operation, u, v)
    (later_u.sum() + later_v.sum() + y.sum()).backward()
    assert grad_of(a) == [202, 202]
    assert grad_of(b) == [33, 33]
    a, b = leaf(1, 1), leaf(1, 1)
    tg.apply(operation, a, b).sum().backward()
    assert not np.shares_memory(a.grad.data, b.grad.data)


def test_upstream_gradient_is_not_written_into() -> None:
    x = leaf(1, 2)
    y = x + 0.0
    upstream = tg.tensor([1.0, 1.0])
    (y + y * 2 + y).backward(upstream)
    assert upstream.tolist() == [1, 1]
    assert grad_of(x) == [4, 4]


# ------------------------------------------------------------------------ saved arrays


def writeable(*tensors: Tensor) -> list[bool]:
    return [t.data.flags.writeable for t in tensors]


def test_saved_arrays_are_locked_until_backward() -> None:
    x, factor = leaf(1, 2), tg.tensor([3.0, 4.0])
    y = (x * factor).exp()
    assert writeable(x, factor, y) == [True, False, False]  # (x is for the gradient of factor)
    y.sum().backward()
    assert writeable(x, factor, y) == [True] * 3
    factor += 1


def test_saved_arrays_are_unlocked_when_the_graph_goes() -> None:
    x, factor = leaf(1, 2), tg.tensor([3.0, 4.0])
    y = (x * factor) * 2
    assert writeable(factor) == [False]
    del y
    assert writeable(x, factor) == [True] * 2


def test_nothing_is_locked_where_nothing_is_recorded() -> None:
    x, factor = leaf(1, 2), tg.tensor([3.0, 4.0])
    with tg.no_grad():
        kept = [x * factor]
    kept.append(factor * factor)
    assert writeable(x, factor) == [True] * 2


def test_what_no_derivative_reads_is_not_locked() -> None:
    x, shift = leaf(1, 2), tg.tensor([3.0, 4.0])
    y = x + shift
    shift += 1
    y.sum().backward()
    assert grad_of(x) == [1, 1]


@pytest.mark.parametrize("retain", [False, True])
def test_an_array_saved_by_several_graphs_is_locked_until_the_last(retain: bool) -> None:
    x, factor = leaf(1, 2), tg.tensor([3.0, 4.0])
    first, second = (x * factor).sum(), (x * factor * factor).sum()
    first.backward(retain_graph=retain)
    assert writeable(factor) == [False]
    second.backward()
    assert writeable(factor) == [not retain]
    del first
    assert writeable(x, factor) == [True] * 2


def test_locking_a_view_locks_the_memory_behind_it() -> None:
    base = np.arange(6, dtype=np.float32)
    early = base[:2]
    x, part, again = leaf(1, 1), Tensor(base[2:4]), Tensor(base[3:5])
    y = (x * part).sum()
    z = (x * again).sum()
    with pytest.raises(ValueError, match="read-only"):
        base[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        part.data[0] = 1
    early[0] = 9  # a view taken before knows nothing of the lock: the known limit
    y.backward()
    assert not base.flags.writeable
    z.backward()
    assert base.flags.writeable
    assert writeable(part, again) == [True] * 2
    part[0] = 1


VIEWS = {
    "reshape": lambda y: y.reshape(-1),
    "T": lambda y: y.T,
    "row": lambda y: y[0],
    "flatten": lambda y: y.flatten(),
    "squeeze": lambda y: y.unsqueeze(0).squeeze(0),
    "split": lambda y: y.split(1)[0],
    "view of a view": lambda y: y.permute(1, 0)[1:],
    "detached": lambda y: y.reshape(3, 2).detach(),
    "numpy": lambda y: tg.from_numpy(y.numpy()[:]),
}
WRITES = {
    "x[i] = v": lambda v: v.__setitem__(0, 100.0),
    "x += y": lambda v: v.__iadd__(1.0),
    "mul_": lambda v: v.mul_(2.0),
    "fill_": lambda v: v.fill_(7.0),
    "copy_": lambda v: v.copy_(tg.ones(v.shape) * 3),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_a_write_through_an_earlier_view_is_found_by_backward(view: Any, write: Any) -> None:
    x, y = tg.ones(2, 3, requires_grad=True), tg.ones(2, 3)
    early = view(y)
    z = (x * y).sum()
    write(early)
    with pytest.raises(RuntimeError, match=rf"backward of Mul .*{__name__}.py:\d+"):
        z.backward()


def test_a_write_through_a_weight_s_transpose_is_found_by_backward() -> None:
    x, w = tg.ones(4, 2, requires_grad=True), tg.ones(2, 3)
    transposed = w.T
    y = (x @ w).sum()
    transposed[0] = 100
    with pytest.raises(RuntimeError, match="backward of Matmul"):
        y.backward()


def test_what_is_written_before_the_save_or_where_nothing_is_saved_does_no_harm() -> None:
    x, y = tg.ones(3, requires_grad=True), tg.ones(3)
    early = y[:]
    early[0] = 2  # nothing is saved yet
    first = x * y
    early[1] = 3  # the first graph is spoilt, the second sees it
    second = x * y
    second.sum().backward()
    assert grad_of(x) == [2, 3, 1]
    with pytest.raises(RuntimeError, match="written into"):
        first.sum().backward()
    third = (x * y).sum()  # the lock is gone, and what was noted about it
    third.backward()
    assert grad_of(x) == [4, 6, 2]


def test_a_pickled_graph_leaves_the_locks_of_the_first_alone() -> None:
    x = leaf(1, 2)
    y = (x * x).sum()
    twin = pickle.loads(pickle.dumps(y))
    twin.backward()
    del twin
    assert not x.data.flags.writeable
    y.backward()
    assert grad_of(x) == [2, 4]
    assert x.data.flags.writeable


def test_view_first_and_owner_second() -> None:
    base = np.ones(4, np.float32)
    x, view, whole = tg.ones(4, requires_grad=True), Tensor(base[:]), Tensor(base)
    y, z = (x * view).sum(), (x * whole).sum()
    del y
    assert writeable(view, whole) == [False] * 2
    del z
    assert writeable(view, whole) == [True] * 2


def test_memory_of_others_and_read_only_memory_stay_as_they_are() -> None:
    foreign = torch.ones(2).numpy()  # NumPy could lock it, and not unlock it
    fixed = np.ones(2, np.float32)
    view = fixed[:]
    fixed.flags.writeable = False
    x = leaf(1, 2)
    for array, flag in ((foreign, True), (fixed, False), (view, True)):
        (x * Tensor(array)).sum().backward()
        assert array.flags.writeable is flag


def test_a_write_by_numpy_fails_at_the_user_s_line() -> None:
    x, factor = leaf(1, 2), tg.tensor([3.0, 4.0])
    y = x * factor
    for write in (
        lambda: factor.data.__setitem__(0, 1),
        lambda: factor.numpy().fill(0),
    ):
        with pytest.raises(ValueError, match="read-only") as caught:
            write()
        here = traceback.extract_tb(caught.tb)
        assert any(f.filename == __file__ and f.name == "<lambda>" for f in here)
    y.sum().backward()
    assert grad_of(x) == [3, 4]


@pytest.mark.parametrize("read", [lambda x, i: x[i], lambda x, i: x.gather(0, i)])
def test_an_index_is_locked_like_other_saved_arrays(read: Callable) -> None:
    x, index = leaf(1, 2, 3), tg.tensor([0, 1])
    y = read(x, index)
    with pytest.raises(ValueError, match="read-only"):
        index.data[0] = 2
    y.sum().backward()
    assert grad_of(x) == [1, 1, 0]
    y = read(x, index)
    index[0] = 2
    with pytest.raises(RuntimeError, match=r"backward of Index .*written into at .*py:\d+"):
        y.sum().backward()


def test_a_failing_forward_locks_nothing_for_good() -> None:
    x, factor = leaf(1, 2), tg.tensor([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="broadcast"):
        x * factor
    assert writeable(x, factor) == [True] * 2


# ------------------------------------------------------------------------ memory and depth


class Remember(Function):
    """y = x, with an array of its own saved, as a big intermediate result would be."""

    arrays: list[weakref.ref] = []  # noqa: RUF012

    def forward(self, x: np.ndarray) -> np.ndarray:
        own = np.ones(1000)
        self.arrays.append(weakref.ref(own))
        self.save_for_backward(own)
        return x + 0

    def backward(self, grad: np.ndarray) -> np.ndarray:
        assert self.saved[0].sum() == 1000
        return grad


def alive() -> list[bool]:
    return [array() is not None for array in Remember.arrays]


def test_saved_memory_is_released_as_backward_walks() -> None:
    Remember.arrays.clear()
    x = leaf(1, 2)
    y = tg.apply(Remember, tg.apply(Remember, x))
    loss = y.sum()
    assert alive() == [True, True]
    loss.backward()
    assert alive() == [False, False]
    assert loss.item() == 3


def test_retained_memory_is_released_with_the_graph() -> None:
    Remember.arrays.clear()
    loss = tg.apply(Remember, leaf(1, 2)).sum()
    loss.backward(retain_graph=True)
    assert alive() == [True]
    del loss
    assert alive() == [False]


def test_intermediate_results_die_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        x = tg.ones(10, requires_grad=True)
        y = x + 1
        array = weakref.ref(y.data)
        loss = y.sum()
        del y
        assert array() is None  # addition saves nothing
        kept = x * 2
        node, saved = weakref.ref(kept.grad_fn), weakref.ref(kept.exp().data)
        assert saved() is None
        kept.sum().backward()
        del kept
        assert node() is None
        loss.backward()
    finally:
        gc.enable()


@pytest.mark.parametrize("threads", [1, 2])
def test_idle_threads_keep_no_graph_alive(threads: int) -> None:
    before = tg.get_num_threads()
    tg.set_num_threads(threads)
    try:
        x = tg.ones(64, 8, 16, 16, requires_grad=True)
        pooled = tg.nn.functional.max_pool2d(x * 2, 2)
        node = weakref.ref(pooled.grad_fn)
        del pooled
        assert node() is None
        assert writeable(x) == [True]
    finally:
        tg.set_num_threads(before)


def test_a_chain_of_100_000_operations() -> None:
    assert sys.getrecursionlimit() <= 10_000
    x = tg.ones(1, requires_grad=True)
    y = x
    for _ in range(50_000):
        y = (y + x) * 1.0
    y.backward()
    assert grad_of(x) == [50_001]
    y = x
    for _ in range(100_000):
        y = y + 1.0
    before = weakref.ref(y.grad_fn)
    del y  # a graph that nobody walked comes apart as well
    assert before() is None


def test_a_graph_alive_at_exit_ends_quietly() -> None:
    script = (
        "import tinygrad_fm as tg\n"
        "x = tg.ones(3, requires_grad=True)\n"
        "y = (x * x).exp()\n"
        "ring = [y]; ring.append(ring)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
