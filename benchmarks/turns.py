"""One side of `python -m benchmarks against`: turns of a job, on request, with one tree's package.

    python benchmarks/turns.py TREE

Each line of standard input is a job and a number of calls, `["train", "mlp", 64, 100]`; the answer
is the seconds per call. Only names that the package has always had are used here, so that an old
commit can be measured by the script of the new one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from functools import cache

import numpy as np

sys.path.insert(0, sys.argv[1])
import tinygrad_fm as tg
from tinygrad_fm import Tensor
from tinygrad_fm.data import Garments
from tinygrad_fm.recipes import RECIPES

LEARNING_RATE = 1e-7  # see timing.py
LENGTH = 1000  # of a chain


@cache
def call_of(kind: str, name: str, size: int) -> Callable[[], object]:
    """A training step, an inference, or a chain of one operation forward and backward."""
    if kind == "chain":
        return chain(name)
    tg.manual_seed(0)
    recipe, pictures = RECIPES[name], Garments(size=size)
    model = recipe.build()
    x = Tensor((pictures.images / 127.5 - 1).astype(np.float32))
    labels = Tensor(pictures.labels)
    if kind == "infer":
        model.eval()
        return tg.no_grad()(lambda: model(x))
    optimizer = recipe.optimizer(model.parameters(), LEARNING_RATE)

    def step() -> None:
        optimizer.zero_grad()
        recipe.loss(model(x), labels).backward()
        optimizer.step()

    return step


def chain(name: str) -> Callable[[], object]:
    x, one = tg.ones(1, requires_grad=True), tg.ones(1)
    method = getattr(Tensor, f"__{name}__")

    def run() -> None:
        x.grad, y = None, x
        for _ in range(LENGTH):
            y = method(y, one)
        y.backward()

    return run


for line in sys.stdin:
    *job, calls = json.loads(line)
    call = call_of(*job)
    started = time.perf_counter()
    for _ in range(calls):
        call()
    print((time.perf_counter() - started) / calls, flush=True)
