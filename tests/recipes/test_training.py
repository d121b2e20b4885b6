"""Every recipe trains on the built-in pictures: its own loss, optimizer, schedule, augmentation."""

from __future__ import annotations

from functools import partial

import pytest

from tinygrad_fm.recipes import RECIPES, run

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


@pytest.mark.parametrize("name", RECIPES)
def test_trains_a_little(name):
    recipe = RECIPES[name].changed(
        dataset="garments", epochs=1, batch_size=25, validation_fraction=0.5
    )
    recipe = recipe.changed(build=partial(recipe.build, **NARROW.get(name, {})))
    if recipe.extractor is not None:
        narrow = partial(recipe.extractor.build, **NARROW[recipe.extractor.name])
        recipe = recipe.changed(extractor=recipe.extractor.changed(build=narrow, epochs=1))
    result = run(recipe, progress=False)
    assert len(result.history) == result.best.epoch == 1
    assert result.test_accuracy > 0.2  # a guess is right once in ten
