"""What an operation costs besides its arithmetic: long chains of one-element tensors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

import tinygrad_fm
from benchmarks.settings import Job, Row, Settings
from benchmarks.sides import Call, threads
from benchmarks.timing import compared

CHAINS: dict[str, Callable[[Any, Any], Any]] = {"add": operator.add, "mul": operator.mul}
LENGTH = 1000


def jobs(settings: Settings) -> Iterator[Job]:
    for name in CHAINS:
        for count in settings.threads:
            yield Job(f"chain of {name}", partial(measure, settings, name, count))


def measure(settings: Settings, name: str, count: int) -> list[Row]:
    """µs per operation, forward plus backward."""
    with threads(count):
        times = settings.times(
            {
                "ours": chain(CHAINS[name], tinygrad_fm.tensor),
                "torch": chain(CHAINS[name], torch.tensor),
            }
        )
    figures = compared(times, "us", 1e6 / LENGTH)
    del figures["torch_channels_last_us"]
    return [{"chain": name, "operations": LENGTH, "threads": count, **figures}]


def chain(operation: Callable[[Any, Any], Any], tensor: Callable[..., Any]) -> Call:
    """y = x ∘ x ∘ … ∘ x and its gradient."""
    x = tensor([1.0], requires_grad=True)

    def run() -> None:
        x.grad = None
        y = x
        for _ in range(LENGTH):
            y = operation(y, x)
        y.backward()

    return run
