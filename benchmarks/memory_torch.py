"""A training process of PyTorch's that prints its peak memory: FILE BATCH_SIZE THREADS.

The file holds model, loss, optimizer, and whether images are in the layout channels_last.
"""

from __future__ import annotations

import sys

import torch

from benchmarks.resident import STEPS, peak_mb


def train(file: str, batch_size: int) -> None:
    model, loss_fn, optimizer, channels_last = torch.load(file, weights_only=False)
    images = torch.randn(batch_size, 1, 28, 28)
    if channels_last:
        images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(10, (batch_size,))
    for _ in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        loss_fn(model(images), labels).backward()
        optimizer.step()


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[3]))
    train(sys.argv[1], int(sys.argv[2]))
    print(peak_mb())
