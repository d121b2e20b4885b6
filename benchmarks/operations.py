"""Single operations, forward and backward, against PyTorch and against the machine's limits.

Every case is a module that both libraries can build from the same line. Images come in the layout
that each library prefers between its own layers. Floating-point operations and bytes are those of
our profiler: of the definition, and of the arrays that go in and come out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

import tinygrad_fm
from benchmarks.machine import peaks
from benchmarks.settings import Job, Row, Settings
from benchmarks.sides import CHANNELS_LAST, Call, in_layout, threads
from benchmarks.timing import compared
from tinygrad_fm import Tensor
from tinygrad_fm.autograd.profiler import Direction, profile


class Case(NamedTuple):
    """An operation, its input without the batch axis, and whether the input wants a gradient."""

    name: str
    shape: tuple[int, ...]
    build: Callable[[Any], Any]  # of `tinygrad_fm.nn` or `torch.nn`
    input_gradient: bool = True


CASES = (
    Case("conv 3×3, 1→32", (1, 28, 28), lambda nn: nn.Conv2d(1, 32, 3, padding=1), False),
    Case("conv 3×3, 32→64", (32, 14, 14), lambda nn: nn.Conv2d(32, 64, 3, padding=1)),
    Case("conv 3×3, 64→128", (64, 7, 7), lambda nn: nn.Conv2d(64, 128, 3, padding=1)),
    Case("conv 3×3 stride 2, 32→64", (32, 14, 14), lambda nn: nn.Conv2d(32, 64, 3, 2, 1)),
    Case("conv 5×5, 32→64", (32, 14, 14), lambda nn: nn.Conv2d(32, 64, 5, padding=2)),
    Case("conv 7×7, 16→32", (16, 14, 14), lambda nn: nn.Conv2d(16, 32, 7, padding=3)),
    Case("conv 1×1, 64→128", (64, 14, 14), lambda nn: nn.Conv2d(64, 128, 1)),
    Case("conv 1×1 stride 2, 32→64", (32, 14, 14), lambda nn: nn.Conv2d(32, 64, 1, 2)),
    Case("conv 3×3 unpadded, 32→64", (32, 14, 14), lambda nn: nn.Conv2d(32, 64, 3)),
    Case("conv 3×3 dilation 2, 32→32", (32, 14, 14), lambda nn: nn.Conv2d(32, 32, 3, 1, 2, 2)),
    Case("conv 3×3 depthwise, 64", (64, 14, 14), lambda nn: nn.Conv2d(64, 64, 3, 1, 1, groups=64)),
    Case("conv 3×3 groups 4, 64", (64, 14, 14), lambda nn: nn.Conv2d(64, 64, 3, 1, 1, groups=4)),
    Case("transposed 2×2 stride 2, 64→32", (64, 7, 7), lambda nn: nn.ConvTranspose2d(64, 32, 2, 2)),
    Case(
        "transposed 4×4 stride 2, 64→32", (64, 7, 7), lambda nn: nn.ConvTranspose2d(64, 32, 4, 2, 1)
    ),
    Case(
        "conv 3×3 - ReLU - pool, 32→64",
        (32, 14, 14),
        lambda nn: nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
    ),
    Case(
        "conv 3×3 - norm - ReLU - pool, 32→64",
        (32, 14, 14),
        lambda nn: nn.Sequential(
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)
        ),
    ),
    Case("max pool 2", (32, 28, 28), lambda nn: nn.MaxPool2d(2)),
    Case("average pool 2", (32, 28, 28), lambda nn: nn.AvgPool2d(2)),
    Case("batch norm", (32, 28, 28), lambda nn: nn.BatchNorm2d(32)),
    Case("ReLU", (32, 28, 28), lambda nn: nn.ReLU()),
    Case("dropout", (32, 14, 14), lambda nn: nn.Dropout(0.25)),
    Case("layer norm", (512,), lambda nn: nn.LayerNorm(512)),
    Case("sigmoid", (128,), lambda nn: nn.Sigmoid()),
    Case("log softmax", (10,), lambda nn: nn.LogSoftmax(dim=1)),
    Case("linear, 784→128", (784,), lambda nn: nn.Linear(784, 128), False),
    Case("linear, 3136→128", (3136,), lambda nn: nn.Linear(3136, 128)),
)


class Side(NamedTuple):
    """The two halves of one library's contender."""

    forward: Call
    backward: Call


