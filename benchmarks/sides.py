"""The two sides of a comparison: the same model, weights, data and threads.

PyTorch runs in eager mode in its best configuration: fused optimizer, gradients set to None, and
for convolutional networks both memory layouts, of which the better one counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import tinygrad_fm
from benchmarks.settings import Job, Row, Settings
from benchmarks.timing import LEARNING_RATE, compared
from tinygrad_fm import nn
from tinygrad_fm.data import Garments
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.reference.models import OPTIMIZERS, MaskedDropout, twin

Array = np.ndarray
Call = Callable[[], Any]
Contenders = Callable[[str, int], dict[str, Call]]  # of a model at a batch size

CHANNELS_LAST = {"torch": False, "torch_channels_last": True}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Both sides on the same number of threads, and NumPy's BLAS as well."""
    before = tinygrad_fm.get_num_threads(), torch.get_num_threads()
    tinygrad_fm.set_num_threads(count)
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count, "blas"):
            yield
    finally:
        tinygrad_fm.set_num_threads(before[0])
        torch.set_num_threads(before[1])


def batch(size: int) -> tuple[Array, Array]:
    """Pictures (size, 1, 28, 28), float32 in [-1, 1], and labels (size,)."""
    pictures = Garments(size=size)
    return (pictures.images / 127.5 - 1).astype(np.float32), pictures.labels


def our_model(name: str) -> nn.Module:
    """A recipe's model with weights that are the same each time, its calls planned."""
    tinygrad_fm.manual_seed(0)
    return tinygrad_fm.compile(RECIPES[name].build())


def layouts(module: nn.Module) -> dict[str, bool]:
    """PyTorch's contenders by name, each with whether it is channels-last."""
    convolutional = any(isinstance(m, nn.Conv2d) for m in module.modules())
    return CHANNELS_LAST if convolutional else {"torch": False}


def torch_model(name: str, model: nn.Module, channels_last: bool) -> torch.nn.Module:
    """The recipe's twin with our model's weights, its dropout PyTorch's own."""
    built = twin(name, model)
    for parent in list(built.modules()):
        for key, layer in parent.named_children():
            if isinstance(layer, MaskedDropout):
                setattr(parent, key, torch.nn.Dropout(layer.p))
    return in_layout(built, channels_last)


def torch_optimizer(name: str, model: torch.nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer, fused."""
    return OPTIMIZERS[name](model.parameters(), lr=LEARNING_RATE, fused=True)


def in_layout(thing: Any, channels_last: bool) -> Any:
    """The module or tensor in channels-last memory, or as it is."""
    return thing.to(memory_format=torch.channels_last) if channels_last else thing


def model_jobs(settings: Settings, sizes: tuple[int, ...], contenders: Contenders) -> Iterator[Job]:
    """One job for each model, batch size and number of threads."""
    for name in settings.models:
        for size in sizes:
            for count in settings.threads:
                label = f"{name}, batch {size}"
                yield Job(label, partial(_measure, settings, contenders, name, size, count))


def _measure(
    settings: Settings, contenders: Contenders, name: str, size: int, count: int
) -> list[Row]:
    with threads(count):
        times = settings.times(contenders(name, size))
    return [{"model": name, "batch_size": size, "threads": count, **compared(times)}]
