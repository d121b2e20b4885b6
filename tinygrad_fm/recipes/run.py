"""Training a recipe from data to test accuracy, by an honest protocol.

A part of the training set is held out for validation (stratified, seeded). The weights of the best
validation epoch are kept. The test set is read once, at the end, with those weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_fm import data
from tinygrad_fm.nn import Module
from tinygrad_fm.random import manual_seed
from tinygrad_fm.recipes.features import (
    ExtractorError,
    extract,
    load_extractor,
    training_facts,
)
from tinygrad_fm.recipes.recipe import Recipe
from tinygrad_fm.recipes.weights import save_weights
from tinygrad_fm.train import (
    EarlyStopping,
    EpochRow,
    History,
    Predictions,
    Training,
    metrics,
    predict,
)

Datasets = tuple[data.ArrayDataset, data.ArrayDataset]  # training and test set
Loaders = tuple[data.DataLoader, data.DataLoader, data.DataLoader]  # training, validation, test


@dataclass(frozen=True)
class Run:
    """A trained recipe and what was measured. `seconds` is the wall-clock time of its epochs."""

    recipe: Recipe
    seed: int
    model: Module
    history: History
    best: EpochRow  # the epoch whose weights were kept
    test_set: data.ArrayDataset
    predictions: Predictions  # of the test set, with class probabilities as scores
    seconds: float

    @property
    def test_accuracy(self) -> float:
        """The share of test images that are classified rightly."""
        return metrics.accuracy(self.predictions.predicted, self.predictions.labels)

    @property
    def confusion(self) -> np.ndarray:
        """Counts (K, K), rows true, columns predicted."""
        predicted, _, labels = self.predictions
        return metrics.confusion_matrix(predicted, labels, len(self.test_set.classes))

    @property
    def parameters(self) -> int:
        """How many numbers the model has learnt."""
        return sum(p.numel() for p in self.model.parameters())

    def save_weights(self, path: Path) -> None:
        """Write the kept weights as a safetensors file."""
        save_weights(self.model, path, training_facts(self.recipe, self.seed))

    def metrics(self) -> dict[str, Any]:
        """What was trained and what came out, ready for JSON."""
        rows = metrics.classification_report(self.confusion)
        return {
            "recipe": self.recipe.name,
            "dataset": self.test_set.name,
            "seed": self.seed,
            "epochs": len(self.history),
            "batch_size": self.recipe.batch_size,
            "lr": self.recipe.lr,
            "validation_fraction": self.recipe.validation_fraction,
            "parameters": self.parameters,
            "best_epoch": self.best.epoch,
            "train_accuracy": self.best.train_accuracy,
            "validation_accuracy": self.best.val_accuracy,
            "test_accuracy": self.test_accuracy,
            "seconds": round(self.seconds, 1),
            "per_class": {
                name: {k: round(v, 4) for k, v in asdict(row).items()}
                for name, row in zip(self.test_set.classes, rows, strict=True)
            },
        }


def run(
    recipe: Recipe,
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    extractor: Path | None = None,
    progress: bool = True,
) -> Run:
    """Train a recipe and test it once. For other settings see `Recipe.changed`.

    Args:
        extractor: the weights of the recipe's extractor, as `save_weights` wrote them; without
            them it is trained first.

    Raises:
        DataUnavailable: the data set can neither be found nor fetched.
        NonFiniteLossError: the loss became NaN or infinite.
        ExtractorError: the extractor's weights don't fit the recipe and the seed.
    """
    check_extractor(recipe, extractor)
    datasets = data.load(recipe.dataset, data_dir)
    source = None
    if extractor is not None:
        source = load_extractor(extractor_recipe(recipe), seed, extractor)
    elif recipe.extractor is not None:
        source = run(
            extractor_recipe(recipe), data_dir=data_dir, seed=seed, progress=progress
        ).model
    training, test = prepare(recipe, datasets, seed, source)
    training.run(progress)
    return finish(recipe, seed, training, datasets[1], test)


def prepare(
    recipe: Recipe, datasets: Datasets, seed: int, extractor: Module | None = None
) -> tuple[Training, data.DataLoader]:
    """The training of a recipe, ready to run, and the test batches for afterwards.

    Args:
        datasets: training and test set.
        extractor: the trained model whose features are the inputs, if the recipe wants one.
    """
    if extractor is None:
        train, validation, test = loaders(recipe, *datasets, seed)
    else:
        train, validation, test = feature_loaders(recipe, extractor, *datasets, seed)
    manual_seed(seed)
    model = recipe.build()
    optimizer = recipe.optimizer(model.parameters(), recipe.lr)
    schedule, step_schedule = recipe.schedule, recipe.step_schedule
    training = Training(
        model,
        recipe.loss,
        optimizer,
        train,
        validation,
        epochs=recipe.epochs,
        scheduler=schedule and schedule(optimizer, recipe.epochs),
        step_scheduler=step_schedule and step_schedule(optimizer, recipe.epochs * len(train)),
        early_stopping=EarlyStopping(recipe.patience or recipe.epochs, monitor="val_accuracy"),
        compile=recipe.compile,
    )
    return training, test


def finish(
    recipe: Recipe,
    seed: int,
    training: Training,
    test_set: data.ArrayDataset,
    test: data.DataLoader,
) -> Run:
    """Test the weights of the best epoch, once training has restored them."""
    assert training.early_stopping is not None
    best = training.history.rows[training.early_stopping.best_epoch - 1]
    predictions = predict(training.model, test, recipe.probabilities)
    model, history = training.model, training.history
    return Run(recipe, seed, model, history, best, test_set, predictions, training.seconds)


def extractor_recipe(recipe: Recipe) -> Recipe:
    """The recipe of the extractor, on the very images that `recipe` trains on."""
    assert recipe.extractor is not None
    return recipe.extractor.changed(
        dataset=recipe.dataset, validation_fraction=recipe.validation_fraction
    )


def check_extractor(recipe: Recipe, extractor: Path | None) -> None:
    """Raise ExtractorError if there is an extractor that the recipe has no use for."""
    if extractor is not None and recipe.extractor is None:
        raise ExtractorError(
            f"{recipe.name} is trained on images: it takes no extractor; leave it out"
        )


def loaders(
    recipe: Recipe, train_set: data.ArrayDataset, test_set: data.ArrayDataset, seed: int
) -> Loaders:
    """Training, validation and test batches, all normalised by the training images."""
    kept, held_out = data.train_validation_split(train_set, recipe.validation_fraction, seed)
    normalise = normalisation(kept.images)
    plain = data.Compose([data.ToFloat(), normalise])
    augmented = data.Compose([data.ToFloat(), *augmentation(recipe), normalise])
    return (
        _shuffled(kept, recipe, augmented, seed),
        data.DataLoader(held_out, 500, transform=plain),
        data.DataLoader(test_set, 500, transform=plain),
    )


def augmentation(recipe: Recipe) -> list[data.Transform]:
    """The recipe's random transforms that leave a picture in its class: a mirrored 2 is no digit.

    Shirts and shoes may be mirrored, so recipes made for them are on MNIST without that.
    """
    if recipe.dataset != "mnist":
        return list(recipe.augment)
    return [t for t in recipe.augment if not isinstance(t, data.RandomHorizontalFlip)]


def normalisation(images: np.ndarray) -> data.Normalize:
    """What gives the training images (N, 1, H, W) of uint8 mean 0 and variance 1."""
    pixels = images / np.float32(255)
    return data.Normalize(float(pixels.mean()), float(pixels.std()))


def feature_loaders(
    recipe: Recipe,
    extractor: Module,
    train_set: data.ArrayDataset,
    test_set: data.ArrayDataset,
    seed: int,
) -> Loaders:
    """The same batches as features of the images, which are computed once."""
    features = [
        extract(extractor, batches) for batches in loaders(recipe, train_set, test_set, seed)
    ]
    train, validation, test = features
    return (
        _shuffled(train, recipe, _as_they_are, seed),
        data.DataLoader(validation, 500, transform=_as_they_are),
        data.DataLoader(test, 500, transform=_as_they_are),
    )


def _shuffled(
    dataset: data.Dataset, recipe: Recipe, transform: data.Transform, seed: int
) -> data.DataLoader:
    return data.DataLoader(
        dataset,
        recipe.batch_size,
        shuffle=True,
        transform=transform,
        generator=np.random.default_rng(seed),
    )


def _as_they_are(features: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    return features
