"""Training steps of networks that are no recipes, planned and not: see `architectures.py`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

import tinygrad_fm
from benchmarks.architectures import ARCHITECTURES, IMAGES_OUT
from benchmarks.settings import Job, Row, Settings
from benchmarks.sides import CHANNELS_LAST, Array, Call, batch, in_layout, threads
from benchmarks.timing import LEARNING_RATE, compared
from tinygrad_fm import Tensor, nn


def planned_jobs(settings: Settings) -> Iterator[Job]:
    return _jobs(settings, True)


def eager_jobs(settings: Settings) -> Iterator[Job]:
    return _jobs(settings, False)


def _jobs(settings: Settings, planned: bool) -> Iterator[Job]:
    for name in ARCHITECTURES:
        for size in settings.batch_sizes:
            for count in settings.threads:
                yield Job(
                    f"{name}, batch {size}", partial(_run, settings, planned, name, size, count)
                )


def _run(settings: Settings, planned: bool, name: str, size: int, count: int) -> list[Row]:
    with threads(count):
        times = settings.times(contenders(name, size, planned))
    return [{"model": name, "batch_size": size, "threads": count, **compared(times)}]


def contenders(name: str, size: int, planned: bool) -> dict[str, Call]:
    """Our step and PyTorch's in each layout, from the same weights on the same batch.

    Each call gives the loss.
    """
    images, labels = batch(size)
    tinygrad_fm.manual_seed(0)
    model = ARCHITECTURES[name](tinygrad_fm, nn)()
    state = {key: np.array(value) for key, value in model.state_dict().items()}
    found = {"ours": our_step(name, model, planned, images, labels)}
    for layout, channels_last in CHANNELS_LAST.items():
        found[layout] = torch_step(name, state, images, labels, channels_last)
    return found


def our_step(name: str, model: Any, planned: bool, images: Array, labels: Array) -> Call:
    if planned:
        tinygrad_fm.compile(model)
    optimizer = tinygrad_fm.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9)
    x, targets = Tensor(images), Tensor(labels)

    def step() -> Any:
        optimizer.zero_grad()
        y = model(x)
        f = nn.functional
        loss = f.mse_loss(y, x) if name in IMAGES_OUT else f.cross_entropy(y, targets)
        loss.backward()
        optimizer.step()
        return loss

    return tinygrad_fm.compile(step) if planned else step


def torch_step(
    name: str, state: dict[str, Array], images: Array, labels: Array, channels_last: bool
) -> Call:
    model = ARCHITECTURES[name](torch, torch.nn)()
    model.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
    model = in_layout(model, channels_last)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, fused=True)
    x, targets = in_layout(torch.tensor(images), channels_last), torch.tensor(labels)

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        y = model(x)
        f = torch.nn.functional
        loss = f.mse_loss(y, x) if name in IMAGES_OUT else f.cross_entropy(y, targets)
        loss.backward()
        optimizer.step()
        return loss

    return step
