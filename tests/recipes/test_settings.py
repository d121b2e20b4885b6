"""Settings by name: what they change about a recipe, and what they cannot be."""

from __future__ import annotations

import json

import pytest

from tinygrad_fm import data
from tinygrad_fm.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.run import prepare
from tinygrad_fm.recipes.settings import OPTIMIZERS, architecture, configured


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(
    ("schedule", "each_epoch", "each_batch"),
    [
        ("constant", type(None), type(None)),
        ("cosine", CosineAnnealingLR, type(None)),
        ("one-cycle", type(None), OneCycleLR),
    ],
)
@pytest.mark.parametrize("name", ["mlp", "mlp-deep", "resnet"])  # each with another one of its own
def test_every_recipe_takes_every_optimizer_schedule_and_patience(
    name, schedule, each_epoch, each_batch, optimizer
):
    given = {"optimizer": optimizer, "schedule": schedule, "patience": 3}
    recipe = configured(RECIPES[name], given)
    few = data.Garments(size=500), data.Garments(train=False, size=100)
    training, _ = prepare(recipe, few, seed=0)
    assert type(training.scheduler) is each_epoch
    assert type(training.step_scheduler) is each_batch
    assert training.early_stopping.patience == 3
    assert type(training.optimizer).__name__.lower() == optimizer
    assert recipe.lr == OPTIMIZERS[optimizer][1]


@pytest.mark.parametrize("name", RECIPES)
def test_widths_and_dropout_reach_the_model_by_way_of_json(name):
    recipe = RECIPES[name]
    changed = {
        argument: [width + 3 for width in own]
        if isinstance(own, tuple)
        else own + 3
        if isinstance(own, int)
        else own / 2
        for argument, own in architecture(recipe).items()
    }
    model = configured(recipe, json.loads(json.dumps(changed))).build()
    sizes = {size for array in model.state_dict().values() for size in array.shape}
    widths = [w for own in changed.values() for w in (own if isinstance(own, list) else [own])]
    assert {width for width in widths if isinstance(width, int)} <= sizes
    rates = {layer.p for layer in model.modules() if type(layer).__name__ == "Dropout"}
    assert {rate for rate in widths if isinstance(rate, float)} <= rates


def test_the_summary_says_what_is_different():
    assert configured(RECIPES["mlp"], {"lr": 0.1}).summary == RECIPES["mlp"].summary
    changed = configured(RECIPES["mlp-deep"], {"hidden": [9, 8, 7], "dropout": 0.5})
    assert changed.summary.endswith("; here with hidden [9, 8, 7], dropout 0.5")


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("mlp", "channels", [3, 3], "unknown setting 'channels'; choose from .*, hidden$"),
        ("resnet", "blocks", 2, "unknown setting 'blocks'"),
        ("mlp", "schedule", "sometimes", "schedule cannot be 'sometimes'"),
        ("mlp", "schedule", ["cosine"], r"schedule cannot be \['cosine'\]"),
        ("mlp", "patience", 0, "patience cannot be 0"),
        ("mlp", "patience", 2.5, r"patience cannot be 2\.5"),
        ("mlp", "hidden", [8], r"hidden of mlp cannot be \[8\]; its own is \(128, 64\)"),
        ("mlp", "hidden", 8, "hidden of mlp cannot be 8"),
        ("mlp", "hidden", [8, 0], r"cannot be \[8, 0\]"),
        ("mlp", "hidden", [8, 8.0], r"cannot be \[8, 8\.0\]"),
        ("mlp-1hidden", "hidden", [8], r"hidden of mlp-1hidden cannot be \[8\]; its own is 128"),
        ("mlp-1hidden", "hidden", -8, "cannot be -8"),
        ("mlp-deep", "dropout", 1.0, r"cannot be 1\.0; its own is 0\.2"),
        ("mlp-deep", "dropout", -0.1, r"cannot be -0\.1"),
        ("mlp-deep", "dropout", False, "cannot be False"),
        ("mlp-deep", "dropout", float("nan"), "cannot be nan"),
    ],
)
def test_what_a_setting_cannot_be(name, setting, value, message):
    with pytest.raises(ValueError, match=message):
        configured(RECIPES[name], {setting: value})


def test_a_model_may_be_large_but_not_beyond_what_a_checkpoint_holds():
    """Nothing of it is built: that would take 3 GB."""
    large = configured(RECIPES["mlp"], {"hidden": [200_000, 500]})
    assert "hidden [200000, 500]" in large.summary
    with pytest.raises(ValueError, match=r"hidden \[300000, 30000\] has 9,235,\d+,\d+ par"):
        configured(RECIPES["mlp"], {"hidden": [300_000, 30_000]})
    with pytest.raises(ValueError, match="hidden of mlp cannot be"):
        configured(RECIPES["mlp"], {"hidden": [10**30, 1]})
