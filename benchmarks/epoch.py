"""A whole epoch, data loader included: Fashion-MNIST with random crop, flip and erasing.

PyTorch's side is the usual one: a data set of uint8 tensors, torchvision's transforms (v2) on one
image at a time, and a DataLoader, whose number of workers and memory layout are chosen by a
trial. (On a batch, torchvision draws one crop for all images; that would be another training.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice, product
from typing import Any

import numpy as np
import torch

from benchmarks.settings import Job, Row, Settings
from benchmarks.sides import (
    CHANNELS_LAST,
    LEARNING_RATE,
    in_layout,
    our_model,
    threads,
    torch_model,
    torch_optimizer,
)
from benchmarks.timing import compared
from tinygrad_fm import data
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.reference.models import twin_loss
from tinygrad_fm.reference.torchvision import import_torchvision

MODEL, BATCH = "cnn-bn", 64
MEAN, STD = 0.286, 0.353  # of Fashion-MNIST's training images
PADDING = 2
WORKERS = (0, 2)
TRIAL = 100  # batches

Train = Callable[[int | None], object]  # over that many batches, or a whole epoch


def jobs(settings: Settings) -> Iterator[Job]:
    for count in settings.threads:
        yield Job(f"{MODEL}, batch {BATCH}", partial(measure, settings, count))


def measure(settings: Settings, count: int) -> list[Row]:
    dataset, note = pictures(settings.quick)
    with threads(count):
        ours, (theirs, chosen) = our_epoch(dataset), best_torch(dataset, settings.quick)
        ours(1)
        times: dict[str, list[float]] = {"ours": [], "torch": []}
        for _ in range(settings.long_repeats):
            for name, train in (("ours", ours), ("torch", theirs)):
                times[name].append(seconds(train, None))
    figures = compared({name: np.array(t) for name, t in times.items()}, "s", 1)
    del figures["torch_channels_last_s"]
    labels = {"model": MODEL, "batch_size": BATCH, "threads": count}
    about = {"dataset": dataset.name, "images": len(dataset), "note": note}
    return [{**labels, **about, **chosen, **figures}]


def pictures(quick: bool) -> tuple[data.ArrayDataset, str]:
    """Fashion-MNIST, or else the built-in garments and why; only a few of them if `quick`."""
    if quick:
        return data.Garments(size=2 * BATCH), "quick: a few of the built-in pictures"
    try:
        return data.FashionMNIST(), ""
    except data.DataUnavailable as error:
        return data.Garments(), f"built-in pictures instead of Fashion-MNIST: {error}"


def seconds(train: Train, batches: int | None) -> float:
    started = time.perf_counter()
    train(batches)
    return time.perf_counter() - started


# ------------------------------------------------------------------------------ ours


def our_epoch(dataset: data.ArrayDataset) -> Train:
    recipe, model = RECIPES[MODEL], our_model(MODEL)
    optimizer = recipe.optimizer(model.parameters(), LEARNING_RATE)
    transform = data.Compose(
        [
            data.RandomCrop(28, padding=PADDING),
            data.RandomHorizontalFlip(),
            data.ToFloat(),
            data.Normalize(MEAN, STD),
            data.RandomErasing(),
        ]
    )
    loader = data.DataLoader(dataset, BATCH, shuffle=True, transform=transform)

    def train(batches: int | None) -> None:
        for images, labels in islice(loader, batches):
            optimizer.zero_grad()
            recipe.loss(model(images), labels).backward()
            optimizer.step()

    return train


# ------------------------------------------------------------------------------ PyTorch's


@dataclass(frozen=True)
class Pictures(torch.utils.data.Dataset):
    """Images (1, 28, 28) and labels, one at a time."""

    images: torch.Tensor  # uint8 (N, 1, 28, 28)
    labels: torch.Tensor
    transform: Callable[[torch.Tensor], torch.Tensor]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def best_torch(dataset: data.ArrayDataset, quick: bool) -> tuple[Train, Row]:
    """The fastest of the combinations of workers and layout, and which one it is."""
    pictures = Pictures(
        torch.tensor(dataset.images), torch.tensor(dataset.labels), torchvision_transform()
    )
    workers = WORKERS[:1] if quick else WORKERS
    trials = []
    for count, (layout, channels_last) in product(workers, CHANNELS_LAST.items()):
        train = torch_epoch(pictures, count, channels_last)
        train(1)
        chosen = {"torch_workers": count, "torch_layout": layout}
        trials.append((seconds(train, 2 if quick else TRIAL), train, chosen))
    _, train, chosen = min(trials, key=lambda trial: trial[0])
    return train, chosen


def torch_epoch(pictures: Pictures, workers: int, channels_last: bool) -> Train:
    model = torch_model(MODEL, our_model(MODEL), channels_last)
    optimizer = torch_optimizer(MODEL, model)
    loss_fn = twin_loss(MODEL)
    loader = torch.utils.data.DataLoader(
        pictures, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )

    def train(batches: int | None) -> None:
        for images, labels in islice(loader, batches):
            optimizer.zero_grad(set_to_none=True)
            loss_fn(model(in_layout(images, channels_last)), labels).backward()
            optimizer.step()

    return train


def torchvision_transform() -> Any:
    import_torchvision()
    from torchvision.transforms import v2

    return v2.Compose(
        [
            v2.RandomCrop(28, padding=PADDING),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([MEAN], [STD]),
            v2.RandomErasing(p=0.5),
        ]
    )
