"""Training steps: zero_grad, forward, loss, backward, optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.settings import Job, Settings
from benchmarks.sides import (
    Array,
    Call,
    batch,
    in_layout,
    layouts,
    model_jobs,
    our_model,
    torch_model,
    torch_optimizer,
)
from benchmarks.steps import our_step
from benchmarks.timing import COMPILED
from tinygrad_fm import nn
from tinygrad_fm.reference.models import twin_loss


def jobs(settings: Settings) -> Iterator[Job]:
    found = partial(contenders, settings.torch_compile)
    return model_jobs(settings, settings.batch_sizes, found)


def contenders(compiled: bool, name: str, size: int) -> dict[str, Call]:
    """Our step and PyTorch's in each layout, from the same weights on the same batch."""
    images, labels = batch(size)
    model = our_model(name)
    theirs = {
        layout: torch_step(name, model, images, labels, channels_last)
        for layout, channels_last in layouts(model).items()
    }
    if compiled:
        theirs[COMPILED] = torch_step(name, model, images, labels, False, compiled=True)
    return {"ours": our_step(name, model, images, labels), **theirs}


def torch_step(
    name: str,
    ours: nn.Module,
    images: Array,
    labels: Array,
    channels_last: bool,
    compiled: bool = False,
) -> Call:
    model: Any = torch_model(name, ours, channels_last)
    model = torch.compile(model) if compiled else model
    optimizer = torch_optimizer(name, model)
    loss_fn = twin_loss(name)
    x, targets = in_layout(torch.tensor(images), channels_last), torch.tensor(labels)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_fn(model(x), targets)
        loss.backward()
        optimizer.step()

    return step
