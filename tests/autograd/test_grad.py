"""`grad`, `backward(create_graph=, inputs=)` and hooks: one script, run in both libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from autograd_judge import both

import tinygrad_fm as tg
from tinygrad_fm import Tensor

A, B = np.array([0.5, -1.2, 2.0]), np.array([[1.0, 0.3, -0.7], [2.0, -1.0, 0.4]])


def two(lib: Any, x: Any, y: Any) -> tuple[Any, Any]:
    return (x.requires_grad_(), y.requires_grad_())


# ------------------------------------------------------------------------------ grad

GRADS = {
    "one input": lambda lib, x, y: lib.autograd.grad((x * y).sum(), x),
    "two inputs": lambda lib, x, y: lib.autograd.grad((x * y).sum(), (x, y)),
    "a list of inputs": lambda lib, x, y: lib.autograd.grad((x * y).sum(), [y, x]),
    "the same input twice": lambda lib, x, y: lib.autograd.grad((x * y).sum(), (x, x)),
    "several outputs": lambda lib, x, y: lib.autograd.grad(
        [(x * y).sum(), (x * x).sum()], (x, y)
    ),
    "the same output twice": lambda lib, x, y: (lambda z: lib.autograd.grad((z, z), x))(
        (x * x).sum()
    ),
    "gradients of the outputs": lambda lib, x, y: lib.autograd.grad(
        (x * y, x * 3), (x, y), (y.detach(), x.detach())
    ),
    "one gradient of two": lambda lib, x, y: lib.autograd.grad(
        (x * y, x.sum()), (x, y), (y.detach(), None)
    ),
    "a gradient in a graph": lambda lib, x, y: lib.autograd.grad(
        lib.autograd.grad(x * x, x, y[0] * 2, create_graph=True)[0].sum(), (x, y)
    ),
    "unused": lambda lib, x, y: [
        g is None for g in lib.autograd.grad((x * x).sum(), (x, y), allow_unused=True)
    ],
    "unused, as zeros": lambda lib, x, y: lib.autograd.grad(
        (x * x).sum(), (x, y), materialize_grads=True
    ),
    "an output is an input": lambda lib, x, y: lib.autograd.grad(x.sum() + 0, x)
    + lib.autograd.grad(x, x, x.detach() * 5),
    "a computed input": lambda lib, x, y: (lambda h: lib.autograd.grad((h * y).sum(), (h, y)))(
        x * x
    ),
    "one input leads to another": lambda lib, x, y: (
        lambda h: lib.autograd.grad((h * h * x).sum(), (x, h))
    )(x * x),
    "one input leads to another, on two ways": lambda lib, x, y: (
        lambda h: (lambda k: lib.autograd.grad((k * h + x).sum(), (k, x, h)))(h * x)
    )(x.exp()),
    "recorded, one input leads to another": lambda lib, x, y: (
        lambda h: lib.autograd.grad((h * h * x).sum(), (x, h), create_graph=True)
    )(x * x),
    "second order": lambda lib, x, y: lib.autograd.grad(
        sum(
            (g * g).sum()
            for g in lib.autograd.grad(((x * y) ** 3).sum(), (x, y), create_graph=True)
        ),
        (x, y),
    ),
    "third order": lambda lib, x, y: (
        lambda d: lib.autograd.grad(
            d(d(x.tanh().sum())[0].sum())[0].sum(), x
        )
    )(lambda s: lib.autograd.grad(s, x, create_graph=True)),
    "an output no way leads from": lambda lib, x, y: lib.autograd.grad(
        ((x * x).sum(), (y * y).sum()), x
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADS)
def test_grad_is_pytorchs_and_leaves_grad_alone(name: str) -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        found = GRADS[name](lib, x, y)
        assert x.grad is None
        assert y.grad is None
        return found

    both(script, A, B)


def test_each_gradient_has_memory_of_its_own() -> None:
    x, y, v = (Tensor(array.copy(), requires_grad=True) for array in (A, B[0], np.ones(3)))
    for _ in range(2):
        a, b, c = tg.autograd.grad(x + y, (x, y, x), v)
        a += 1
        assert (b.data == 1).all()
        assert (c.data == 1).all()
        assert (v.data == 1).all()


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_of_leaves_have_memory_of_their_own(create_graph: bool) -> None:
    """Or else `zero_` and clipping would write into a neighbour's, or into the upstream one."""

    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        v = lib.ones_like(x)
        (x + y).backward(v, create_graph=create_graph)
        with lib.no_grad():
            x.grad *= 5
        return x.grad.detach(), y.grad.detach(), v

    both(script, A, B[0])


