"""Every recipe trains on the built-in pictures: its own loss, optimizer, schedule, augmentation."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from tinygrad_fm.recipes import RECIPES, Recipe
from tinygrad_fm.runs import begin, go_on

# Narrow networks where the recipe's own would take seconds.
NARROW = {
    "cnn": {"channels": (4, 8)},
    "cnn-bn": {"channels": (4, 8, 8)},
    "cnn-2conv": {"channels": (4, 8)},
    "cnn-3conv": {"channels": (4, 8, 8)},
    "cnn-3conv-plus": {"channels": (4, 8, 8)},
    "cnn-5conv": {"channels": (4, 8, 8)},
    "resnet": {"channels": (4, 8), "blocks": 1},
}


def narrowed(name: str, **settings: Any) -> Recipe:
    """A recipe that trains on the built-in pictures in no time, and its extractor likewise."""
    recipe = RECIPES[name].changed(dataset="garments", epochs=1, **settings)
    if recipe.extractor is not None:
        recipe = recipe.changed(extractor=narrowed(recipe.extractor.name))
    return recipe.changed(build=partial(recipe.build, **NARROW.get(name, {})))


@pytest.mark.parametrize("name", RECIPES)
def test_trains_a_little_into_a_run_folder(name, tmp_path, monkeypatch):
    batch_size = 8 if name == "cnn-3conv" else 16  # its rate is low: it needs more steps
    recipe = narrowed(name, batch_size=batch_size, validation_fraction=0.1)
    monkeypatch.setitem(RECIPES, name, recipe)
    if recipe.extractor is not None:  # which is trained in a run folder of its own
        monkeypatch.setitem(RECIPES, recipe.extractor.name, recipe.extractor)
    saved = begin(name, {}, out=tmp_path)
    assert not saved.complete
    result = go_on(saved, progress=False)
    assert result.test_accuracy > 0.2  # a guess is right once in ten

    assert saved.complete
    assert saved.metrics()["test_accuracy"] == result.test_accuracy
    history = saved.history()
    for column in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        (value,) = history[column]
        assert np.isfinite(value), column
    for file in ("config.json", "curves.png", "confusion.png", "predictions.png"):
        assert (tmp_path / file).stat().st_size > 100, file
