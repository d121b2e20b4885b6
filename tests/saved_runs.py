"""Run folders for tests: untrained models whose every number matters."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinygrad_fm import manual_seed
from tinygrad_fm.data.catalog import CLOTHES
from tinygrad_fm.nn import Module
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.settings import configured
from tinygrad_fm.recipes.weights import save_weights
from tinygrad_fm.runs import SavedRun
from tinygrad_fm.runs.files import write_json
from tinygrad_fm.runs.folder import CONFIG, EXTRACTOR, FORMAT, MODEL

SUMS = {"train": "0", "test": "0"}


def stirred(model: Module) -> Module:
    """The model with batch norms that do something, as after training."""
    generator = np.random.default_rng(0)
    for name, array in model.state_dict().items():
        if name.endswith(("running_mean", "running_var")):
            array[...] = generator.uniform(0.5, 1.5, array.shape)
        elif array.ndim == 1:
            array[...] += generator.uniform(-0.3, 0.3, array.shape)
    return model


def saved_run(folder: Path, name: str) -> SavedRun:
    """A run folder of a recipe on the built-in data set, with weights and configuration."""
    manual_seed(0)
    settings = {"dataset": "garments"}
    recipe = configured(RECIPES[name], settings)
    save_weights(stirred(recipe.build()), folder / MODEL, {})
    if recipe.extractor is not None:
        save_weights(stirred(recipe.extractor.build()), folder / EXTRACTOR, {})
    config = {
        "format": FORMAT,
        "recipe": name,
        "settings": settings,
        "seed": 0,
        "dataset": "garments",
        "data_dir": None,
        "data_sha256": SUMS,
        "classes": list(CLOTHES),
        "normalisation": {"mean": 0.28, "std": 0.35},
        "versions": {},
    }
    write_json(folder / CONFIG, config)
    return SavedRun(folder, config, recipe)
