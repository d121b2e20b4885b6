"""`tg.autograd.Function`: the same classes in both libraries, made by `functions(lib)`."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from autograd_judge import both

import tinygrad_fm as tg
from tinygrad_fm import Tensor
from tinygrad_fm.autograd import gradcheck, gradgradcheck

A, B = np.array([0.5, -1.2, 2.0]), np.array([[1.0, 0.3, -0.7], [2.0, -1.0, 0.4]])


def functions(lib: Any) -> Any:
    """The classes of these tests, in `lib`."""

    class Functions:
        class Cube(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x**3

            @staticmethod
            def backward(ctx, grad):
                (x,) = ctx.saved_tensors
                return grad * 3 * x**2

        class Exp(lib.autograd.Function):
            """Saves its output."""

            @staticmethod
            def forward(ctx, x):
                y = x.exp()
                ctx.save_for_backward(y)
                return y

            @staticmethod
            def backward(ctx, grad):
                return grad * ctx.saved_tensors[0]

        class Scaled(lib.autograd.Function):
            """Arguments that are no tensors, and attributes of ctx."""

            @staticmethod
            def forward(ctx, factor, x, y, name=""):
                ctx.factor = factor
                ctx.save_for_backward(x, None, y)
                return x * y * factor

            @staticmethod
            def backward(ctx, grad):
                x, nothing, y = ctx.saved_tensors
                assert nothing is None
                need = ctx.needs_input_grad
                dx = grad * y * ctx.factor if need[1] else None
                dy = (grad * x * ctx.factor).sum(0) if need[2] else None
                return None, dx, dy, None

        class Apart(lib.autograd.Function):
            """forward without ctx, and setup_context."""

            @staticmethod
            def forward(x, power):
                return x**power

            @staticmethod
            def setup_context(ctx, inputs, output):
                x, ctx.power = inputs
                ctx.save_for_backward(x, output)

            @staticmethod
            def backward(ctx, grad):
                x, y = ctx.saved_tensors
                return grad * ctx.power * y / x, None

        class SumAndProduct(lib.autograd.Function):
            """Two outputs, both saved; its backward is no linear function of the gradients."""

            @staticmethod
            def forward(ctx, x, y):
                s, p = x + y, x * y
                ctx.save_for_backward(x, y, s, p)
                return s, p

            @staticmethod
            def backward(ctx, ds, dp):
                x, y, s, p = ctx.saved_tensors
                shared = (s * p) / (x * y * (x + y)) * ds
                return shared + (dp * y).clamp(-2, 2), shared + (dp * x).clamp(-2, 2)

        class Norm(lib.autograd.Function):
            """One output with a gradient, one without, one of integers, and a number."""

            @staticmethod
            def forward(ctx, x):
                n, flat, order = (x * x).sum(), x.abs().sum(), x.argmax()
                ctx.mark_non_differentiable(flat)
                ctx.save_for_backward(x, flat)
                return n, flat, order, 3

            @staticmethod
            def backward(ctx, dn, dflat, dorder, nothing):
                x, flat = ctx.saved_tensors
                assert not flat.requires_grad
                assert nothing is None
                return 2 * x * dn + dflat * 5

        class Unused(lib.autograd.Function):
            """Tells which gradients came."""

            seen: list = []  # noqa: RUF012

            @staticmethod
            def forward(ctx, x, materialize):
                ctx.set_materialize_grads(materialize)
                return x * 2, x * 3

            @staticmethod
            def backward(ctx, a, b):
                Functions.Unused.seen.append((a is None, b is None))
                return sum(f * g for f, g in ((2, a), (3, b)) if g is not None), None

        class Itself(lib.autograd.Function):
            """Its input, twice, and a view of it; gradients are reversed."""

            @staticmethod
            def forward(ctx, x):
                return x, x, x.reshape(-1)

            @staticmethod
            def backward(ctx, a, b, c):
                return -(a + b * 2 + c.reshape(a.shape) * 3)

        class Constant(lib.autograd.Function):
            """Its gradient is memory that it was given."""

            @staticmethod
            def forward(ctx, x, slope):
                ctx.save_for_backward(slope)
                return (x * slope).sum()

            @staticmethod
            def backward(ctx, grad):
                return ctx.saved_tensors[0], None

        class Wide(lib.autograd.Function):
            """Gradients of a broadcast shape, and of another dtype."""

            @staticmethod
            def forward(ctx, x, y):
                return x + y

            @staticmethod
            def backward(ctx, grad):
                return grad, grad.double()

    return Functions


def run(name: str, *arguments: Any) -> Any:
    """Value, first and second derivatives of ⟨w, outputs⟩, w being numbers."""

    def script(lib: Any, *tensors: Any) -> Any:
        wanted = [t.requires_grad_() for t in tensors if "float" in str(t.dtype)]
        given = [tensors[a] if isinstance(a, int) else a for a in arguments]
        given = [a[0] if isinstance(a, list) else a for a in given]
        outputs = getattr(functions(lib), name).apply(*given)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        differentiable = [y for y in outputs if hasattr(y, "requires_grad") and y.requires_grad]
        total = sum((i + 2) * (y * y).sum() for i, y in enumerate(differentiable))
        grad = lib.autograd.grad
        first = grad(total, wanted, create_graph=True)
        second = grad(sum((g * g).sum() for g in first), wanted)
        return outputs, first, second

    return script


@pytest.mark.parametrize(
    ("name", "arguments", "arrays"),
    [
        ("Cube", [0], [A]),
        ("Exp", [0], [A]),
        ("Scaled", [[2.5], 0, 1, ["x"]], [B, A]),
        ("Apart", [0, [3]], [A]),
        ("SumAndProduct", [0, 1], [A, A + 1]),
        ("Itself", [0], [B]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_and_derivatives_are_pytorchs(name: str, arguments: list, arrays: list) -> None:
    both(run(name, *arguments), *arrays)


@pytest.mark.parametrize("name", ["Cube", "Exp"])
def test_a_function_of_operations_passes_both_checks(name: str) -> None:
    function = getattr(functions(tg), name).apply
    assert gradcheck(function, A)
    assert gradgradcheck(function, A).worst_error < 1e-12


def test_a_frozen_argument_gets_none_and_is_not_computed() -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        y.requires_grad_()
        functions(lib).Scaled.apply(2.0, x, y).sum().backward()
        return x.grad is None, y.grad

    both(script, B, A)


def test_outputs_without_a_gradient() -> None:
    def script(lib: Any, x: Any) -> Any:
        x.requires_grad_()
        n, flat, order, three = functions(lib).Norm.apply(x)
        n.backward()
        return n, flat, order, three, x.grad

    both(script, A)


def test_gradients_that_never_came_are_zeros_or_none() -> None:
    def script(lib: Any, x: Any) -> Any:
        x.requires_grad_()
        f = functions(lib)
        f.Unused.apply(x, True)[1].sum().backward()
        f.Unused.apply(x, False)[1].sum().backward()
        return x.grad, f.Unused.seen

    both(script, A)


def test_backward_is_called_once_for_all_outputs() -> None:
    f = functions(tg)
    x = Tensor(A, requires_grad=True)
    a, b = f.Unused.apply(x, True)
    (a + b * a).sum().backward()
    assert f.Unused.seen == [(False, False)]


def test_a_gradient_that_is_someones_memory_is_not_written_into() -> None:
    def script(lib: Any, x: Any, slope: Any) -> Any:
        x.requires_grad_()
        f = functions(lib)
        (f.Constant.apply(x, slope) + f.Constant.apply(x, slope)).backward()
        x.grad += 1
        return x.grad, slope

    both(script, A, B[0])


def test_gradients_of_a_broadcast_shape_are_summed_and_cast() -> None:
    def script(lib: Any, x: Any, y: Any) -> Any:
        x.requires_grad_()
        y = y.float().requires_grad_()
        functions(lib).Wide.apply(x, y).sum().backward()
        return x.grad, y.grad

    both(script, A, B)


def test_an_output_on_an_inputs_memory_has_memory_of_its_own() -> None:
    """PyTorch refuses the write; here the values are apart, and gradients are right."""
    x = Tensor(B.copy(), requires_grad=True)
    h = x * 1
    first, second, _ = functions(tg).Itself.apply(h)
    first.mul_(10)
    assert (second.data == B).all()
    assert (h.data == B).all()
    (first * h).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.data, 10 * B - 10 * B)


def test_nothing_is_recorded_where_nothing_is_wanted() -> None:
    f = functions(tg)
    assert not f.Cube.apply(Tensor(A)).requires_grad
    with tg.no_grad():
        assert not f.Cube.apply(Tensor(A, requires_grad=True)).requires_grad
    assert f.Cube.apply(Tensor(A, requires_grad=True)).grad_fn.name() == "Cube"


def test_the_graph_does_not_keep_its_outputs_alive() -> None:
    gc.disable()
    try:
        for name, count in (("Exp", 1), ("SumAndProduct", 2)):
            x = Tensor(A, requires_grad=True)
            y = getattr(functions(tg), name).apply(*[x] * count)
            y = y[0] if isinstance(y, tuple) else y
            seen, node = weakref.ref(y), weakref.ref(y.grad_fn)
            y.sum().backward()
            assert node() is not None
            del y
            assert seen() is None
            assert node() is None
    finally:
        gc.enable()


def test_a_second_backward_and_a_write_into_what_was_saved_are_refused() -> None:
    x = Tensor(A.copy(), requires_grad=True)
    h = x * 1
    y = functions(tg).Cube.apply(h)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    h = x * 1
    y = functions(tg).Cube.apply(h)
    h.mul_(2)
    with pytest.raises(RuntimeError, match="backward of Cube needs an array as it was"):
        y.sum().backward()


def test_a_forward_that_writes_into_its_input_is_refused() -> None:
    """The input would have new values and an old history. (PyTorch has mark_dirty for it.)"""

    class Doubled(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x, seen):
            seen += 1  # it needs no gradient: it is free to count
            return x.mul_(2)

        @staticmethod
        def backward(ctx, grad):
            return grad * 2, None

    h, seen = Tensor(A, requires_grad=True) * 1, tg.zeros(1)
    with pytest.raises(RuntimeError, match=r"Doubled needs an array.*written into at .*x\.clone"):
        Doubled.apply(h, seen)
    assert seen.item() == 1
    assert Doubled.apply(Tensor(A.copy()), seen).tolist() == (2 * A).tolist()


def test_a_checkpoint_computes_forward_again_in_backward() -> None:
    """A walk inside a walk."""

    def script(lib: Any, x: Any) -> Any:
        class Checkpoint(lib.autograd.Function):
            @staticmethod
            def forward(ctx, function, x):
                ctx.function = function
                ctx.save_for_backward(x)
                return function(x)

            @staticmethod
            def backward(ctx, grad):
                x = ctx.saved_tensors[0].detach().requires_grad_()
                with lib.enable_grad():
                    y = ctx.function(x)
                y.backward(grad)
                return None, x.grad

        x.requires_grad_()
        h = x * x
        (Checkpoint.apply(lambda x: (x * x).tanh(), h) * h).sum().backward()
        return x.grad

    both(script, A)


# ------------------------------------------------------------------------------ once


def halves(lib: Any) -> Any:
    class Half(lib.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            y = x * x
            ctx.save_for_backward(x * 2)
            return y

        @staticmethod
        @(
            lib.autograd.once_differentiable
            if lib is tg
            else torch.autograd.function.once_differentiable
        )
        def backward(ctx, grad):
            assert not lib.is_grad_enabled()
            return grad * ctx.saved_tensors[0]

    return Half


def test_once_differentiable_has_a_first_derivative_and_refuses_a_second() -> None:
    def script(lib: Any, x: Any) -> Any:
        x.requires_grad_()
        half = halves(lib)
        # The second derivative of the other term is there, if it does not lead through `half`.
        (g,) = lib.autograd.grad((half.apply(x) * x).sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            g.sum().backward()
        z = x.detach().requires_grad_()
        _, h = lib.autograd.grad((half.apply(x) + z**3).sum(), (x, z), create_graph=True)
        h.sum().backward()
        return g.detach(), z.grad

    both(script, A)


def test_once_differentiable_is_refused_where_pytorch_gives_no_gradient() -> None:
    """If the upstream gradient is a constant, PyTorch takes the gradient for one, too."""
    x = Tensor(A, requires_grad=True)
    (g,) = tg.autograd.grad(halves(tg).apply(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="Half can be differentiated only once"):
        g.sum().backward()


@pytest.mark.parametrize("where", ["saved", "attribute", "array"])
def test_a_result_that_is_not_returned_forbids_a_second_derivative(where: str) -> None:
    class Hidden(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            e = x.exp()
            if where == "saved":
                ctx.save_for_backward(e)
            else:
                ctx.e = e if where == "attribute" else e.data
            return e * e

        @staticmethod
        def backward(ctx, grad):
            e = ctx.saved_tensors[0] if where == "saved" else ctx.e
            return grad * 2 * e * e

    assert gradcheck(lambda x: Hidden.apply(x), A)
    with pytest.raises(RuntimeError, match=r"Hidden can be differentiated only once: it keeps"):
        gradgradcheck(lambda x: Hidden.apply(x), A)


def test_masks_and_inputs_on_ctx_allow_a_second_derivative() -> None:
    class Ramp(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mask, ctx.x = x > 0, x
            return x * x * ctx.mask

        @staticmethod
        def backward(ctx, grad):
            return grad * 2 * ctx.x * ctx.mask

    assert gradgradcheck(Ramp.apply, A)


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda g: g, "returned 1 gradients, but forward took 2 arguments"),
        (lambda g: (g, None, g), "returned 3 gradients, but forward took 2 arguments"),
        (lambda g: (g, g), r"a gradient for argument 1, which is no tensor"),
        (lambda g: (g[:2], None), r"shape \(2,\) for argument 0, which has shape \(3,\)"),
        (lambda g: (g.sum(), None), r"shape \(\) for argument 0, which has shape \(3,\)"),
    ],
    ids=["too few", "too many", "no tensor", "shape", "number"],
)
def test_wrong_gradients_are_refused_as_pytorch_does(returned: Any, message: str) -> None:
    def call(lib: Any, x: Any) -> None:
        class Wrong(lib.autograd.Function):
            @staticmethod
            def forward(ctx, x, n):
                return x * n

            @staticmethod
            def backward(ctx, grad):
                return returned(grad)

        Wrong.apply(x, 2).sum().backward()

    with pytest.raises(RuntimeError, match=f"backward of Wrong .*{message}"):
        call(tg, Tensor(A, requires_grad=True))
    with pytest.raises(RuntimeError):
        call(torch, torch.tensor(A, requires_grad=True))


def test_further_gradients_may_be_none() -> None:
    class Nones(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2, None, None

    assert gradcheck(Nones.apply, A)


def test_what_a_function_lacks_is_said() -> None:
    class Half(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(3)

    with pytest.raises(TypeError, match="keeps tensors"):
        Half.apply(Tensor(A))
    with pytest.raises(NotImplementedError, match="static method forward"):
        tg.autograd.Function.apply(Tensor(A))

    class NoBackward(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    y = NoBackward.apply(Tensor(A, requires_grad=True))
    with pytest.raises(NotImplementedError, match="static method backward"):
        y.sum().backward()


def test_a_function_is_profiled_drawn_and_watched_like_any_operation() -> None:
    from tinygrad_fm.autograd.graph import to_dot

    x = Tensor(A, requires_grad=True)
    with tg.profile() as costs:
        s, p = functions(tg).SumAndProduct.apply(x, x * 2)
        (s * p).sum().backward()
    assert "SumAndProduct" in str(costs)
    s, p = functions(tg).SumAndProduct.apply(x, x * 2)
    assert to_dot(s * p).count("SumAndProduct") == 3

    class Holes(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return Tensor(x.data.copy())

        @staticmethod
        def backward(ctx, grad):
            return Tensor(np.array([1, np.nan, 1]))

    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match=r"backward of Holes .*NaN.*py:"):
        Holes.apply(x).sum().backward()