def jobs(settings: Settings) -> Iterator[Job]:
    size = settings.batch_sizes[0]
    for case in CASES:
        for count in settings.threads:
            yield Job(case.name, partial(measure, settings, case, size, count))


def measure(settings: Settings, case: Case, size: int, count: int) -> list[Row]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((size, *case.shape), np.float32)
    tinygrad_fm.manual_seed(0)
    module = case.build(tinygrad_fm.nn)
    layouts = CHANNELS_LAST if len(case.shape) == 3 else {"torch": False}
    with threads(count):
        sides = {"ours": our_side(case, module, x)}
        for name, channels_last in layouts.items():
            sides[name] = torch_side(case, module, x, channels_last)
        rows = []
        for direction, cost in zip(Side._fields, costs(sides["ours"].forward), strict=True):
            calls = {name: getattr(side, direction) for name, side in sides.items()}
            times = settings.times(calls, settings.operation_repeats)
            labels = {"operation": case.name, "direction": direction}
            figures = compared(times)
            speeds = speed(cost, figures["ours_ms"], peaks(count))
            rows.append({**labels, "batch_size": size, "threads": count, **figures, **speeds})
    return rows


def our_side(case: Case, module: tinygrad_fm.nn.Module, x: np.ndarray) -> Side:
    if x.ndim == 4:  # (H, W, N, C) memory behind the shape (N, C, H, W)
        x = np.ascontiguousarray(x.transpose(2, 3, 0, 1)).transpose(2, 3, 0, 1)
    leaf = Tensor(x, requires_grad=case.input_gradient)
    leaves = [leaf, *module.parameters()]
    y = module(leaf)
    upstream = Tensor(np.ones_like(y.data))

    def backward() -> None:
        for tensor in leaves:
            tensor.grad = None
        y.backward(upstream, retain_graph=True)

    return Side(partial(module, leaf), backward)


def torch_side(case: Case, ours: tinygrad_fm.nn.Module, x: np.ndarray, channels_last: bool) -> Side:
    module = case.build(torch.nn)
    module.load_state_dict({key: torch.tensor(a) for key, a in ours.state_dict().items()})
    in_layout(module, channels_last)
    leaf = in_layout(torch.tensor(x), channels_last).requires_grad_(case.input_gradient)
    leaves = [leaf, *module.parameters()]
    y = module(leaf)
    upstream = torch.ones_like(y)

    def backward() -> None:
        for tensor in leaves:
            tensor.grad = None
        y.backward(upstream, retain_graph=True)

    return Side(partial(module, leaf), backward)


def costs(forward: Call) -> Iterator[Direction]:
    """Floating-point operations and bytes of one call forward, and of one backward."""
    with profile() as measured:
        y = forward()
        y.backward(Tensor(np.ones_like(y.data)))
    for direction in Side._fields:
        total = Direction()
        for operation in measured.operations:
            part = getattr(operation, direction)
            total.add(part.seconds, part.flops, part.bytes)
        yield total


def speed(cost: Direction, ms: float, peaks: dict[str, float]) -> Row:
    """GFLOP/s and GB/s of our side, and their shares of what the machine can do."""
    gflops, gbytes = cost.flops / ms / 1e6, cost.bytes / ms / 1e6
    return {
        "gflops": round(gflops, 2),
        "gbytes_per_s": round(gbytes, 2),
        "share_of_sgemm_peak": round(gflops / peaks["sgemm_gflops"], 4),
        "share_of_copy_peak": round(gbytes / peaks["copy_gbytes_per_s"], 4),
    }
