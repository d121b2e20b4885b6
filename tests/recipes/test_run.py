"""The protocol: what is held out, when training ends, which weights are kept and written."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tinygrad_fm import cat, data, manual_seed
from tinygrad_fm.optim import SGD
from tinygrad_fm.recipes import RECIPES, ExtractorError, run
from tinygrad_fm.recipes.cnn_5conv import FiveConvolutions
from tinygrad_fm.recipes.features import load_extractor, training_facts
from tinygrad_fm.recipes.recipe import Recipe, one_cycle
from tinygrad_fm.recipes.run import extractor_recipe, feature_loaders, loaders
from tinygrad_fm.recipes.settings import configured
from tinygrad_fm.recipes.weights import save_weights
from tinygrad_fm.train import evaluate

# Small enough for a test: a network of 2, 3 and 4 channels that makes 8 features.
EXTRACTOR = RECIPES["cnn-5conv"].changed(
    dataset="garments",
    epochs=1,
    batch_size=500,
    build=partial(FiveConvolutions, channels=(2, 3, 4), hidden=8),
)
FEATURES = RECIPES["features-mlp"].changed(
    dataset="garments",
    epochs=2,
    extractor=EXTRACTOR,
    build=partial(RECIPES["features-mlp"].build, inputs=8),
)
MLP = RECIPES["mlp-1hidden"].changed(dataset="garments")
quiet_run = partial(run, progress=False)


@pytest.fixture(scope="module")
def garments():
    """800 training and 100 test pictures."""
    return data.Garments(size=800), data.Garments(train=False, size=100)


@pytest.fixture(scope="module")
def extractor():
    manual_seed(3)
    return EXTRACTOR.build()


@pytest.fixture
def weights(extractor, tmp_path):
    """The extractor as a run with seed 0 would have written it."""
    path = tmp_path / "model.safetensors"
    save_weights(extractor, path, training_facts(EXTRACTOR, seed=0))
    return path


def pictures(batches: data.DataLoader) -> np.ndarray:
    """All images of a loader as the model sees them, in its order."""
    return cat([images for images, _ in batches]).numpy()


# ---------------------------------------------------------------------------- settings


def test_the_rate_follows_a_schedule_of_batches():
    recipe = Recipe(
        name="one-cycle",
        summary="mlp-1hidden with a schedule of batches",
        source="this test",
        dataset="garments",
        build=MLP.build,
        loss=MLP.loss,
        probabilities=MLP.probabilities,
        optimizer=MLP.optimizer,
        lr=0.1,
        epochs=4,
        batch_size=100,
        step_schedule=one_cycle,
    )
    batches = 18  # 1,800 pictures, 100 at a time
    optimizer = SGD(recipe.build().parameters(), recipe.lr, momentum=0.9)
    schedule = one_cycle(optimizer, 4 * batches)
    rates = []
    for _ in range(4 * batches):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(quiet_run(recipe).history["lr"], rates[::batches])
    assert rates[0] == pytest.approx(0.1 / 25)
    assert max(rates) == pytest.approx(0.1, rel=0.01)
    assert rates[-1] < 1e-6


def test_training_ends_when_patience_does():
    # At a rate of nothing no epoch is better than the first.
    recipe = MLP.changed(epochs=50, patience=3, lr=1e-30)
    result = quiet_run(recipe)
    assert len(result.history) == 4
    assert result.best.epoch == 1
    assert result.metrics()["epochs"] == 4
    assert result.metrics()["best_epoch"] == 1


def test_the_weights_that_are_kept_and_tested_are_those_of_the_best_epoch(tmp_path):
    recipe = MLP.changed(epochs=3, lr=1.0)
    result = quiet_run(recipe)
    assert result.best.epoch < 3  # at so high a rate the last epoch is not the best
    assert result.best.val_accuracy == result.history["val_accuracy"].max()
    result.save_weights(tmp_path / "model.safetensors")
    again = recipe.build()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    _, validation, test = loaders(recipe, *data.load("garments"), seed=0)
    assert evaluate(again, validation, recipe.loss).accuracy == result.best.val_accuracy
    assert evaluate(again, test, recipe.loss).accuracy == result.test_accuracy


@pytest.mark.parametrize(("name", "share"), [("mlp", 0.1), ("mlp-1hidden", 0.2)])
def test_the_recipe_says_how_much_is_held_out(name, share, garments):
    train, validation, test = loaders(RECIPES[name], *garments, seed=0)
    assert [len(part.dataset) for part in (train, validation, test)] == [
        800 - 800 * share,
        800 * share,
        100,
    ]


def test_pixels_are_normalised_by_the_training_images_which_alone_are_augmented(garments):
    train, *others = loaders(EXTRACTOR, *garments, seed=5)
    pixels = train.dataset.images / 255
    for part in others:
        expected = (part.dataset.images / 255 - pixels.mean()) / pixels.std()
        np.testing.assert_allclose(pictures(part), expected, atol=1e-5)
    plain, _, _ = loaders(EXTRACTOR.changed(augment=()), *garments, seed=5)
    as_they_are, varied = pictures(plain), pictures(train)  # in the same order
    assert as_they_are.mean() == pytest.approx(0, abs=1e-5)
    assert as_they_are.std() == pytest.approx(1, abs=1e-5)
    assert (as_they_are != varied).any(axis=(1, 2, 3)).mean() > 0.5


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("dataset", ["mnist", "fashion-mnist"])
def test_garments_may_be_mirrored_but_digits_never(name, dataset):
    """Also those that an extractor learns from; of each image the left half is white."""
    recipe = RECIPES[name].changed(dataset=dataset)
    recipe = recipe if recipe.extractor is None else extractor_recipe(recipe)
    recipe = configured(recipe, {"augment": True})
    images = np.zeros((200, 1, 28, 28), np.uint8)
    images[..., :14] = 255
    half = data.ArrayDataset(images, np.arange(200) % 10, tuple("0123456789"), dataset)
    seen = pictures(loaders(recipe, half, half, seed=0)[0])
    sides = seen[..., :14].sum(axis=(1, 2, 3)) - seen[..., 14:].sum(axis=(1, 2, 3))
    asked = any(isinstance(t, data.RandomHorizontalFlip) for t in recipe.augment)
    assert (sides < 0).any() == (asked and dataset != "mnist")


# ---------------------------------------------------------------------------- features


def test_features_are_of_the_same_images_as_the_extractors(extractor, garments):
    images = loaders(EXTRACTOR.changed(augment=()), *garments, seed=5)
    features = feature_loaders(FEATURES, extractor, *garments, seed=5)
    for ours, theirs in zip(features, images, strict=True):
        pictures, labels = zip(*theirs, strict=True)
        np.testing.assert_array_equal(ours.dataset.labels, cat(labels))
        expected = extractor.eval().features(cat(pictures)).detach()
        np.testing.assert_allclose(ours.dataset.images, expected, rtol=1e-4, atol=1e-6)


def test_no_image_that_is_held_out_has_trained_the_extractor(garments):
    recipe = FEATURES.changed(validation_fraction=0.3)  # not the extractor's own
    seen, _, _ = loaders(extractor_recipe(recipe), *garments, seed=5)
    _, held_out, _ = loaders(recipe, *garments, seed=5)
    trained = {image.tobytes() for image in seen.dataset.images}
    assert not any(image.tobytes() in trained for image in held_out.dataset.images)


def test_trains_its_extractor_or_takes_a_trained_one(tmp_path):
    by_itself = quiet_run(FEATURES, seed=2)
    first = quiet_run(EXTRACTOR, seed=2)
    first.save_weights(tmp_path / "model.safetensors")
    second = quiet_run(FEATURES, seed=2, extractor=tmp_path / "model.safetensors")
    assert second.parameters == 8 * 128 + 128 + 128 * 10 + 10
    np.testing.assert_array_equal(second.history["val_loss"], by_itself.history["val_loss"])
    np.testing.assert_array_equal(second.predictions.scores, by_itself.predictions.scores)


def test_weights_come_back_bit_for_bit(extractor, weights):
    again = load_extractor(EXTRACTOR, 0, weights)
    for name, array in extractor.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)


def test_equal_weights_and_facts_are_equal_files(extractor, weights, tmp_path):
    again = tmp_path / "again.safetensors"
    for _ in range(8):  # in the library's own order they are equal once in 24 times
        save_weights(extractor, again, training_facts(EXTRACTOR, seed=0))
        assert again.read_bytes() == weights.read_bytes()
    with safe_open(again, framework="numpy") as file:
        assert file.metadata().items() >= training_facts(EXTRACTOR, seed=0).items()


@pytest.mark.parametrize(
    ("changes", "seed", "message"),
    [
        ({}, 1, "seed 0, wanted 1"),
        ({"dataset": "mnist"}, 0, "dataset garments, wanted mnist"),
        ({"validation_fraction": 0.2}, 0, r"validation_fraction 0\.1, wanted 0\.2"),
        ({"name": "resnet"}, 0, "recipe cnn-5conv, wanted resnet"),
    ],
)
def test_an_extractor_that_may_have_seen_held_out_images_is_refused(
    changes, seed, message, weights
):
    with pytest.raises(ExtractorError, match=message):
        load_extractor(EXTRACTOR.changed(**changes), seed, weights)


def test_weights_of_other_sizes_are_refused(weights):
    wider = EXTRACTOR.changed(build=partial(FiveConvolutions, channels=(2, 3, 4), hidden=9))
    with pytest.raises(ExtractorError, match=r"weight has the shape \(8, 36\), wanted \(9, 36"):
        load_extractor(wider, 0, weights)


def test_a_file_that_is_no_weights_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ExtractorError, match=r"model\.safetensors is not a file of weights"):
        load_extractor(EXTRACTOR, 0, path)
    path.write_bytes(b"not weights")
    with pytest.raises(ExtractorError, match=r"model\.safetensors is not a file of weights"):
        load_extractor(EXTRACTOR, 0, path)
    # No type of NumPy's, unless the package ml_dtypes adds it: then it has no facts.
    half = {"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    header = json.dumps(half).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(ExtractorError, match=r"is not a file of weights|has recipe unknown"):
        load_extractor(EXTRACTOR, 0, path)


def test_a_recipe_on_images_takes_no_extractor(weights):
    with pytest.raises(ExtractorError, match="mlp is trained on images: it takes no extractor"):
        quiet_run(RECIPES["mlp"].changed(dataset="garments"), extractor=weights)
