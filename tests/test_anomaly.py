"""`detect_anomaly` names the first operation that makes a NaN or an infinity, and its line."""

from __future__ import annotations

import re
import sys
from typing import Any

import numpy as np
import pytest

import tinygrad_fm as tg
from tinygrad_fm import Tensor, nn
from tinygrad_fm.autograd import mode, running
from tinygrad_fm.ops.function import Function


def here(below: int = 1) -> str:
    """`file:line` of a line below the caller's."""
    frame = sys._getframe(1)
    return re.escape(f"{__file__}:{frame.f_lineno + below}") + "$"


def test_forward_names_operation_shape_and_line() -> None:
    x = tg.tensor([[1.0, 0.0, 2.0]])
    line = here(below=2)
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError) as caught:
        x.log()
    assert re.match(r"forward of Log on 1×3 made infinity, called at ", str(caught.value))
    assert re.search(line, str(caught.value))


def test_nan_is_told_from_infinity() -> None:
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match="Sqrt on scalar made NaN"):
        tg.tensor(-1.0).sqrt()


def test_backward_names_the_line_of_the_forward_pass() -> None:
    x = tg.tensor([4.0, 0.0], requires_grad=True)
    with tg.detect_anomaly():
        line = here()
        y = x.sqrt()
        loss = (y * 2).sum()
        with pytest.raises(tg.AnomalyError, match="backward of Sqrt on 2 made infinity") as caught:
            loss.backward()
    assert re.search(line, str(caught.value))


def test_the_first_operation_is_blamed() -> None:
    x = tg.tensor([0.0, 1.0], requires_grad=True)
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match="forward of Log"):
        (x.log() * 0).sum().backward()


def test_inside_a_model_the_line_is_the_user_s() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            self.line = here()
            return self.inner(x)

    net = Net()
    net.inner[0].weight.data[0, 0] = np.nan
    wanted = "forward of Linear on 1×2, 2×2, 2 made NaN .*already held one.*"
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match=wanted) as caught:
        net(tg.ones(1, 2))
    assert re.search(net.line, str(caught.value))


def test_a_graph_made_outside_says_that_its_line_is_unknown() -> None:
    loss = tg.tensor(0.0, requires_grad=True).sqrt()
    with tg.detect_anomaly(), pytest.raises(tg.AnomalyError, match="ran outside detect_anomaly"):
        loss.backward()


def test_a_package_of_a_similar_name_is_the_user_s(tmp_path: Any) -> None:
    from tinygrad_fm import callsite

    twin = callsite.__file__.replace("tinygrad_fm/callsite.py", "tinygrad_fm_extra/mine.py")
    code = compile("\n\nuser_line()", twin, "eval")
    assert eval(code, {"user_line": callsite.user_line}) == f"{twin}:3"


def test_finite_computations_pass_and_give_the_same_gradients() -> None:
    gradients = []
    for watch in (False, True):
        x = tg.tensor([1.0, 2.0], requires_grad=True)
        if watch:
            with tg.detect_anomaly():
                (x.exp() * x).sum().backward()
        else:
            (x.exp() * x).sum().backward()
        assert x.grad is not None
        gradients.append(x.grad.tolist())
    assert gradients[0] == gradients[1]


def test_integers_and_booleans_pass() -> None:
    with tg.detect_anomaly():
        assert tg.tensor([1, 2])[0].item() == 1
        assert tg.tensor([True, False]).sum().item() == 1


def test_it_ends_with_its_block_even_after_an_error() -> None:
    with pytest.raises(tg.AnomalyError), tg.detect_anomaly():
        tg.tensor([0.0]).log()
    assert mode.runner is None
    assert tg.tensor([0.0]).log().item() == -np.inf


def test_nested_blocks_report_once() -> None:
    with tg.detect_anomaly(), tg.detect_anomaly():
        with pytest.raises(tg.AnomalyError, match="forward of Log"):
            tg.tensor([0.0]).log()
        assert tg.tensor([1.0]).log().item() == 0


def test_it_runs_inside_another_runner_and_that_one_sees_everything() -> None:
    seen = []

    def record(node: Function, method: Any, arguments: tuple, options: dict) -> Any:
        seen.append((node.name(), method.__name__))
        return method(*arguments, **options)

    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with running(record):
        with tg.detect_anomaly():
            x.exp().sum().backward()
            with pytest.raises(tg.AnomalyError):
                (x * 0).log()
        x.exp()
    steps = [("Exp", "forward"), ("Sum", "forward"), ("Sum", "backward"), ("Exp", "backward")]
    assert seen == [*steps, ("Mul", "forward"), ("Log", "forward"), ("Exp", "forward")]
    assert mode.runner is None


def test_it_works_as_a_decorator() -> None:
    @tg.detect_anomaly()
    def step(x: Tensor) -> Tensor:
        return x.log()

    for _ in range(2):
        with pytest.raises(tg.AnomalyError):
            step(tg.tensor(0.0))
    assert mode.runner is None
