"""Inference: the forward pass in evaluation mode, without a graph."""

from __future__ import annotations

from collections.abc import Iterator

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
)
from tinygrad_fm import Tensor, nn, no_grad


def jobs(settings: Settings) -> Iterator[Job]:
    return model_jobs(settings, settings.inference_batch_sizes, contenders)


def contenders(name: str, size: int) -> dict[str, Call]:
    """Our forward pass and PyTorch's in each layout."""
    images, _ = batch(size)
    model = our_model(name)
    theirs = {
        layout: torch_forward(torch_model(name, model, channels_last), images, channels_last)
        for layout, channels_last in layouts(model).items()
    }
    return {"ours": our_forward(model, images), **theirs}


def our_forward(model: nn.Module, images: Array) -> Call:
    model.eval()
    x = Tensor(images)
    return no_grad()(lambda: model(x))


def torch_forward(model: torch.nn.Module, images: Array, channels_last: bool) -> Call:
    model.eval()
    x = in_layout(torch.tensor(images), channels_last)
    return torch.inference_mode()(lambda: model(x))
