"""What can be changed about a recipe by name: on the command line, or in a run's config.json."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tinygrad_fm.data import RandomCrop, RandomHorizontalFlip
from tinygrad_fm.nn import Parameter
from tinygrad_fm.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from tinygrad_fm.recipes.recipe import Recipe

DATASETS = ("fashion-mnist", "mnist", "garments")
MakeOptimizer = Callable[[Iterable[Parameter], float], Optimizer]

# Each with the learning rate that it is usually given: a rate for SGD is far too high for Adam.
OPTIMIZERS: dict[str, tuple[MakeOptimizer, float]] = {
    "sgd": (lambda parameters, lr: SGD(parameters, lr, momentum=0.9), 0.02),
    "adam": (lambda parameters, lr: Adam(parameters, lr), 1e-3),
    "adamw": (lambda parameters, lr: AdamW(parameters, lr), 1e-3),
    "rmsprop": (lambda parameters, lr: RMSprop(parameters, lr), 1e-3),
}
AUGMENTATION = (RandomCrop(28, padding=2), RandomHorizontalFlip())


def configured(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """The recipe with settings that JSON can hold.

    Args:
        settings: any of "dataset" (a name), "epochs", "batch_size", "lr", "validation_fraction",
            "optimizer" (a name of OPTIMIZERS; without "lr" it takes its usual rate) and "augment"
            (True: the recipe's own transforms, or else mirrored and shifted images; False: none;
            digits are never mirrored).

    Raises:
        ValueError: an unknown setting, or a value that it cannot have.
    """
    for name, value in settings.items():
        if name not in CHECKS:
            raise ValueError(f"unknown setting {name!r}; choose from {', '.join(CHECKS)}")
        if not CHECKS[name](value):
            raise ValueError(f"the setting {name} cannot be {value!r}")
    changes = dict(settings)
    if "optimizer" in changes:
        changes["optimizer"], usual_lr = OPTIMIZERS[changes["optimizer"]]
        changes.setdefault("lr", usual_lr)
    if "augment" in changes:
        if recipe.extractor is not None:
            raise ValueError(
                f"{recipe.name} is trained on features, which cannot be augmented; leave it out"
            )
        changes["augment"] = (recipe.augment or AUGMENTATION) if changes["augment"] else ()
    return recipe.changed(**changes)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _rate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


CHECKS: dict[str, Callable[[Any], bool]] = {
    "dataset": lambda value: isinstance(value, str) and value in DATASETS,
    "epochs": _whole,
    "batch_size": _whole,
    "lr": _rate,
    "optimizer": lambda value: isinstance(value, str) and value in OPTIMIZERS,
    "augment": lambda value: isinstance(value, bool),
    "validation_fraction": lambda value: isinstance(value, float) and 0 < value < 1,
}