def test_the_graph_is_used_up_unless_it_is_retained() -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        z = (x * y).exp().sum()
        found = [lib.autograd.grad(z, x, retain_graph=True), lib.autograd.grad(z, y)]
        for call in (lambda: lib.autograd.grad(z, x), z.backward):
            with pytest.raises(RuntimeError, match="second time"):
                call()
        z = (x * y).exp().sum()
        found.append(lib.autograd.grad(z, x, create_graph=True))  # retains
        found.append(lib.autograd.grad(z, x))
        z = (x * y).exp().sum()
        lib.autograd.grad(z, x, create_graph=True, retain_graph=False)
        with pytest.raises(RuntimeError, match="second time"):
            lib.autograd.grad(z, x)
        return found

    both(script, A, B)


def test_what_lies_behind_a_computed_input_is_not_walked() -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        h = (x * y).exp()
        (g,) = lib.autograd.grad((h * h).sum(), h)
        h.backward(g)
        return g, x.grad, y.grad

    both(script, A, B)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda lib, x, y: lib.autograd.grad(x.sum(), (x, y)), RuntimeError, "input 1 .*unused"),
        (
            lambda lib, x, y: lib.autograd.grad(x.sum(), x.detach()),
            RuntimeError,
            "does not require a gradient",
        ),
        (
            lambda lib, x, y: lib.autograd.grad(x.detach().sum(), x),
            RuntimeError,
            "computed from one with requires_grad=True",
        ),
        (lambda lib, x, y: lib.autograd.grad(x * 2, x), RuntimeError, "single element"),
        (
            lambda lib, x, y: lib.autograd.grad(x * 2, x, y.detach()),
            RuntimeError,
            "gradient has shape",
        ),
        (
            lambda lib, x, y: lib.autograd.grad((x * 2, y), x, (x.detach(),)),
            RuntimeError,
            "got 2 outputs, but 1 gradients",
        ),
        (
            lambda lib, x, y: lib.autograd.grad(
                x.sum(), x, allow_unused=False, materialize_grads=True
            ),
            ValueError,
            "contradicts",
        ),
    ],
    ids=["unused", "no gradient", "no graph", "vector", "shape", "number", "contradiction"],
)
def test_grad_refuses_what_pytorch_refuses(call: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        call(tg, *two(tg, Tensor(A), Tensor(B)))
    with pytest.raises(error):
        call(torch, *two(torch, torch.tensor(A), torch.tensor(B)))


def test_an_empty_list_of_inputs_is_refused_and_changes_nothing() -> None:
    x = Tensor(A, requires_grad=True)
    y = (x * x).sum()
    for call in (lambda: y.backward(inputs=[]), lambda: tg.autograd.grad(y, [])):
        with pytest.raises(RuntimeError, match="empty list of inputs"):
            call()
    assert x.grad is None
    y.backward()  # its graph is still there


def test_a_recorded_gradient_of_another_dtype_keeps_its_graph() -> None:
    """PyTorch refuses another dtype; here it is converted, which is recorded."""
    x, v = Tensor(A, requires_grad=True), tg.ones(3).requires_grad_()
    (g,) = tg.autograd.grad(x * x, x, v, create_graph=True)
    g.sum().backward()
    assert v.grad is not None
    np.testing.assert_allclose(v.grad.data, 2 * A, rtol=1e-6)


# ------------------------------------------------------------------------------ backward


def test_backward_to_certain_inputs() -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        h = x * y
        (h * h).sum().backward(inputs=[x], retain_graph=True)
        assert y.grad is None
        (h * h).sum().backward(inputs=x)
        k = x.exp()
        (k * k * y).sum().backward(inputs=(k, x))
        y.sum().backward(inputs=[y])
        return x.grad, y.grad, k.grad

    both(script, A, B)


def test_recorded_gradients_are_accumulated_with_their_graphs() -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        (x**3).sum().backward(create_graph=True)
        (x * x * y).sum().backward(create_graph=True)
        (total,) = lib.autograd.grad((x.grad * x.grad).sum(), x, retain_graph=True)
        assert x.grad.requires_grad
        return total, x.grad

    both(script, A, B)


def test_backward_records_inside_no_grad_too() -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        x.register_hook(lambda g: g * 1)
        first, second = (x**3).sum(), (x * x * y).sum()
        with lib.no_grad():
            first.backward(create_graph=True)
            second.backward(create_graph=True)
            second.backward(create_graph=True, inputs=x)
            assert not lib.is_grad_enabled()
        return lib.autograd.grad(x.grad.sum(), (x, y))

    both(script, A, B)


def test_a_plain_backward_after_a_recorded_one() -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        (x**3).sum().backward(create_graph=True)
        (x * y).sum().backward()
        return x.grad.detach(), y.grad

    both(script, A, B)


def test_gradients_of_gradients_reach_parameters_through_backward() -> None:
    """A penalty on the gradient, as WGAN-GP has it, by `backward` alone."""

    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        loss = ((x * y).tanh() ** 2).sum()
        (g,) = lib.autograd.grad(loss, x, create_graph=True)
        (loss + (g * g).sum()).backward()
        return x.grad, y.grad

    both(script, A, B)


# ------------------------------------------------------------------------------ hooks


def logged(log: list, name: str, change: Any = None) -> Any:
    def hook(g: Any) -> Any:
        log.append((name, g.tolist()))
        return None if change is None else change(g)

    return hook


HOOKS = {
    "leaf": lambda x, h, log: x.register_hook(logged(log, "x", lambda g: g * 10)),
    "computed": lambda x, h, log: h.register_hook(logged(log, "h", lambda g: g * 10)),
    "both": lambda x, h, log: (
        x.register_hook(logged(log, "x")),
        h.register_hook(logged(log, "h", lambda g: -g)),
    ),
    "in their order": lambda x, h, log: (
        h.register_hook(logged(log, "first", lambda g: g + 1)),
        h.register_hook(logged(log, "second", lambda g: g * 2)),
        h.register_hook(logged(log, "third")),
    ),
    "before retain_grad": lambda x, h, log: (
        h.retain_grad(),
        h.register_hook(logged(log, "h", lambda g: g * 3)),
    ),
    "after retain_grad": lambda x, h, log: (
        h.register_hook(logged(log, "h", lambda g: g * 3)),
        h.retain_grad(),
        h.register_hook(logged(log, "later", lambda g: g + 1)),
        h.retain_grad(),
    ),
    "removed": lambda x, h, log: (
        h.register_hook(logged(log, "h", lambda g: g * 3)).remove(),
        x.register_hook(logged(log, "x", lambda g: g * 3)).remove(),
    ),
}


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_hooks_are_pytorchs(name: str, create_graph: bool) -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        log: list = []
        h = x * x  # used twice: a hook gets the sum
        HOOKS[name](x, h, log)
        (h * y + h * x + h.exp()).sum().backward(create_graph=create_graph)
        kept = h.grad if name.endswith("retain_grad") else 0
        second = []
        if create_graph:
            second = lib.autograd.grad((x.grad * x.grad).sum(), (x, y))
        return [n for n, _ in log], [lib.tensor(g) for _, g in log], x.grad, y.grad, kept, second

    both(script, A, B)


@pytest.mark.parametrize("wanted", ["x", "h"])
def test_hooks_and_retain_grad_when_grad_is_asked(wanted: str) -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        two(lib, x, y)
        log: list = []
        h = x * x
        h.retain_grad()
        x.register_hook(logged(log, "x", lambda g: g * 7))
        h.register_hook(logged(log, "h", lambda g: g * 5))
        found = lib.autograd.grad((h * y).sum(), {"x": x, "h": h}[wanted])
        return found, [n for n, _ in log], x.grad is None, h.grad

    both(script, A, B)


def test_hooks_count_whatever_else_is_asked() -> None:
    """PyTorch leaves the hook of h out of h's gradient if x is asked for as well."""
    x, y = two(tg, Tensor(A), Tensor(B))
    h = x * x
    h.register_hook(lambda g: g * 5)
    (alone,) = tg.autograd.grad((h * y).sum(), h, retain_graph=True)
    _, beside = tg.autograd.grad((h * y).sum(), (x, h))
    assert (alone.data == 5 * B.sum(axis=0)).all()
    assert (beside.data == alone.data).all()


def test_a_hook_takes_itself_off() -> None:
    def script(lib: Any, x: Any) -> Any:
        x.requires_grad_()
        handles: list = []

        def once(g: Any) -> Any:
            handles[0].remove()
            return g * 2

        handles.append(x.register_hook(once))
        for _ in range(2):
            (x * 3).sum().backward()
        return x.grad

    both(script, A)


def test_retained_gradients_add_up() -> None:
    def script(lib: Any, x: Any) -> Any:
        x.requires_grad_()
        h = x * x
        h.retain_grad()
        h.sum().backward(retain_graph=True)
        (h * 2).sum().backward()
        return h.grad, x.grad

    both(script, A)


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_cannot_write_into_gradients_that_others_read(create_graph: bool) -> None:
    """PyTorch only asks one not to; x and y would see each other's here."""
    x, y = Tensor(A, requires_grad=True), Tensor(B, requires_grad=True)
    h = x * 1
    h.register_hook(lambda g: g.mul_(2))
    with pytest.raises(ValueError, match="read-only"):
        (h + y).sum().backward(create_graph=create_graph)


def test_hooks_refuse_clearly() -> None:
    x = Tensor(A)
    with pytest.raises(RuntimeError, match="requires a gradient"):
        x.register_hook(print)
    x.requires_grad_()
    x.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match=r"shape \(\) for one of \(3,\)"):
        (x * 2).sum().backward()
    x = Tensor(A, requires_grad=True)
    x.register_hook(lambda g: 2.0)
    with pytest.raises(TypeError, match="a hook returns a tensor or None, got float"):
        (x * 2).sum().backward()
