"""What can be changed about a recipe by name: on the command line, or in a run's config.json."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tinygrad_fm.data import RandomCrop, RandomHorizontalFlip
from tinygrad_fm.nn import Parameter
from tinygrad_fm.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_fm.recipes.recipe import Recipe, one_cycle

DATASETS = ("fashion-mnist", "mnist", "garments")
MakeOptimizer = Callable[[Iterable[Parameter], float], Optimizer]

# Each with the learning rate that it is usually given: a rate for SGD is far too high for Adam.
OPTIMIZERS: dict[str, tuple[MakeOptimizer, float]] = {
    "sgd": (lambda parameters, lr: SGD(parameters, lr, momentum=0.9), 0.02),
    "adam": (lambda parameters, lr: Adam(parameters, lr), 1e-3),
    "adamw": (lambda parameters, lr: AdamW(parameters, lr), 1e-3),
    "rmsprop": (lambda parameters, lr: RMSprop(parameters, lr), 1e-3),
}
# Each sets both fields of a recipe, so that none of its own schedule is left.
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"schedule": None, "step_schedule": None},
    "cosine": {
        "schedule": lambda optimizer, epochs: CosineAnnealingLR(optimizer, epochs),
        "step_schedule": None,
    },
    "one-cycle": {"schedule": None, "step_schedule": one_cycle},
}
AUGMENTATION = (RandomCrop(28, padding=2), RandomHorizontalFlip())
WIDTHS = ("hidden", "channels")
# 1 GB of weights: with an optimizer's two states and the best weights so far, what a checkpoint may
# hold (see `runs/files.py`). A file of settings can ask for anything.
MAX_PARAMETERS = 1 << 28
MAX_WIDTH = 1 << 20


def configured(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with settings that JSON can hold.

    Args:
        settings: any of "dataset" (a name), "epochs", "batch_size", "lr", "validation_fraction",
            "optimizer" (a name of OPTIMIZERS; without "lr" it takes its usual rate), "schedule" (a
            name of SCHEDULES), "patience" (epochs, see `Recipe`), "augment" (True: the recipe's own
            transforms, or else mirrored and shifted images; False: none; digits are never
            mirrored), "compile" (False: nothing is planned), and what `architecture` finds: [96,
            32] for "hidden" of `mlp`, say.

    Raises:
        ValueError: an unknown setting, a value that it cannot have, or a model beyond
            MAX_PARAMETERS.
    """
    _check(recipe, settings)
    changes = dict(settings)
    if "optimizer" in changes:
        changes["optimizer"], usual_lr = OPTIMIZERS[changes["optimizer"]]
        changes.setdefault("lr", usual_lr)
    if "schedule" in changes:
        changes |= SCHEDULES[changes["schedule"]]
    if "augment" in changes:
        changes["augment"] = (recipe.augment or AUGMENTATION) if changes["augment"] else ()
    if sizes := {name: changes.pop(name) for name in architecture(recipe) if name in changes}:
        changes["build"] = partial(recipe.build, **sizes)
        told = ", ".join(f"{name} {value}" for name, value in sizes.items())
        changes["summary"] = f"{recipe.summary}; here with {told}"
        _check_size(replace(recipe, **changes), told)
    return replace(recipe, **changes)


def architecture(recipe: Recipe) -> dict[str, Any]:
    """What can be changed about the recipe's model, with the recipe's own values.

    These are the arguments of `recipe.build` that are widths ("hidden": 128, or "channels": (32,
    64) with one for each layer), and rates of dropout.
    """
    arguments = inspect.signature(recipe.build).parameters
    return {
        name: argument.default
        for name, argument in arguments.items()
        if name in WIDTHS or name.endswith("dropout")
    }


def _check(recipe: Recipe, settings: Mapping[str, Any]) -> None:
    own = architecture(recipe)
    for name, value in settings.items():
        if name not in CHECKS and name not in own:
            known = ", ".join([*CHECKS, *own])
            raise ValueError(f"unknown setting {name!r}; choose from {known}")
        if name in CHECKS and not CHECKS[name](value):
            raise ValueError(f"the setting {name} cannot be {value!r}")
        if name in own and not _alike(value, own[name]):
            raise ValueError(
                f"the setting {name} of {recipe.name} cannot be {value!r}; its own is {own[name]}"
            )
    if "augment" in settings and recipe.extractor is not None:
        raise ValueError(
            f"{recipe.name} is trained on features, which cannot be augmented; leave it out"
        )


def _check_size(recipe: Recipe, told: str) -> None:
    """Before anything is allocated."""
    count = sum(p.numel() for p in recipe.build_hollow().parameters())
    if count > MAX_PARAMETERS:
        raise ValueError(
            f"{recipe.name} with {told} has {count:,} parameters, wanted at most {MAX_PARAMETERS:,}"
        )


def _alike(value: Any, own: Any) -> bool:
    """Whether a value can take the place of the recipe's own: widths, or a rate of dropout."""
    if isinstance(own, tuple):
        right_length = isinstance(value, list | tuple) and len(value) == len(own)
        return right_length and all(map(_width, value))
    return _width(value) if isinstance(own, int) else _dropout(value)


def _width(value: Any) -> bool:
    return _whole(value) and value <= MAX_WIDTH


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _dropout(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


CHECKS: dict[str, Callable[[Any], bool]] = {
    "dataset": lambda value: isinstance(value, str) and value in DATASETS,
    "epochs": _whole,
    "batch_size": _whole,
    "lr": _rate,
    "optimizer": lambda value: isinstance(value, str) and value in OPTIMIZERS,
    "schedule": lambda value: isinstance(value, str) and value in SCHEDULES,
    "patience": _whole,
    "augment": lambda value: isinstance(value, bool),
    "compile": lambda value: isinstance(value, bool),
    "validation_fraction": lambda value: isinstance(value, float) and 0 < value < 1,
}
