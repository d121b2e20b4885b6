"""What a function did, as a flat list of operations."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import nn, ops
from tinygrad_fm.export.onnx_graph import capture


def names(captured) -> list[str]:
    return [step.operation.__name__ for step in captured.steps]


def replayed(captured, *arrays) -> list[np.ndarray]:
    """The captured steps, carried out on other arrays."""
    values = {id(x): array for x, array in zip(captured.inputs, arrays, strict=True)}
    for step in captured.steps:
        inputs = [values.get(id(x), x) for x in step.inputs]
        values[id(step.output)] = np.asarray(step.operation().forward(*inputs, **step.options))
    return [values[id(y)] for y in captured.outputs]


def test_the_steps_give_the_function_for_other_inputs():
    tg.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())

    def function(x, y):
        h = model(x)
        return h[0] + y.sum(), h.T.reshape(-1) * 2, x

    captured = capture(function, tg.randn(2, 4), tg.randn(3))
    assert names(captured) == ["Linear", "Tanh", "Index", "Sum", "Add", "Permute", "Reshape", "Mul"]
    x, y = tg.randn(2, 4), tg.randn(3)
    theirs = replayed(captured, x.data, y.data)
    for ours, their in zip(function(x, y), theirs, strict=True):
        np.testing.assert_array_equal(ours.data, their)


def test_parameters_are_constants_by_identity():
    layer = nn.Linear(4, 3)
    (step,) = capture(layer, tg.randn(2, 4)).steps
    assert step.inputs[1] is layer.weight.data
    assert step.inputs[2] is layer.bias.data
    assert capture(layer, tg.randn(2, 4)).wiring == [(ops.Linear, 0, None, None), (1,)]


def test_what_does_not_depend_on_an_input_or_is_not_used_is_no_step():
    weight = tg.randn(4, requires_grad=True)

    def function(x):
        x.exp()
        return x * (weight * 2).sum()

    captured = capture(function, tg.randn(4))
    assert names(captured) == ["Mul"]
    assert captured.wiring == [(ops.Mul, 0, None), (1,)]


def test_a_scalar_result_is_the_array_that_the_next_step_takes():
    captured = capture(lambda x: x.sum().exp(), tg.randn(4))
    assert captured.wiring == [(ops.Sum, 0), (ops.Exp, 1), (2,)]


def test_an_operation_that_returns_its_input_is_no_step():
    class Same(tg.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

    captured = capture(lambda x: Same.apply(x * 2).exp(), tg.randn(4))
    assert names(captured) == ["Mul", "Exp"]
    assert captured.wiring[1] == (ops.Exp, 1)


def test_an_operation_taken_apart():
    captured = capture(lambda x: nn.functional.silu(x) + 1, tg.randn(4))
    assert captured.wiring == [(ops.Sigmoid, 0), (ops.Mul, 0, 1), (ops.Add, 2, None), (3,)]


def test_nothing_is_changed():
    x, layer = tg.randn(2, 4, requires_grad=True), nn.Linear(4, 4)
    capture(lambda x: layer(x) + x, x)
    for array in (x.data, layer.weight.data):
        assert array.flags.writeable
    y = layer(x)
    assert y.grad_fn is not None  # gradients are recorded again, and nobody watches
    y += 1


@pytest.mark.parametrize("on", ["input", "result", "view"])
def test_a_write_in_place_is_no_step(on):
    def function(x):
        y = x if on == "input" else x * 2
        if on == "view":
            y[0] += 1
        else:
            y += 1
        return y

    x = tg.zeros(3)
    with pytest.raises(RuntimeError, match="in place cannot be captured"):
        capture(function, x)
    assert x.tolist() == [0, 0, 0]


def test_other_errors_are_the_functions_own():
    def function(x):
        raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        capture(function, tg.zeros(3))
    with pytest.raises(TypeError, match="a tuple of tensors is wanted, got float"):
        capture(lambda x: 1.0, tg.zeros(3))
