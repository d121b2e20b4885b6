"""Our own training step, planned, as a process like the peers'."""

from __future__ import annotations

import os
from typing import Any

import tinygrad_fm
from benchmarks.peers.serve import Job, Step, serve
from tinygrad_fm import Tensor
from tinygrad_fm.recipes import RECIPES


def build(job: Job, lr: float) -> Step:
    recipe = RECIPES[job.model]
    model = tinygrad_fm.compile(recipe.build())
    model.load_state_dict(dict(zip(model.state_dict(), job.weights, strict=True)))
    optimizer = recipe.optimizer(model.parameters(), lr)
    x, targets = Tensor(job.images), Tensor(job.labels)

    def step() -> Any:
        optimizer.zero_grad()
        loss = recipe.loss(model(x), targets)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


if __name__ == "__main__":
    tinygrad_fm.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve(build, "numpy", threads=tinygrad_fm.get_num_threads())
