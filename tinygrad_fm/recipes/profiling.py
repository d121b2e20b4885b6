"""Profiling the training steps or the inference of a recipe."""

from __future__ import annotations

import math

import numpy as np

from tinygrad_fm.autograd import no_grad
from tinygrad_fm.autograd.mode import Recording
from tinygrad_fm.autograd.profiler import Profile, profile
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data import Garments
from tinygrad_fm.plan import compile
from tinygrad_fm.plan.compiled import plan_of
from tinygrad_fm.recipes.recipe import Recipe
from tinygrad_fm.report.table import format_table

WARM_UP = 3  # calls that are not measured: they fetch memory and wake threads


def profile_recipe(
    recipe: Recipe, batch_size: int | None = None, training: bool = True, steps: int = 10
) -> Profile:
    """Run a recipe's model on one batch of the built-in pictures, `steps` times, and measure it.

    Args:
        batch_size: the recipe's own if not given.
        training: whole training steps, or else evaluation without a graph.
    """
    images = _images(recipe, batch_size)
    labels = Tensor(Garments(size=len(images)).labels)
    model = recipe.build()
    optimizer = recipe.optimizer(model.parameters(), recipe.lr)
    model.train(training)

    def train() -> None:
        optimizer.zero_grad()
        recipe.loss(model(images), labels).backward()
        optimizer.step()

    @no_grad()
    def infer() -> None:
        model(images)

    call = train if training else infer
    for _ in range(WARM_UP):
        call()
    with profile() as measured:
        for _ in range(steps):
            call()
    return measured


def plan_of_recipe(
    recipe: Recipe, batch_size: int | None = None, training: bool = True, repeats: int = 30
) -> str:
    """The plan of a recipe's forward pass (and backward pass, in training) as a table: each call,
    the shape of what its operation computes, its time, and where in the plan's memory that lies.
    """
    model = compile(recipe.build()).train(training)
    with Recording(training):
        plan, arrays = plan_of(model, _images(recipe, batch_size))
    seconds = [math.inf] * len(plan.notes)

    def after(number: int, time: float) -> None:
        seconds[number] = min(seconds[number], time)

    for _ in range(repeats):
        plan.watched(arrays, after)
    first_backward = len(plan.forward_calls)
    rows = [
        {
            "call": name + (" backward" if i >= first_backward else ""),
            "shape": str(shape).replace(",)", ")"),
            "us": time * 1e6,
            "KB": "" if place is None else f"{place.start >> 10}-{place.stop >> 10}",
        }
        for i, ((name, shape, place), time) in enumerate(zip(plan.notes, seconds, strict=True))
    ]
    total = f"{len(rows)} calls, {sum(seconds) * 1e6:,.0f} us; {plan.nbytes >> 10:,} KB laid out"
    return f"{format_table(rows, {'us': ',.1f'})}\n{total}"


def _images(recipe: Recipe, batch_size: int | None) -> Tensor:
    pictures = Garments(size=batch_size or recipe.batch_size)
    images = Tensor((pictures.images / np.float32(127.5) - 1).astype(np.float32))
    if recipe.extractor is not None:
        images = recipe.extractor.build().features(images).detach()
    return images
