"""`tg.autograd.functional` and `tg.func`: one script, run in both libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from autograd_judge import both

import tinygrad_fm as tg
from tinygrad_fm import Tensor, nn

A, B, S = np.array([0.5, -1.2, 2.0]), np.array([[1.0, 0.3, -0.7], [2.0, -1.0, 0.4]]), np.array(0.7)


def one(x: Any) -> Any:
    return x.exp() * x.sum()


def two(x: Any, y: Any) -> Any:
    return (y * x.exp()).sum(1) * x[0], y.tanh()


def number(x: Any) -> Any:
    return (x.exp() * x.sum()).sum()


def number_of_two(x: Any, y: Any) -> Any:
    return ((y * x.exp()) ** 3).sum()


def linear(x: Any, y: Any) -> Any:
    return x * 3, y * 0 + x.sum()


FUNCTIONAL = {
    "jacobian": lambda f, x, y: f.jacobian(one, x),
    "jacobian of two": lambda f, x, y: f.jacobian(two, (x, y)),
    "jacobian by a tuple of one": lambda f, x, y: f.jacobian(one, (x,)),
    "jacobian of a linear function": lambda f, x, y: f.jacobian(linear, (x, y)),
    "jacobian of a constant": lambda f, x, y: f.jacobian(lambda x: x.detach() * 2, x),
    "jacobian of the input itself": lambda f, x, y: f.jacobian(lambda x: x, x),
    "hessian": lambda f, x, y: f.hessian(number, x),
    "hessian of two": lambda f, x, y: f.hessian(number_of_two, (x, y)),
    "hessian of a linear function": lambda f, x, y: f.hessian(lambda x: x.sum(), x),
    "vjp": lambda f, x, y: f.vjp(one, x, x * 2),
    "vjp of two": lambda f, x, y: f.vjp(two, (x, y), (y[:, 0], y * 2)),
    "vjp of a number": lambda f, x, y: f.vjp(number, x),
    "jvp": lambda f, x, y: f.jvp(one, x, x * 2),
    "jvp of two": lambda f, x, y: f.jvp(two, (x, y), (x * x, y * 2)),
    "jvp of a linear function": lambda f, x, y: f.jvp(linear, (x, y), (x, y)),
    "hvp": lambda f, x, y: f.hvp(number, x, x * 2),
    "hvp of two": lambda f, x, y: f.hvp(number_of_two, (x, y), (x * x, y * 2)),
    "vhp": lambda f, x, y: f.vhp(number, x, x * 2),
    "vhp of two": lambda f, x, y: f.vhp(number_of_two, (x, y), (x * x, y * 2)),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functional_is_pytorchs(name: str) -> None:
    both(lambda lib, x, y: FUNCTIONAL[name](lib.autograd.functional, x, y), A, B)


@pytest.mark.parametrize("name", ["jacobian", "hessian"])
def test_a_recorded_result_has_derivatives_of_its_own(name: str) -> None:
    def script(lib: Any, x: Any) -> Any:
        x.requires_grad_()
        function = one if name == "jacobian" else number
        found = getattr(lib.autograd.functional, name)(function, x * x, create_graph=True)
        (found * found).sum().backward()
        return found, x.grad

    both(script, A)


@pytest.mark.parametrize("name", ["vjp", "jvp", "hvp", "vhp"])
def test_a_recorded_product_has_derivatives_of_its_own(name: str) -> None:
    def script(lib: Any, x: Any, v: Any) -> Any:
        x.requires_grad_()
        v.requires_grad_()
        function = one if name in ("vjp", "jvp") else number
        value, found = getattr(lib.autograd.functional, name)(function, x * x, v, create_graph=True)
        (found * found).sum().backward()
        return value, found, x.grad, v.grad

    both(script, A, B[0])


def test_functional_works_inside_no_grad_and_leaves_the_inputs_alone() -> None:
    def script(lib: Any, x: Any) -> Any:
        x.requires_grad_()
        with lib.no_grad():
            found = lib.autograd.functional.hessian(number, x)
        assert x.grad is None
        return found

    both(script, A)


def test_an_input_that_leads_to_another_counts_as_independent() -> None:
    def script(lib: Any, x: Any) -> Any:
        x.requires_grad_()
        y = x.tanh()
        return lib.autograd.functional.jacobian(lambda x, y: x * y, (x, y), create_graph=True)

    both(script, A)


@pytest.mark.parametrize("name", ["jacobian", "hessian", "vjp", "jvp", "hvp", "vhp"])
@pytest.mark.parametrize("function", [lambda x, y: x.detach().sum(), lambda x, y: x.sum()],
                         ids=["constant", "unused input"])  # fmt: skip
def test_strict_refuses_what_does_not_depend(name: str, function: Any) -> None:
    for lib, x, y in ((tg, Tensor(A), Tensor(B)), (torch, torch.tensor(A), torch.tensor(B))):
        options = {} if name in ("jacobian", "hessian") else {"v": (x, y)}
        if name == "vjp":
            options = {}
        with pytest.raises(RuntimeError):
            getattr(lib.autograd.functional, name)(function, (x, y), strict=True, **options)


def test_a_jacobian_of_nothing_has_no_rows() -> None:
    assert tg.autograd.functional.jacobian(lambda x: x[:0], Tensor(A)).shape == (0, 3)
    assert tg.func.jacrev(lambda x: x[:0])(Tensor(A)).shape == (0, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: f.vjp(one, Tensor(A)), RuntimeError, "v can be left out only if the outputs"),
        (lambda f: f.jvp(one, Tensor(A)), RuntimeError, "v can be left out only if the inputs"),
        (lambda f: f.vjp(one, Tensor(A), Tensor(B)), RuntimeError, r"v has the shapes \[\(2, 3\)"),
        (lambda f: f.hessian(one, Tensor(A)), RuntimeError, r"single element, got .*\(3,\)"),
        (lambda f: f.jacobian(one, A), TypeError, "inputs: expected tensors, nested"),
        (
            lambda f: f.jacobian(lambda x: 1.0, Tensor(A)),
            TypeError,
            "outputs of the function: expected",
        ),
        (lambda f: f.jacobian(one, tg.arange(3)), TypeError, "floating-point"),
    ],
    ids=["vjp", "jvp", "shape", "hessian", "array", "output", "integers"],
)
def test_functional_refuses_clearly(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(tg.autograd.functional)


def test_nested_inputs_give_nested_derivatives() -> None:
    given = {"x": Tensor(A), "y": [Tensor(B)]}
    value, found = tg.autograd.functional.vjp(lambda p: (p["x"] * p["y"][0] ** 2).sum(), given)
    assert value.item() == pytest.approx((A * B**2).sum())
    np.testing.assert_allclose(found["x"].data, (B**2).sum(0))
    np.testing.assert_allclose(found["y"][0].data, 2 * A * B)
    with pytest.raises(RuntimeError, match=r"v has the shapes \[\(3,\)\], but the outputs have"):
        tg.func.vjp(one, Tensor(B))[1](Tensor(A))


# ------------------------------------------------------------------------------ tg.func


def cube(x: Any) -> Any:
    return x**3


def with_aux(x: Any) -> Any:
    y = x.exp()
    return y.sum(), {"y": y, "twice": [y * 2]}


def of_dict(p: Any, x: Any) -> Any:
    return ((x @ p["w"] + p["b"][0]).tanh() ** 2).sum()


FUNC = {
    "grad": lambda f, x, y, s: f.grad(number)(x),
    "grad of the second": lambda f, x, y, s: f.grad(number_of_two, argnums=1)(x, y),
    "grad of both": lambda f, x, y, s: f.grad(number_of_two, argnums=(0, 1))(x, y),
    "grad counted from the end": lambda f, x, y, s: f.grad(number_of_two, argnums=-1)(x, y),
    "grad of a dict": lambda f, x, y, s: f.grad(of_dict)({"w": y.T, "b": [s]}, x.reshape(1, 3)),
    "grad with keywords": lambda f, x, y, s: f.grad(lambda x, k: (k * x).sum())(x, k=3),
    "grad of nothing": lambda f, x, y, s: f.grad(lambda x, y: (y * y).sum())(x, y),
    "grad with aux": lambda f, x, y, s: f.grad(with_aux, has_aux=True)(x),
    "grad_and_value": lambda f, x, y, s: f.grad_and_value(number)(x),
    "grad_and_value with aux": lambda f, x, y, s: f.grad_and_value(with_aux, has_aux=True)(x),
    "grad grad": lambda f, x, y, s: f.grad(f.grad(cube))(s),
    "grad grad grad": lambda f, x, y, s: f.grad(f.grad(f.grad(lambda s: s.tanh())))(s),
    "grad of one argument in the other": lambda f, x, y, s: f.grad(
        lambda s: (f.grad(lambda x: (x.exp() * s * s).sum())(x)).sum()
    )(s),
    "an inner function uses an outer variable": lambda f, x, y, s: f.grad(
        lambda s: s * f.grad(lambda t: t * s * t)(s)
    )(s),
    "vjp": lambda f, x, y, s: (lambda out, back: (out, back(x), back(x * 2)))(*f.vjp(one, x)),
    "vjp of two": lambda f, x, y, s: (lambda out, back: (out, back((x[:2], y))))(
        *f.vjp(two, x, y)
    ),
    "vjp with aux": lambda f, x, y, s: (lambda out, back, aux: (out, back(s), aux))(
        *f.vjp(with_aux, x, has_aux=True)
    ),
    "jvp": lambda f, x, y, s: f.jvp(one, (x,), (x * 2,)),
    "jvp of two": lambda f, x, y, s: f.jvp(two, (x, y), (x * x, y * 2)),
    "jvp with aux": lambda f, x, y, s: f.jvp(with_aux, (x,), (x * 2,), has_aux=True),
    "jacrev": lambda f, x, y, s: f.jacrev(one)(x),
    "jacrev of two": lambda f, x, y, s: f.jacrev(two, argnums=(0, 1))(x, y),
    "jacrev of dicts": lambda f, x, y, s: f.jacrev(lambda p: {"a": p["x"] ** 2})({"x": x}),
    "jacrev with aux": lambda f, x, y, s: f.jacrev(
        lambda x: (x * x, x.exp()), has_aux=True
    )(x),
    "hessian": lambda f, x, y, s: f.hessian(number)(x),
    "hessian of both": lambda f, x, y, s: f.hessian(number_of_two, argnums=(0, 1))(x, y),
    "hessian of a linear function": lambda f, x, y, s: f.hessian(lambda x: x.sum())(x),
    "jacrev of grad": lambda f, x, y, s: f.jacrev(f.grad(number))(x),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNC)
def test_func_is_pytorchs(name: str) -> None:
    both(lambda lib, *tensors: FUNC[name](lib.func, *tensors), A, B, S)


@pytest.mark.parametrize("name", ["grad", "jacrev", "jvp", "vjp"])
def test_what_is_outside_can_differentiate_through_a_transform(name: str) -> None:
    """By an argument that requires a gradient, and by a tensor that the function only uses."""

    def script(lib: Any, x: Any, w: Any) -> Any:
        x.requires_grad_()
        w.requires_grad_()

        def function(x: Any) -> Any:
            y = (x * w).exp()
            return y.sum() if name == "grad" else y

        if name == "jvp":
            value, found = lib.func.jvp(function, (x,), (w,))
        elif name == "vjp":
            value, back = lib.func.vjp(function, x)
            (found,) = back(w)
        else:
            value, found = x, getattr(lib.func, name)(function)(x)
        (found * found).sum().backward()
        return value, found, x.grad, w.grad

    both(script, A, B[0])


def test_what_nothing_outside_wants_keeps_no_graph() -> None:
    x = Tensor(A)
    found, value = tg.func.grad_and_value(number)(x)
    output, back = tg.func.vjp(one, x)
    assert not any(t.requires_grad for t in (found, value, output, *back(x)))
    x.requires_grad_()
    with tg.no_grad():
        assert not tg.func.grad(number)(x).requires_grad
    assert tg.func.grad(number)(x).requires_grad
    assert x.grad is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda f: f.grad(one)(Tensor(A)), RuntimeError, r"returns a number, got shape \(3,\)"),
        (lambda f: f.grad(lambda x: 1.0)(Tensor(A)), TypeError, "expected tensors"),
        (lambda f: f.grad(number, argnums=1)(Tensor(A)), IndexError, "argnums=1, but there are 1"),
        (lambda f: f.grad(number)(2.0), TypeError, "expected tensors, nested"),
        (
            lambda f: f.jvp(one, (Tensor(A),), (Tensor(B),)),
            RuntimeError,
            r"v has .*\(2, 3\).* inputs",
        ),
    ],
    ids=["vector", "float", "argnums", "argument", "tangents"],
)
def test_func_refuses_clearly(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(tg.func)


# ------------------------------------------------------------------------------ functional_call


def network(lib: Any) -> Any:
    return lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.Tanh(), lib.nn.Linear(4, 2)).double()


def parameters(lib: Any) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    shapes = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}
    return {n: lib.from_numpy(generator.standard_normal(shape)) for n, shape in shapes.items()}


def test_functional_call_runs_with_the_given_parameters() -> None:
    def script(lib: Any, x: Any) -> Any:
        model, given = network(lib), parameters(lib)
        call = lib.func.functional_call
        loss = lambda p, x: (call(model, p, (x,)) ** 2).mean()  # noqa: E731
        weights, biases = ({k: v for k, v in given.items() if end in k} for end in ("we", "bi"))
        return (
            call(model, given, x),
            call(model, (weights, biases), (x,)),
            lib.func.grad(loss)(given, x),
            lib.func.grad(lambda x: loss(given, x))(x),
        )

    both(script, B)


def test_the_modules_own_tensors_come_back_also_after_an_exception() -> None:
    model, given = network(tg), parameters(tg)
    before = dict(model.named_parameters())
    tg.func.functional_call(model, given, Tensor(B))
    with pytest.raises(ValueError, match="Linear expected"):
        tg.func.functional_call(model, given, Tensor(B[:, :2]))
    assert dict(model.named_parameters()) == before
    assert all(a is b for a, b in zip(model.parameters(), before.values(), strict=True))
    assert all(isinstance(p, nn.Parameter) for p in model.parameters())


def test_buffers_are_swapped_and_written_into_as_pytorch_does() -> None:
    def script(lib: Any, x: Any) -> Any:
        norm = lib.nn.BatchNorm1d(3).double()
        mean = lib.zeros(3, dtype=lib.float64)
        y = lib.func.functional_call(norm, {"running_mean": mean}, x)
        return y.detach(), mean, norm.running_mean

    both(script, B)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3, bias=False)
        self.b = nn.Linear(3, 3, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor, times: int = 1) -> Tensor:
        return self.b(self.a(x)) * times


def test_shared_parameters_are_replaced_together() -> None:
    model, x, w = Tied(), tg.tensor([[1.0, 2.0, 3.0]]), tg.eye(3) * 2
    for names in (["a.weight"], ["b.weight"], ["a.weight", "b.weight"]):
        y = tg.func.functional_call(model, dict.fromkeys(names, w), x, {"times": 3})
        assert y.tolist() == [[12.0, 24.0, 36.0]]
    assert model.a.weight is model.b.weight
    with pytest.raises(ValueError, match=r"'b.weight' shares its tensor"):
        tg.func.functional_call(model, {"a.weight": w, "b.weight": w * 2}, x)


def test_names_that_do_not_fit_are_refused() -> None:
    model, given = network(tg), parameters(tg)
    with pytest.raises(ValueError, match=r"do not fit Sequential: unknown \['1.weight'\]"):
        tg.func.functional_call(model, {"1.weight": tg.ones(1)}, Tensor(B))
    with pytest.raises(ValueError, match="a name in common"):
        tg.func.functional_call(model, (given, given), Tensor(B))
    del given["2.bias"]
    tg.func.functional_call(model, given, Tensor(B))
    with pytest.raises(ValueError, match=r"missing \['2.bias'\]"):
        tg.func.functional_call(model, given, Tensor(B), strict=True)
